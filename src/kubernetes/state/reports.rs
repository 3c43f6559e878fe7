//! The report of a reset: a ConfigMap that the reset owns, with every partition, the offsets before and after it as files for
//! `kafka-consumer-groups`, and the ranges of offsets that are skipped and replayed.

use std::{collections::BTreeMap, io::Read, io::Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use k8s_openapi::{ByteString, api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Api, Client, Resource, ResourceExt, api::PostParams};

use crate::kubernetes::{
    errors::denial,
    limit::limited,
    objects::{is_ours, labels},
    write::{WriteOutcome, classify},
};
use crate::{
    api::{FIELD_MANAGER, MAX_PARTITIONS, OffsetReset, PartitionStatus},
    machine::facts::Denial,
    machine::plan::export::{AFTER, BEFORE, REPLAYED, SKIPPED, after_csv, before_csv, replayed_csv, skipped_csv},
};

/// The file with every partition, in the form of `status.partitions`.
pub(in crate::kubernetes) const PARTITIONS: &str = "partitions.json";

/// The file with spec.reason, if there is one.
const REASON: &str = "reason.txt";

/// Files of more bytes than this in all are compressed.
const MAX_PLAIN_BYTES: usize = 200_000;

/// The most bytes of a report, with room for its metadata: the API server accepts 1 MiB.
const MAX_BYTES: usize = 1_000_000;

/// The most bytes of a fresh plan's report, so that there is room for the results.
const MAX_BYTES_OF_A_PLAN: usize = 750_000;

/// The most bytes of a report that has the ranges of skipped and replayed offsets.
const MAX_BYTES_WITH_RANGES: usize = 600_000;

/// The gzip level of a report that has at most [`MAX_BYTES_WITH_RANGES`] at it. It takes a fifth to a third of the time of the default
/// level, and 1 to 6% more bytes. Level 1 takes less again, and 14 to 27% more bytes than this one.
const QUICK: Compression = Compression::new(3);

/// The most bytes of partitions.json after decompression: another client may have written into the report.
const MAX_BYTES_READ: u64 = 16 << 20;

/// Reads and writes reports.
#[derive(Clone)]
pub struct Reports {
    client: Client,
}

/// A report that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The resourceVersion that was read.
    pub version: String,
    /// Every partition of the plan.
    pub partitions: Vec<PartitionStatus>,
}

/// The result of reading a report.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportRead {
    /// There is no ConfigMap of its name.
    Missing,
    /// The ConfigMap of its name is not the report of this reset, or cannot be read.
    Unreadable {
        /// The resourceVersion that was read, when the ConfigMap is this reset's.
        version: Option<String>,
        /// The reason, as a clause for messages.
        why: Denial,
    },
    /// The report.
    Found(Report),
}

