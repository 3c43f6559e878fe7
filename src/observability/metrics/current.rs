//! Metrics that are read when they are asked for: of OffsetResets and holds, of the process, and of the Kafka clients.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use parking_lot::RwLock;
use procfs::process::{LimitValue, Process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::catalog::{self, Entry};
use crate::api::Phase;

/// What the operator watches at a moment, by namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Current {
    /// The namespaces that have an OffsetReset or a hold.
    pub namespaces: BTreeSet<String>,
    /// How many OffsetResets that have not finished are in a phase.
    pub resets: BTreeMap<(String, &'static str), i64>,
    /// How many OffsetResets cannot be decoded.
    pub undecodable: BTreeMap<String, i64>,
    /// How many workloads are held at zero.
    pub held: BTreeMap<String, i64>,
    /// The earliest deadline of a hold, in seconds of Unix time.
    pub deadlines: BTreeMap<String, f64>,
    /// How many workloads cannot be restored because the API server refuses it.
    pub refused: BTreeMap<String, i64>,
}

/// Reads what is watched at a moment.
pub type ReadCurrent = Box<dyn Fn() -> Current + Send + Sync>;

/// Counts the running Kafka clients.
pub type CountClients = Box<dyn Fn() -> usize + Send + Sync>;

/// The sources, which come and go.
#[derive(Clone, Default)]
pub(super) struct Sources(Arc<RwLock<Inner>>);

#[derive(Default)]
struct Inner {
    watched: Option<ReadCurrent>,
    clients: Option<CountClients>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sources")
    }
}

impl Sources {
    /// Sets or removes what reads the OffsetResets and the holds.
    pub fn watch(&self, read: Option<ReadCurrent>) {
        self.0.write().watched = read;
    }

    /// Sets what counts the Kafka clients.
    pub fn clients(&self, count: CountClients) {
        self.0.write().clients = Some(count);
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (current, clients) = {
            let inner = self.0.read();
            (inner.watched.as_ref().map(|read| read()), inner.clients.as_ref().map_or(0, |count| count()))
        };
        gauge(&mut encoder, &catalog::KAFKA_CLIENTS, to_f64(clients))?;
        if let Some(current) = current {
            encode_current(&mut encoder, &current)?;
        }
        encode_process(&mut encoder)
    }
}

/// The phases that are not final, and Unknown for a phase of another version.
fn unfinished() -> impl Iterator<Item = &'static str> {
    Phase::ALL.iter().filter(|phase| !phase.is_terminal()).map(|phase| phase.as_str())
}

fn encode_current(encoder: &mut DescriptorEncoder<'_>, current: &Current) -> fmt::Result {
    let in_phases = current.namespaces.iter().flat_map(|namespace| unfinished().map(move |phase| (namespace, phase)));
    let resets = in_phases.map(|(namespace, phase)| {
        let count = current.resets.get(&(namespace.clone(), phase)).copied().unwrap_or_default();
        ([("namespace", namespace.clone()), ("phase", phase.to_owned())], count)
    });
    family(encoder, &catalog::RESETS, resets)?;
    let in_each = |counts: &BTreeMap<String, i64>| {
        let count = |namespace: &String| counts.get(namespace).copied().unwrap_or_default();
        current.namespaces.iter().map(|namespace| ([("namespace", namespace.clone())], count(namespace))).collect::<Vec<_>>()
    };
    family(encoder, &catalog::UNDECODABLE, in_each(&current.undecodable))?;
    family(encoder, &catalog::HELD_WORKLOADS, in_each(&current.held))?;
    let deadlines = current.deadlines.iter().map(|(namespace, deadline)| ([("namespace", namespace.clone())], *deadline));
    family(encoder, &catalog::HOLD_DEADLINE, deadlines)?;
    family(encoder, &catalog::RESTORES_REFUSED, in_each(&current.refused))
}

/// Nothing of what cannot be read.
fn encode_process(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let Ok(process) = Process::myself() else { return Ok(()) };
    if let Ok(stat) = process.stat() {
        let ticks = f64::from(u32::try_from(procfs::ticks_per_second()).unwrap_or(100));
        let cpu = ConstCounter::new(to_f64(stat.utime + stat.stime) / ticks);
        let entry = &catalog::CPU;
        cpu.encode(encoder.encode_descriptor(entry.name, &sentence(entry), None, cpu.metric_type())?)?;
        gauge(encoder, &catalog::MEMORY, to_f64(stat.rss * procfs::page_size()))?;
        if let Ok(boot) = procfs::boot_time_secs() {
            gauge(encoder, &catalog::START, to_f64(boot) + to_f64(stat.starttime) / ticks)?;
        }
    }
    if let Ok(open) = process.fd_count() {
        gauge(encoder, &catalog::OPEN_FILES, to_f64(open))?;
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(limit) = limits.max_open_files.soft_limit
    {
        gauge(encoder, &catalog::MAX_FILES, to_f64(limit))?;
    }
    Ok(())
}

/// As the registry writes the meanings of other metrics.
fn sentence(entry: &Entry) -> String {
    format!("{}.", entry.help)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, entry: &Entry, value: f64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(entry.name, &sentence(entry), None, gauge.metric_type())?)
}

fn family<L, N>(encoder: &mut DescriptorEncoder<'_>, entry: &Entry, series: impl IntoIterator<Item = (L, N)>) -> fmt::Result
where
    L: EncodeLabelSet,
    ConstGauge<N>: EncodeMetric,
{
    let mut series = series.into_iter().peekable();
    // The text format has no description without a series.
    if series.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(entry.name, &sentence(entry), None, MetricType::Gauge)?;
    for (labels, value) in series {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Counts and sizes; what is lost beyond 2^53 is no matter here.
#[allow(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
fn to_f64(value: impl TryInto<u64>) -> f64 {
    value.try_into().unwrap_or_default() as f64
}
