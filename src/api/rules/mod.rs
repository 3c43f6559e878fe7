//! The CEL rules of the CRD, each with the message that a user reads at `kubectl apply`.
//!
//! A rule never fails to evaluate, whatever the schema lets through: the API server would answer
//! with the words of its CEL engine. (A few regular expressions are the exception, see
//! `TOPIC_PATTERN`.) The first sentence of a message stands alone within 100 characters.

use kube::core::Rule;

/// A CEL rule of the CRD, and the message for an object that breaks it.
#[derive(Clone, Copy, Debug)]
pub struct CelRule {
    /// The expression, which is true for a valid value.
    pub expression: &'static str,
    /// What to write instead.
    pub message: &'static str,
}

impl From<CelRule> for Rule {
    fn from(rule: CelRule) -> Self {
        Self::new(rule.expression).message(rule.message)
    }
}

macro_rules! rules {
    ($($name:ident: $expression:expr => $message:expr;)+) => {
        $(pub const $name: CelRule = CelRule { expression: $expression, message: $message };)+
    };
}

/// Literals of CEL with commas between them.
macro_rules! quoted {
    ($first:literal $(, $rest:literal)*) => { concat!("'", $first, "'", $(", '", $rest, "'",)*) };
}

/// Words with commas between them.
macro_rules! listed {
    ($first:literal $(, $rest:literal)*) => { concat!($first, $(", ", $rest,)*) };
}

/// Whether a field of `t` and of `u` has the same value. Items of lists have no defaults in the schema, so the field may be
/// absent.
macro_rules! same_or_default {
    ($field:literal, $default:literal) => {
        concat!(
            "(has(t.",
            $field,
            ") ? (has(u.",
            $field,
            ") ? t.",
            $field,
            " == u.",
            $field,
            " : t.",
            $field,
            " == '",
            $default,
            "')",
            " : (!has(u.",
            $field,
            ") || u.",
            $field,
            " == '",
            $default,
            "'))"
        )
    };
}

/// The address of a broker: a host name or an IPv4 address, or an IPv6 address in brackets, and a port.
macro_rules! broker {
    () => {
        "([^],:/ []+|[[][0-9a-fA-F:.]+[]]):[0-9]{1,5}"
    };
}

/// All of these fields are present.
macro_rules! all {
    ($first:literal $(, $rest:literal)*) => { concat!("has(self.", $first, ")", $(" && has(self.", $rest, ")",)*) };
}
/// None of these fields is present.
macro_rules! none {
    ($first:literal $(, $rest:literal)*) => { concat!("!has(self.", $first, ")", $(" && !has(self.", $rest, ")",)*) };
}

/// How many of these fields are present.
macro_rules! count {
    ($first:literal $(, $rest:literal)*) => {
        concat!("(has(self.", $first, ") ? 1 : 0)", $(" + (has(self.", $rest, ") ? 1 : 0)",)*)
    };
}

/// The name of an object, which becomes part of an address.
macro_rules! object_name {
    () => {
        "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
    };
}

/// A duration whose numbers are small enough that 32 characters of them never exceed what CEL's
/// `duration` can hold (292 years).
macro_rules! duration {
    () => {
        concat!(
            "^([1-4]?[0-9]{1,5}([.][0-9]+)?h|[0-9]{1,7}([.][0-9]+)?m|",
            "1?[0-9]{1,9}([.][0-9]+)?s|[0-9]{1,12}([.][0-9]+)?ms)+$"
        )
    };
}
macro_rules! duration_up_to {
    ($most:literal) => {
        concat!(
            "self.matches('",
            duration!(),
            "') && duration(self) > duration('0s') && duration(self) <= duration('",
            $most,
            "')"
        )
    };
}

/// A comparison of two durations. It holds where one of them is not a duration: that breaks its own
/// rule.
macro_rules! durations {
    ($left:literal $comparison:literal $right:literal) => {
        concat!(
            "!self.",
            $left,
            ".matches('",
            duration!(),
            "') || !self.",
            $right,
            ".matches('",
            duration!(),
            "')",
            " || duration(self.",
            $left,
            ") ",
            $comparison,
            " duration(self.",
            $right,
            ")"
        )
    };
}

/// A time of the years 1971 to 9998 with a zone, on a day that exists.
macro_rules! time {
    () => {
        concat!(
            "^(",
            "(19[7-9][1-9]|19[89]0|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-",
            "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))",
            "|(19(7[26]|8[048]|9[26])|[2-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[3579][26])00)-02-29",
            ")T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
        )
    };
}