/// The files of a report, plain or compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub(in crate::kubernetes) plain: BTreeMap<String, String>,
    pub(in crate::kubernetes) compressed: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// The files for these partitions, compressed when they are large.
    ///
    /// # Errors
    /// When there are too many bytes; the message says what to do.
    pub fn of(partitions: &[PartitionStatus]) -> Result<Self, String> {
        let json = serde_json::to_string(partitions).map_err(|error| error.to_string())?;
        if u64::try_from(json.len()).unwrap_or(u64::MAX) >= MAX_BYTES_READ {
            return Err(format!("it would have {} bytes before compression; split the reset into several", json.len()));
        }
        let needed = [(BEFORE, before_csv(partitions)), (AFTER, after_csv(partitions)), (PARTITIONS, json)];
        let ranges = [(SKIPPED, skipped_csv(partitions)), (REPLAYED, replayed_csv(partitions))];
        if needed.iter().map(|(_, text)| text.len()).sum::<usize>() <= MAX_PLAIN_BYTES {
            return Ok(Self::plain(needed).with(Self::plain(ranges)));
        }
        let quickly = Self::compressed(&needed, QUICK)?;
        if quickly.bytes() <= MAX_BYTES_WITH_RANGES {
            let quick_ranges = Self::compressed(&ranges, QUICK)?;
            if quickly.bytes() + quick_ranges.bytes() <= MAX_BYTES_WITH_RANGES {
                return Ok(quickly.with(quick_ranges));
            }
        }
        let compressed = |files: &[(&str, String)]| Self::compressed(files, Compression::default());
        Ok(compressed(&needed)?.with(compressed(&ranges)?))
    }

    /// These files, and the ranges where there is room for them: the other files contain the same facts, so the ranges must not prevent
    /// a large plan from being stored.
    fn with(mut self, ranges: Self) -> Self {
        if self.bytes() + ranges.bytes() <= MAX_BYTES_WITH_RANGES {
            self.plain.extend(ranges.plain);
            self.compressed.extend(ranges.compressed);
        }
        self
    }

    fn plain(files: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let plain = files.into_iter().map(|(name, text)| (name.to_owned(), text));
        Self { plain: plain.collect(), compressed: BTreeMap::new() }
    }

    fn compressed(files: &[(&str, String)], level: Compression) -> Result<Self, String> {
        let compressed = files.iter().map(|(name, text)| {
            let mut encoder = GzEncoder::new(vec![], level);
            let bytes = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).map_err(|error| error.to_string())?;
            Ok((format!("{name}.gz"), bytes))
        });
        Ok(Self { plain: BTreeMap::new(), compressed: compressed.collect::<Result<_, String>>()? })
    }

    /// Whether the files are compressed.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        !self.compressed.is_empty()
    }

    /// Their size as sent to the API server: base64 makes binary data longer by a third.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let plain: usize = self.plain.values().map(String::len).sum();
        plain + self.compressed.values().map(|bytes| bytes.len().div_ceil(3) * 4).sum::<usize>()
    }

    /// Why they cannot be stored, if so. The files of a fresh plan must leave room for the results.
    #[must_use]
    pub fn too_large(&self, is_fresh: bool) -> Option<String> {
        let most = if is_fresh { MAX_BYTES_OF_A_PLAN } else { MAX_BYTES };
        let bytes = self.bytes();
        (bytes > most).then(|| format!("it would have {bytes} bytes, and {most} fit; split the reset into several"))
    }
}

pub(in crate::kubernetes) fn partitions_in(config_map: &ConfigMap) -> Result<Vec<PartitionStatus>, String> {
    let bounded = |partitions: Vec<PartitionStatus>| match partitions.len() {
        0..=MAX_PARTITIONS => Ok(partitions),
        many => Err(format!("it lists {many} partitions, and no reset has more than {MAX_PARTITIONS}")),
    };
    if let Some(text) = config_map.data.as_ref().and_then(|data| data.get(PARTITIONS)) {
        return bounded(serde_json::from_str(text).map_err(|error| format!("its {PARTITIONS} cannot be read: {error}"))?);
    }
    let name = format!("{PARTITIONS}.gz");
    let bytes = config_map.binary_data.as_ref().and_then(|data| data.get(&name));
    let bytes = bytes.ok_or_else(|| format!("it has neither {PARTITIONS} nor {name}"))?;
    let mut text = String::new();
    GzDecoder::new(bytes.0.as_slice())
        .take(MAX_BYTES_READ)
        .read_to_string(&mut text)
        .map_err(|error| format!("its {name} cannot be read: {error}"))?;
    bounded(serde_json::from_str(&text).map_err(|error| format!("its {name} cannot be read: {error}"))?)
}

/// The name of a reset's report: the reset's own name, cut where it is too long, and a part of its UID, so that it does not
/// meet another ConfigMap.
#[must_use]
pub fn report_name(reset: &OffsetReset) -> String {
    let name = reset.name_any();
    let uid: String = reset.uid().unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let kept = name.get(..name.len().min(230)).unwrap_or_default().trim_end_matches(['.', '-']);
    format!("{kept}-report-{uid}")
}

