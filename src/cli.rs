//! The command line, read once. Nothing else reads arguments or the environment.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

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
#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub enum Command {
    /// Runs the operator until SIGTERM or SIGINT.
    Run(Config),
    /// Prints the CustomResourceDefinition.
    Crd,
    /// Prints the page that explains every reason in the status, as Markdown.
    Reasons,
    /// Is the Kafka client of an operator that has started this: see `kafka::serve`.
    #[command(hide = true)]
    KafkaClient(Logs),
}

/// What the operator passes on to the clients that it starts.
#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// What is logged.
    #[arg(long)]
    pub log: String,

    /// How it is logged.
    #[arg(long, value_enum)]
    pub log_format: LogFormat,
}

/// How the operator runs.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Watch these namespaces only, separated by commas, and ask for nothing outside of them; all of them when absent.
    #[arg(
        long = "namespace",
        visible_alias = "namespaces",
        env = "OFFSET_RESET_NAMESPACES",
        value_delimiter = ',',
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub namespaces: Vec<String>,

    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "OFFSET_RESET_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,

    /// How many OffsetResets that may hold consumers at zero are worked on at the same time, and how many Leases. Of the others at most a quarter
    /// of that, and one of 32 while anything is held: those with consumers at zero come first.
    #[arg(long, env = "OFFSET_RESET_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,

    /// What is logged, such as info or info,librdkafka=debug.
    #[arg(long, env = "OFFSET_RESET_LOG", default_value = "info")]
    pub log: String,

    /// How it is logged.
    #[arg(long, env = "OFFSET_RESET_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// The name under which this instance publishes events and leads: its pod's.
    #[arg(long, env = "OFFSET_RESET_INSTANCE")]
    pub instance: Option<String>,

    /// The token endpoints that OffsetResets with authentication of type oauth may name, separated by commas, each by its exact address such
    /// as https://idp.example.com/oauth2/token; none when absent. What is on the list the operator asks for whoever may create OffsetResets.
    #[arg(long, env = "OFFSET_RESET_OAUTH_TOKEN_ENDPOINTS", value_delimiter = ',', value_parser = token_endpoint)]
    pub oauth_token_endpoints: Vec<String>,

    /// Of several instances, who works.
    #[command(flatten)]
    pub election: Election,

    /// The program of which each Kafka client is a process: this one. Without it clients are in the operator's own process, where an answer that no
    /// Kafka broker gives can end it.
    #[arg(skip)]
    pub program: Option<PathBuf>,
}

/// Leader election, on the protocol and with the usual times of client-go.
#[derive(Clone, Debug, Args)]
pub struct Election {
    /// Work only while holding the leader lease, so that several instances may run; without it, this must be the only one.
    #[arg(
        long,
        env = "OFFSET_RESET_LEADER_ELECTION",
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub leader_election: bool,

    /// The leader lease's name. Instances that watch different namespaces need different ones.
    #[arg(long, env = "OFFSET_RESET_LEASE_NAME", default_value = "offset-reset-operator")]
    pub lease_name: String,

    /// The leader lease's namespace; our own when absent.
    #[arg(long, env = "OFFSET_RESET_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// After how long without a renewal another instance takes over; whole seconds.
    #[arg(long, env = "OFFSET_RESET_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,

    /// After how long without a renewal the leader ends itself; shorter than the lease duration.
    #[arg(long, env = "OFFSET_RESET_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    pub renew_deadline: Duration,

    /// How often the leader renews, and the others look.
    #[arg(long, env = "OFFSET_RESET_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    pub retry_period: Duration,
}

impl Config {
    /// What a Kafka client's process is started with.
    #[must_use]
    pub fn client_arguments(&self) -> Vec<String> {
        let format = self.log_format.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        vec!["kafka-client".into(), format!("--log={}", self.log), format!("--log-format={format}")]
    }

    /// What is watched: each of some namespaces, once, or all of them together.
    #[must_use]
    pub fn scopes(&self) -> Vec<Option<String>> {
        let named: BTreeSet<&String> = self.namespaces.iter().collect();
        if named.is_empty() { vec![None] } else { named.into_iter().cloned().map(Some).collect() }
    }
}

