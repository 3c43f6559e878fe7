//! Logs, as text for people or JSON for machines; and traces, where a collector is configured.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt::writer::BoxMakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::traces;

/// The format of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

/// The destination of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Standard output.
    Output,
    /// Standard error: for a Kafka client process, whose standard output carries the protocol.
    Error,
}

/// Starts logging, and tracing where the operator's environment names a collector; `filter` is in the syntax of `tracing`, such as
/// `info,librdkafka=debug`. It is called in a runtime.
///
/// # Errors
/// When the filter cannot be parsed, or logging has started already. When tracing is configured wrongly, the log says so, and nothing
/// is traced: consumers may be held at zero, and the operator has to run.
pub fn init(format: LogFormat, filter: &str, to: LogTo) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(filter)?.and(filter_fn(|metadata| !traces::is_only_traced(metadata)));
    let (writer, is_terminal) = match to {
        LogTo::Output => (BoxMakeWriter::new(std::io::stdout), std::io::stdout().is_terminal()),
        LogTo::Error => (BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal()),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(is_terminal);
    let logs = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // A Kafka client process sends nothing: its calls are spans of the operator.
    let (traces, wrong) = match if to == LogTo::Output { traces::layer() } else { Ok(None) } {
        Ok(layer) => (layer, None),
        Err(error) => (None, Some(error)),
    };
    tracing_subscriber::registry().with(logs.with_filter(filter)).with(traces).try_init()?;
    if let Some(error) = wrong {
        tracing::warn!(error = error.as_ref() as &dyn std::error::Error, "nothing is traced");
    }
    Ok(())
}