impl Reports {
    /// Reads and writes through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads a reset's report.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn read(&self, reset: &OffsetReset) -> Result<ReportRead, kube::Error> {
        let namespace = reset.namespace().unwrap_or_default();
        let found = match limited(self.api(&namespace).get_opt(&report_name(reset))).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(ReportRead::Missing),
            // Consumers may be held at zero: a refusal must end the reset instead of being retried without end.
            Err(error) => {
                let about = |why: String| format!("ConfigMap {}: {why}", report_name(reset));
                let why = match denial(&error) {
                    Some(Denial::NotAllowed(why)) => Denial::NotAllowed(about(why)),
                    Some(Denial::Refused(why)) => Denial::Refused(about(why)),
                    None => return Err(error),
                };
                return Ok(ReportRead::Unreadable { version: None, why });
            }
        };
        if !found.owner_references().iter().any(|owner| Some(&owner.uid) == reset.metadata.uid.as_ref()) {
            let why = format!("ConfigMap {} does not belong to this OffsetReset", found.name_any());
            return Ok(ReportRead::Unreadable { version: None, why: Denial::Refused(why) });
        }
        if let Err(why) = is_ours(&found.metadata) {
            let why = Denial::Refused(format!("ConfigMap {}: {why}", found.name_any()));
            return Ok(ReportRead::Unreadable { version: None, why });
        }
        let version = found.resource_version().unwrap_or_default();
        Ok(match partitions_in(&found) {
            Ok(partitions) => ReportRead::Found(Report { version, partitions }),
            Err(why) => {
                let why = Denial::Refused(format!("ConfigMap {}: {why}", found.name_any()));
                ReportRead::Unreadable { version: Some(version), why }
            }
        })
    }

    /// Writes a reset's report over the version that was read, or creates it when there was none. Returns the new version.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn write(
        &self,
        reset: &OffsetReset,
        files: Files,
        version: Option<&str>,
    ) -> Result<WriteOutcome<String>, kube::Error> {
        let mut config_map = ConfigMap::default();
        config_map.metadata.name = Some(report_name(reset));
        config_map.metadata.resource_version = version.map(str::to_owned);
        // Without blockOwnerDeletion, which some clusters allow only to those who may set finalizers.
        let owner = reset.controller_owner_ref(&()).map(|owner| OwnerReference { block_owner_deletion: None, ..owner });
        config_map.metadata.owner_references = Some(owner.into_iter().collect());
        config_map.metadata.labels = Some(labels(None));
        let mut plain = files.plain;
        plain.extend(reset.spec.reason.clone().map(|reason| (REASON.to_owned(), format!("{reason}\n"))));
        config_map.data = Some(plain).filter(|files| !files.is_empty());
        let compressed = files.compressed.into_iter().map(|(name, bytes)| (name, ByteString(bytes)));
        config_map.binary_data = Some(compressed.collect::<BTreeMap<_, _>>()).filter(|files| !files.is_empty());

        let api = self.api(&reset.namespace().unwrap_or_default());
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        let written = match version {
            Some(_) => limited(api.replace(&report_name(reset), &params, &config_map)).await,
            None => limited(api.create(&params, &config_map)).await,
        };
        Ok(classify(written)?.map(|written| written.resource_version().unwrap_or_default()))
    }

    fn api(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::PartitionOutcome;

    fn partitions(count: i32, metadata: usize) -> Vec<PartitionStatus> {
        let one = |partition: i32| PartitionStatus {
            topic: "orders".into(),
            partition,
            topic_id: Some("rFvVvvXVQEmAkLvuyvrRQA".into()),
            before: Some(i64::from(partition) * 7919),
            before_metadata: (metadata > 0).then(|| format!("{partition:0metadata$}")),
            before_metadata_base64: None,
            target_metadata: None,
            target_metadata_base64: None,
            metadata_not_stored: false,
            reason_not_stored: false,
            requested_position: None,
            requested_shift: None,
            requested_offset: Some(10),
            requested_timestamp: None,
            matched_timestamp: None,
            log_start: 0,
            log_end: 1 << 40,
            target_offset: Some(i64::from(partition) * 7907),
            headroom: 10,
            replayed: 40,
            skipped: 0,
            clamped: None,
            after: None,
            overwritten: None,
            undone: None,
            outcome: PartitionOutcome::Planned,
            message: None,
        };
        (0..count).map(one).collect()
    }

    /// With offsets that hardly compress.
    fn scattered(count: i32) -> Vec<PartitionStatus> {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from(state >> 44).unwrap()
        };
        let mut scattered = partitions(count, 0);
        for planned in &mut scattered {
            let target = random();
            planned.replayed = random();
            (planned.target_offset, planned.before) = (Some(target), Some(target + planned.replayed));
            (planned.log_start, planned.log_end) = (random(), target + planned.replayed + random());
            planned.headroom = target - planned.log_start;
        }
        scattered
    }

    #[rstest]
    #[case::quickly(3_000, true, true)]
    #[case::as_well_as_possible_for_the_ranges(7_850, false, true)]
    #[case::as_well_as_possible_without_them(9_000, false, false)]
    fn a_report_is_compressed_quickly_only_where_all_of_it_fits_like_that(
        #[case] count: i32,
        #[case] quickly: bool,
        #[case] with_ranges: bool,
    ) {
        let partitions = scattered(count);
        let files = Files::of(&partitions).unwrap();
        let needed = [
            (BEFORE, before_csv(&partitions)),
            (AFTER, after_csv(&partitions)),
            (PARTITIONS, serde_json::to_string(&partitions).unwrap()),
        ];
        let ranges = [(SKIPPED, skipped_csv(&partitions)), (REPLAYED, replayed_csv(&partitions))];
        let at = |level| Files::compressed(&needed, level).unwrap().with(Files::compressed(&ranges, level).unwrap());
        assert_eq!(files == at(QUICK), quickly, "{} and {} bytes", at(QUICK).bytes(), at(Compression::default()).bytes());
        assert_eq!(files == at(Compression::default()), !quickly);
        assert_eq!(files.compressed.contains_key("replayed.csv.gz"), with_ranges);
        assert_eq!(partitions_in(&config_map(files)).unwrap(), partitions);
    }

    fn config_map(files: Files) -> ConfigMap {
        let compressed = files.compressed.into_iter().map(|(name, bytes)| (name, ByteString(bytes)));
        ConfigMap { data: Some(files.plain), binary_data: Some(compressed.collect()), ..ConfigMap::default() }
    }

    #[test]
    fn a_report_is_read_as_it_was_written_whether_small_or_large() {
        for (count, compressed) in [(3, false), (10_000, true)] {
            let partitions = partitions(count, 0);
            let files = Files::of(&partitions).unwrap();
            assert_eq!(files.is_compressed(), compressed);
            assert_eq!(files.too_large(true), None, "{} bytes", files.bytes());
            assert_eq!(partitions_in(&config_map(files)).unwrap(), partitions);
        }
    }

    #[test]
    fn the_largest_plan_fits_and_one_with_long_metadata_is_refused_before_a_stop() {
        let most = i32::try_from(crate::api::MAX_PARTITIONS).unwrap();
        assert_eq!(Files::of(&partitions(most, 0)).unwrap().too_large(true), None);
        // Incompressible metadata: as long as Kafka allows, and all different.
        let mut random = partitions(500, 0);
        let mut state = 1_u64;
        for planned in &mut random {
            let text: String = (0..4_000)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    char::from(b'!' + u8::try_from(state >> 57).unwrap() % 90)
                })
                .collect();
            planned.before_metadata = Some(text);
        }
        assert!(Files::of(&random).unwrap().too_large(true).unwrap().contains("split the reset"));
    }

    #[test]
    fn the_ranges_are_left_out_of_a_report_that_they_would_make_too_large() {
        let has = |count: i32| {
            let files = Files::of(&partitions(count, 0)).unwrap();
            [BEFORE, AFTER, SKIPPED, REPLAYED]
                .map(|name| files.plain.contains_key(name) || files.compressed.contains_key(&format!("{name}.gz")))
        };
        assert_eq!(has(3), [true; 4]);
        assert_eq!(has(10_000), [true; 4]);
        assert_eq!(has(i32::try_from(crate::api::MAX_PARTITIONS).unwrap()), [true, true, false, false]);
    }

    #[test]
    fn a_report_that_was_broken_is_unreadable_and_not_empty() {
        let broken = |key: &str, text: &str| ConfigMap {
            data: Some(BTreeMap::from([(key.to_owned(), text.to_owned())])),
            ..ConfigMap::default()
        };
        assert!(partitions_in(&broken(PARTITIONS, "[{")).is_err());
        assert!(partitions_in(&broken(BEFORE, "")).is_err());
        assert!(partitions_in(&ConfigMap::default()).is_err());
    }

    #[test]
    fn the_name_of_a_report_fits_and_is_of_one_reset() {
        let mut reset: OffsetReset = serde_json::from_value(serde_json::json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
            "metadata": {"name": "a".repeat(253), "uid": "0f3c2b1a-1111-2222-3333-444455556666"},
            "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "g"},
        }))
        .unwrap();
        assert!(report_name(&reset).len() <= 253);
        reset.metadata.name = Some("replay".into());
        assert_eq!(report_name(&reset), "replay-report-0f3c2b1a");
    }
}