/// The properties of `kafka.config` whose values are milliseconds.
macro_rules! times {
    ($do:ident) => {
        $do!(
            "broker.address.ttl",
            "request.timeout.ms",
            "socket.connection.setup.timeout.ms",
            "reconnect.backoff.ms",
            "reconnect.backoff.max.ms",
            "retry.backoff.ms",
            "retry.backoff.max.ms",
            "connections.max.idle.ms",
            "api.version.request.timeout.ms"
        )
    };
}
macro_rules! array {
    ($($item:literal),+) => { &[$($item),+] };
}

/// The properties of `kafka.config` whose values are milliseconds.
pub const TIMES: &[&str] = times!(array);

// Below the macros, which it uses.
mod connection;

pub use connection::*;

// The spec.
rules! {
    DRY_RUN: "self.dryRun == oldSelf.dryRun || oldSelf.dryRun"
        => "dryRun can only be changed from true to false. A reset that may have run cannot become a dry run. \
        Create another OffsetReset under a new name";

    RESETS_OR_UNDO: concat!(count!("undo", "resetsFrom"), " + (self.resets.size() > 0 ? 1 : 0) == 1")
        => "write either resets, resetsFrom or undo. resets lists what to reset and where to; resetsFrom names a ConfigMap with \
        such a list; undo names the OffsetReset to undo";

    OTHER_GROUP: "self.resets.all(r, !has(r.fromGroup) || r.fromGroup != self.group)"
        => "fromGroup must name another group than spec.group. \
        To move the group's own offsets into range, write position: Current";

    NAMED_PARTITIONS: "self.resets.map(r, (has(r.partitions) ? r.partitions.size() : 0) \
        + (has(r.partitionRanges) ? r.partitionRanges.size() : 0)).sum() <= 2000"
        => "the entries of resets have more than 2,000 partitions and partitionRanges in all. \
        Write ranges, or a file for resetsFrom, which may have 20,000 partitions";

    REMOVAL_NEEDS_TARGETS: "self.remainingMembers != 'Remove' || self.targetRefs.size() > 0"
        => "remainingMembers: Remove needs a workload in targetRefs. \
        It removes the members that remain after the targets have stopped: name the workloads, or write Wait";

    DRAIN_COVERS_SESSION: concat!("!has(self.sessionTimeout) || ", durations!("drainTimeout" ">=" "sessionTimeout"))
        => "drainTimeout must be at least sessionTimeout. \
        For that long the broker counts a consumer as a member that did not leave the group: raise drainTimeout";

    HOLD_COVERS_DRAIN: durations!("holdTimeout" ">" "drainTimeout")
        => "holdTimeout must be longer than drainTimeout. It limits the whole time at zero, the drain included: raise holdTimeout";

    // Each of the two durations is positive, so that their difference does not overflow.
    HOLD_COVERS_CANARY: concat!(
        "!has(self.restore) || !has(self.restore.canary) || !self.restore.canary.timeout.matches('", duration!(), "') || ",
        durations!("holdTimeout" "-" "drainTimeout"), " > duration(self.restore.canary.timeout)"
    )
        => "restore.canary.timeout and drainTimeout must together be less than holdTimeout. It limits both: raise holdTimeout";

    CANARY_NEEDS_TARGETS: "!has(self.restore) || !has(self.restore.canary) || self.targetRefs.size() > 0"
        => "restore.canary needs a workload in targetRefs. The canary is a part of its replicas: name the workloads, or leave it out";

    // As `TargetRef::is_connector`.
    NO_CANARY_OF_CONNECTOR: "!has(self.restore) || !has(self.restore.canary) || !self.targetRefs.exists(t, \
        has(t.kind) && t.kind == 'KafkaConnector' && has(t.apiVersion) && t.apiVersion.startsWith('kafka.strimzi.io/'))"
        => "restore.canary cannot be combined with a KafkaConnector in targetRefs. \
        A connector has no replicas of which some could be restored first: leave restore.canary out";

    TARGETS_ONCE: concat!(
        "self.all(t, self.exists_one(u, u.name == t.name && ",
        same_or_default!("kind", "Deployment"), " && ", same_or_default!("apiVersion", "apps/v1"), "))"
    )
        => "targetRefs names the same workload twice. Name it once";

    // Also the characters that begin a new line, or change the direction of the text around them.
    REASON: r"!self.matches(r'[\p{Cc}\x{2028}\x{2029}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2066}-\x{2069}]')"
        => "reason must be one line of text without control characters. Write why the offsets are reset, such as a ticket's number";

    // The schema has a plain string here: as date-time the API server accepts strings that CEL
    // cannot read.
    NOT_AFTER: concat!("self.matches('", time!(), "')")
        => "notAfter must be a time after 1970 with a zone, such as 2026-11-24T18:00:00Z";

    SESSION_TIMEOUT: duration_up_to!("30m")
        => "sessionTimeout must be a duration of up to 30m, such as 10s or 1m30s";

    DRAIN_TIMEOUT: duration_up_to!("24h")
        => "drainTimeout must be a duration of up to 24h, such as 2m";

    HOLD_TIMEOUT: duration_up_to!("24h")
        => "holdTimeout must be a duration of up to 24h, such as 10m";

    RESUME_TIMEOUT: duration_up_to!("24h")
        => "resumeTimeout must be a duration of up to 24h, such as 15m";
}