/// An address as the resource may name it: compared as it stands, so nothing in it may be ambiguous.
fn token_endpoint(text: &str) -> Result<String, String> {
    let uri: Option<http::Uri> = text.parse().ok();
    let authority = uri.as_ref().filter(|uri| uri.scheme_str() == Some("https")).and_then(http::Uri::authority);
    let sound = authority.is_some_and(|authority| !authority.as_str().contains('@')) && !text.contains(['?', '#', '*']);
    if text.starts_with("https://") && sound {
        Ok(text.to_owned())
    } else {
        Err("not an https:// address without user, query and fragment, such as https://idp.example.com/oauth2/token".into())
    }
}

/// As in the resource: 15s, 1m30s, 500ms.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: kube::core::Duration = text.parse().map_err(|_| "not a duration such as 15s, 1m30s or 500ms".to_owned())?;
    if parsed.is_negative() {
        return Err("a duration here is not negative".into());
    }
    Ok(parsed.into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn alone_by_default_and_with_the_usual_times() {
        let Command::Run(Config { election, .. }) = Arguments::parse_from(["offset-reset-operator", "run"]).command else {
            unreachable!("it was told to run")
        };
        let times = [election.lease_duration, election.renew_deadline, election.retry_period];
        assert_eq!((election.leader_election, times), (false, [15, 10, 2].map(Duration::from_secs)));
    }

    #[test]
    fn a_client_is_started_with_what_it_takes() {
        let words = ["offset-reset-operator", "run", "--log", "info,librdkafka=debug", "--log-format", "json"];
        let Command::Run(config) = Arguments::parse_from(words).command else { unreachable!("it was told to run") };
        let words = std::iter::once("offset-reset-operator".to_owned()).chain(config.client_arguments());
        let Command::KafkaClient(logs) = Arguments::parse_from(words).command else { unreachable!("it was told to be a client") };
        assert_eq!((logs.log, logs.log_format), (config.log, config.log_format));
    }

    #[rstest]
    #[case::all(&[], &[None])]
    #[case::one(&["--namespace", "shop"], &[Some("shop")])]
    #[case::several(&["--namespaces", "shop,payments"], &[Some("payments"), Some("shop")])]
    #[case::each_by_itself(&["--namespace", "shop", "--namespace", "payments"], &[Some("payments"), Some("shop")])]
    #[case::one_twice(&["--namespace", "shop,shop"], &[Some("shop")])]
    fn each_namespace_is_watched_once(#[case] words: &[&str], #[case] expected: &[Option<&str>]) {
        let words = [&["offset-reset-operator", "run"], words].concat();
        let Command::Run(config) = Arguments::parse_from(words).command else { unreachable!("it was told to run") };
        let scopes = config.scopes();
        assert_eq!(scopes.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    }

    #[rstest]
    #[case::defaults(&["run"], true)]
    #[case::everything(&["run", "--namespace", "shop", "--http-address", "[::]:80", "--concurrency", "4", "--log-format", "json"], true)]
    #[case::the_definition(&["crd"], true)]
    #[case::the_reasons(&["reasons"], true)]
    #[case::leader_election(&["run", "--leader-election", "--lease-duration", "1m30s", "--retry-period", "500ms"], true)]
    #[case::no_leader_election(&["run", "--leader-election=false", "--lease-namespace", "shop"], true)]
    #[case::a_duration_without_a_unit(&["run", "--lease-duration", "15"], false)]
    #[case::a_duration_that_has_passed(&["run", "--retry-period=-2s"], false)]
    #[case::no_namespace(&["run", "--namespace", ""], false)]
    #[case::an_empty_namespace(&["run", "--namespace", "shop,"], false)]
    #[case::token_endpoints(&["run", "--oauth-token-endpoints", "https://idp.example.com/oauth2/token,https://other:8443/token"], true)]
    #[case::a_token_endpoint_in_clear(&["run", "--oauth-token-endpoints", "http://idp.example.com/token"], false)]
    #[case::a_token_endpoint_with_a_user(&["run", "--oauth-token-endpoints", "https://idp.example.com@other/token"], false)]
    #[case::a_token_endpoint_with_a_query(&["run", "--oauth-token-endpoints", "https://idp.example.com/token?x=y"], false)]
    #[case::a_pattern(&["run", "--oauth-token-endpoints", "https://*/token"], false)]
    #[case::nothing(&[], false)]
    #[case::no_workers(&["run", "--concurrency", "0"], false)]
    #[case::no_port(&["run", "--http-address", "localhost"], false)]
    fn what_makes_no_sense_is_refused(#[case] words: &[&str], #[case] accepted: bool) {
        let parsed = Arguments::try_parse_from([&["offset-reset-operator"], words].concat());
        assert_eq!(parsed.is_ok(), accepted, "{parsed:?}");
    }
}
