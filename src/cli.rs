//! The command line, read once. Nothing else reads arguments or the environment.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

use crate::observability::LogFormat;

/// Resets the offsets of Kafka consumer groups: stops the consumers, waits until the broker calls the group free,
/// commits, reads back, and brings the consumers back.
#[derive(Debug, Parser)]
#[command(name = "offset-reset-operator", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the operator until SIGTERM or SIGINT.
    Run(Config),
    /// Prints the CustomResourceDefinition.
    Crd,
}

/// How the operator runs.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Watch this namespace only; all of them when absent.
    #[arg(long, env = "OFFSET_RESET_NAMESPACE")]
    pub namespace: Option<String>,

    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "OFFSET_RESET_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,

    /// How many OffsetResets are worked on at the same time.
    #[arg(long, env = "OFFSET_RESET_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,

    /// What is logged, such as info or info,librdkafka=debug.
    #[arg(long, env = "OFFSET_RESET_LOG", default_value = "info")]
    pub log: String,

    /// How it is logged.
    #[arg(long, env = "OFFSET_RESET_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// The name under which this instance publishes events: its pod's.
    #[arg(long, env = "OFFSET_RESET_INSTANCE")]
    pub instance: Option<String>,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[rstest]
    #[case::defaults(&["run"], true)]
    #[case::everything(&["run", "--namespace", "shop", "--http-address", "[::]:80", "--concurrency", "4", "--log-format", "json"], true)]
    #[case::the_definition(&["crd"], true)]
    #[case::nothing(&[], false)]
    #[case::no_workers(&["run", "--concurrency", "0"], false)]
    #[case::no_port(&["run", "--http-address", "localhost"], false)]
    fn what_makes_no_sense_is_refused(#[case] words: &[&str], #[case] accepted: bool) {
        let parsed = Arguments::try_parse_from([&["offset-reset-operator"], words].concat());
        assert_eq!(parsed.is_ok(), accepted, "{parsed:?}");
    }
}