// The targets, undo and limits.
rules! {
    SCALABLE: "has(self.apiVersion) && self.apiVersion != 'apps/v1' \
        || !has(self.kind) || self.kind in ['Deployment', 'StatefulSet', 'ReplicaSet']"
        => "of apps/v1, only a Deployment, a StatefulSet or a ReplicaSet can be a target. \
        For a kind of another API group write its apiVersion too, such as argoproj.io/v1alpha1 for a Rollout. \
        A DaemonSet has no replicas: stop it yourself and leave it out of targetRefs; the reset waits until the group is empty";

    NO_CONNECT_CLUSTER: "!has(self.apiVersion) || !self.apiVersion.startsWith('kafka.strimzi.io/') \
        || !has(self.kind) || self.kind != 'KafkaConnect'"
        => "a KafkaConnect cannot be a target, because it runs several connectors. \
        Write kind: KafkaConnector, and the name of the sink connector whose group is reset";

    NO_MIRROR_MAKER: "!has(self.apiVersion) || !self.apiVersion.startsWith('kafka.strimzi.io/') \
        || !has(self.kind) || self.kind != 'KafkaMirrorMaker2'"
        => "a KafkaMirrorMaker2 cannot be a target: its source connectors have no consumer group. \
        In its sourceConnector set state: stopped, and change the offsets with alterOffsets and the annotations \
        strimzi.io/connector-offsets: alter and strimzi.io/mirrormaker-connector";

    API_VERSION: "self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9]+([a-z]+[0-9]+)?$')"
        => "apiVersion must be as in the workload's own manifest. Write group and version, such as apps/v1 or argoproj.io/v1alpha1";

    KIND: "self.matches('^[A-Z][A-Za-z0-9]*$')"
        => "kind must be as in the workload's own manifest, such as StatefulSet. A plural or a short name does not work";

    RESOURCE: "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
        => "resource must be as kubectl api-resources shows it under NAME, such as proxies. \
        Leave out the API group and the subresource";

    TARGET_NAME: concat!("self.matches('", object_name!(), "')")
        => "name must be the workload's metadata.name. It has lowercase letters, digits, '-' and '.'";

    CANARY_REPLICAS: "self >= 1 && self <= 2147483647" => "replicas of a canary must be 1 or more";

    CANARY_TIMEOUT: duration_up_to!("24h") => "timeout of a canary must be a duration of up to 24h, such as 3m";

    UNDO_NAME: concat!("self.matches('", object_name!(), "')")
        => "undo.name must be the metadata.name of an OffsetReset in this namespace";

    CONFIG_MAP_NAME: concat!("self.matches('", object_name!(), "')")
        => "configMapKeyRef.name must be the metadata.name of a ConfigMap in this namespace";

    CONFIG_MAP_KEY: "self.matches('^[-._a-zA-Z0-9]+$')"
        => "configMapKeyRef.key must be a key of the ConfigMap's data, such as offsets.csv";

    MAX_REPLAY: "self >= 0" => "maxReplay must be 0 or more";

    MAX_SKIP: "self >= 0" => "maxSkip must be 0 or more";

    MAX_CATCH_UP: duration_up_to!("8760h") => "maxCatchUp must be a duration of up to 8760h, such as 2h";
}

