//! The command line and its environment variables, read once at the start.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::observability::LogFormat;

/// Resets the offsets of Kafka consumer groups: stops the consumers, waits until the broker reports the group empty, commits and
/// verifies the offsets, and always restores the consumers.
#[derive(Debug, Parser)]
#[command(name = "offset-reset-operator", version)]
pub struct Arguments {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub enum Command {
    /// Runs the operator until SIGTERM or SIGINT.
    Run(Config),
    /// Prints the CustomResourceDefinition.
    Crd,
    /// Prints the page that explains every reason in the status, as Markdown.
    Reasons,
    /// Prints the page that lists every metric, as Markdown.
    Metrics,
    /// Serves as a Kafka client of the operator that has started this process: see `kafka::serve`.
    #[command(hide = true)]
    KafkaClient(Logs),
}

/// The options that the operator passes on to the Kafka clients that it starts.
#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// The log filter.
    #[arg(long)]
    pub log: String,

    /// The log format.
    #[arg(long, value_enum)]
    pub log_format: LogFormat,
}

/// The options of the operator.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Namespaces to watch, separated by commas; the operator reads nothing outside of them. Default: all namespaces.
    #[arg(
        long = "namespace",
        visible_alias = "namespaces",
        env = "OFFSET_RESET_NAMESPACES",
        value_delimiter = ',',
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub namespaces: Vec<String>,

    /// Address on which to serve /livez, /readyz and /metrics. The default is every IPv6 and IPv4 address.
    #[arg(long, env = "OFFSET_RESET_HTTP_ADDRESS", default_value = "[::]:8080")]
    pub http_address: SocketAddr,

    /// Maximum number of OffsetResets holding consumers at zero, and of Leases, reconciled concurrently. Other OffsetResets get a
    /// quarter of that, or 1/32 while any consumers are held at zero, rounded up; but only one every 250 ms
    /// while those holding consumers take 1/16, rounded up (one that waits for Kafka does not count).
    #[arg(long, env = "OFFSET_RESET_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,

    /// Log filter, such as info or info,librdkafka=debug.
    #[arg(long, env = "OFFSET_RESET_LOG", default_value = "info")]
    pub log: String,

    /// Log format.
    #[arg(long, env = "OFFSET_RESET_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Name of this instance in Events and in the leader lease; usually the name of its pod.
    #[arg(long, env = "OFFSET_RESET_INSTANCE")]
    pub instance: Option<String>,

    /// Name of the operator's own Deployment, in the namespace of the leader lease. When the operator is told to terminate because
    /// that Deployment was deleted or scaled to zero, it first restores the consumers that it holds at zero. Default: none, and
    /// then it leaves them to the next leader.
    #[arg(long, env = "OFFSET_RESET_DEPLOYMENT")]
    pub deployment: Option<String>,

    /// Token endpoints that OffsetResets with authentication of type oauth may use, as exact addresses separated by commas, such as
    /// https://idp.example.com/oauth2/token. Default: none. The operator contacts listed endpoints on behalf of anyone who can create
    /// OffsetResets.
    #[arg(long, env = "OFFSET_RESET_OAUTH_TOKEN_ENDPOINTS", value_delimiter = ',', value_parser = token_endpoint)]
    pub oauth_token_endpoints: Vec<String>,

    /// Check every minute that the API server enforces the policies of deploy/, and report those that it does not in the log, on
    /// /readyz and as a metric. Set it to false where other policies take their place.
    #[arg(
        long,
        env = "OFFSET_RESET_CHECK_POLICIES",
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub check_policies: bool,

    /// How long to keep the receipt of a run after its end. While the receipt exists, the same OffsetReset, deleted and created
    /// again, does not run again. The receipt is also kept while an OffsetReset of that name exists. The default is 90 days.
    #[arg(long, env = "OFFSET_RESET_RECEIPT_RETENTION", default_value = "2160h", value_parser = duration)]
    pub receipt_retention: Duration,

    /// The options of leader election.
    #[command(flatten)]
    pub election: Election,

    /// The program that runs each Kafka client as a process: this one. Without it the clients run in the operator's own process, which
    /// a malformed answer of a broker can crash.
    #[arg(skip)]
    pub program: Option<PathBuf>,
}

/// Leader election, with client-go's protocol and its usual times.
#[derive(Clone, Debug, Args)]
pub struct Election {
    /// Work only while holding the leader lease, so that several instances can run. Without it, only one instance may run.
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

    /// Name of the leader lease. Instances that watch different namespaces need different names.
    #[arg(long, env = "OFFSET_RESET_LEASE_NAME", default_value = "offset-reset-operator")]
    pub lease_name: String,