// One entry of `resets`.
rules! {
    ONE_TARGET: concat!(count!("offset", "timestamp", "position", "shiftBy", "duration", "fromGroup"), " == 1")
        => "each entry of resets needs exactly one target. \
        Write one of offset, timestamp, position, shiftBy, duration and fromGroup";

    ONE_SCOPE: "has(self.topic) != has(self.topicPattern)"
        => "each entry of resets needs either topic or topicPattern. \
        topic is the name of one topic; for all topics on which the group has committed offsets write topicPattern: \".*\"";

    TOPIC: "self.matches('^[a-zA-Z0-9._-]+$') && self != '.' && self != '..'"
        => "topic must be the name of one topic: letters, digits, '.', '_' and '-'. For several topics write topicPattern; \
        for all topics on which the group has committed offsets write topicPattern: \".*\"";

    // No function of CEL tells a regular expression from other text, except by an error with the
    // engine's words. The usual mistakes are found before it comes to that, where no backslash and
    // no bracket gives a character another meaning.
    TOPIC_PATTERN: concat!(
        r"!self.matches(r'^[*+?]') && (self.matches(r'[\\\[]') || (self.split('(').size() == self.split(')').size()",
        r" && !self.matches(r'[(|][*+]|[|][?]|[*+?][*+]|[(][?](!|=|>|<!|<=)')))",
        r" && !self.matches(r'^[^\\]*\[[^\\\]]*$|^(.*[^\\])?(\\\\)*\\$') && 'topic'.matches(self) in [true, false]"
    ) => "topicPattern must be a regular expression (RE2), such as \"orders\\..*\". \
        For all topics of the group write \".*\". RE2 has neither lookahead nor lookbehind";

    PARTITION: "self >= -1 && self <= 2147483647"
        => "partition must be a partition's number from 0, or -1 for all partitions";

    ONE_WAY_TO_NAME_PARTITIONS: "!has(self.partition) || self.partition == -1 || !(has(self.partitions) || has(self.partitionRanges))"
        => "write partition for one partition, or partitions and partitionRanges for several. \
        Move the number of partition into partitions, and leave partition out";

    PARTITION_RANGE: "self.from <= self.to"
        => "a range of partitions goes from the smaller number to the larger one. \
        Write such as {from: 5, to: 9}; both belong to it";

    OFFSET: "self >= 0"
        => "offset must be 0 or more. For the start or the end of the log write position: Earliest or position: Latest";

    DURATION: concat!("self.matches('", duration!(), "') && duration(self) > duration('0s')")
        => "duration must be a duration such as 90m or 36h, counted back from now. Write days as hours";
}

// `timestamp` is a number or a string. The API server reckons that such a value may be megabytes
// long, and for hundreds of entries anything that reads all of it would cost more than the API
// server allows: so neither a pattern nor `==` on its type, but `in`, and single characters. What
// slips through is refused while planning.
macro_rules! number_in_quotes {
    () => {
        "(self.size() in [10, 13] && self.charAt(4) in ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])"
    };
}
rules! {
    TIMESTAMP_OF_EARLIEST: "type(self) in [string] ? !(self in ['0', '-2']) : !(self in [0, -2])"
        => "timestamp 0 and -2 are no times. For the first record that is kept write position: Earliest instead of timestamp";

    TIMESTAMP_OF_LATEST: "type(self) in [string] ? !(self in ['-1']) : !(self in [-1])"
        => "timestamp -1 is no time. For the end of the log write position: Latest instead of timestamp";

    TIMESTAMP: concat!(
        "type(self) in [string] ? self in ['0', '-1', '-2'] || ", number_in_quotes!(),
        " || (self.size() >= 20 && self.size() <= 40 && self.charAt(4) in ['-'] && self.charAt(10) in ['T', 't']",
        " && (self.endsWith('Z') || self.endsWith('z')",
        " || (self.size() >= 25 && (self.endsWith(':00') || self.endsWith(':30') || self.endsWith(':45')))))",
        " : self in [0, -1, -2] || (self >= 1000000000 && self <= 9999999999) || (self >= 1000000000000 && self <= 9999999999999)"
    ) => "timestamp must be Unix time, or RFC 3339 with a zone in quotes. Seconds have 10 digits and milliseconds 13: \
        write 1571812149, 1571812149000 or \"2019-10-23T13:22:24Z\"";
}