    /// Namespace of the leader lease. Default: the operator's own.
    #[arg(long, env = "OFFSET_RESET_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Time without a renewal after which another instance takes over, in whole seconds.
    #[arg(long, env = "OFFSET_RESET_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,

    /// Time without a renewal after which the leader exits; shorter than the lease duration.
    #[arg(long, env = "OFFSET_RESET_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    pub renew_deadline: Duration,

    /// Wait between two renewals of the leader, and between two attempts of the other instances.
    #[arg(long, env = "OFFSET_RESET_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    pub retry_period: Duration,
}

impl Config {
    /// The arguments of a Kafka client process.
    #[must_use]
    pub fn client_arguments(&self) -> Vec<String> {
        let format = self.log_format.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        vec!["kafka-client".into(), format!("--log={}", self.log), format!("--log-format={format}")]
    }

    /// The scopes to watch: each namespace once, or `None` for all namespaces.
    #[must_use]
    pub fn scopes(&self) -> Vec<Option<String>> {
        let named: BTreeSet<&String> = self.namespaces.iter().collect();
        if named.is_empty() { vec![None] } else { named.into_iter().cloned().map(Some).collect() }
    }
}

/// Parses a token endpoint. It is compared as text, so it must not be ambiguous.
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

/// Parses a duration as in the resource: 15s, 1m30s, 500ms.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: kube::core::Duration = text.parse().map_err(|_| "not a duration such as 15s, 1m30s or 500ms".to_owned())?;
    if parsed.is_negative() {
        return Err("must not be negative".into());
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
    fn leader_election_is_off_by_default_and_has_the_usual_times() {
        let Command::Run(Config { election, .. }) = Arguments::parse_from(["offset-reset-operator", "run"]).command else {
            unreachable!("the command is run")
        };
        let times = [election.lease_duration, election.renew_deadline, election.retry_period];
        assert_eq!((election.leader_election, times), (false, [15, 10, 2].map(Duration::from_secs)));
    }

    #[test]
    fn the_arguments_of_a_kafka_client_are_valid() {
        let words = ["offset-reset-operator", "run", "--log", "info,librdkafka=debug", "--log-format", "json"];
        let Command::Run(config) = Arguments::parse_from(words).command else { unreachable!("the command is run") };
        let words = std::iter::once("offset-reset-operator".to_owned()).chain(config.client_arguments());
        let Command::KafkaClient(logs) = Arguments::parse_from(words).command else {
            unreachable!("the command is kafka-client")
        };
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
        let Command::Run(config) = Arguments::parse_from(words).command else { unreachable!("the command is run") };
        let scopes = config.scopes();
        assert_eq!(scopes.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    }

    #[rstest]
    #[case::defaults(&["run"], true)]
    #[case::everything(&["run", "--namespace", "shop", "--http-address", "[::]:80", "--concurrency", "4", "--log-format", "json"], true)]
    #[case::the_crd(&["crd"], true)]
    #[case::the_reasons(&["reasons"], true)]
    #[case::leader_election(&["run", "--leader-election", "--lease-duration", "1m30s", "--retry-period", "500ms"], true)]
    #[case::no_leader_election(&["run", "--leader-election=false", "--lease-namespace", "shop"], true)]
    #[case::a_duration_without_a_unit(&["run", "--lease-duration", "15"], false)]
    #[case::a_duration_that_has_passed(&["run", "--retry-period=-2s"], false)]
    #[case::no_namespace(&["run", "--namespace", ""], false)]
    #[case::an_empty_namespace(&["run", "--namespace", "shop,"], false)]
    #[case::token_endpoints(&["run", "--oauth-token-endpoints", "https://idp.example.com/oauth2/token,https://other:8443/token"], true)]
    #[case::a_token_endpoint_in_plaintext(&["run", "--oauth-token-endpoints", "http://idp.example.com/token"], false)]
    #[case::a_token_endpoint_with_a_user(&["run", "--oauth-token-endpoints", "https://idp.example.com@other/token"], false)]
    #[case::a_token_endpoint_with_a_query(&["run", "--oauth-token-endpoints", "https://idp.example.com/token?x=y"], false)]
    #[case::a_pattern(&["run", "--oauth-token-endpoints", "https://*/token"], false)]
    #[case::nothing(&[], false)]
    #[case::no_workers(&["run", "--concurrency", "0"], false)]
    #[case::no_port(&["run", "--http-address", "localhost"], false)]
    fn invalid_options_are_refused(#[case] words: &[&str], #[case] accepted: bool) {
        let parsed = Arguments::try_parse_from([&["offset-reset-operator"], words].concat());
        assert_eq!(parsed.is_ok(), accepted, "{parsed:?}");
    }
}
