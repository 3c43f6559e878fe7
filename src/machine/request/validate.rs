//! The rules of the CRD once more, because the installed CRD may be of another version or have none
//! of them. `tests/input/rules.rs` holds both equal; the texts are the same constants.

use std::time::Duration;

use super::error::InvalidSpec;
use crate::api::{
    AuthenticationSpec, AuthenticationType, BootstrapServers, ConfigMapKeyRef, ConfigValue, KafkaSpec, OffsetResetSpec,
    RemainingMembers, ResetSpec, TargetRef,
    rules::{self, CelRule},
};

/// What the name of a group must be.
const GROUP_NAME: &str = "must be the name of a group, of up to 255 characters, without a NUL character";

/// How many numbers and ranges of partitions a spec may have, so that it can be stored together with its status.
const MAX_NAMED: usize = 2_000;

/// What partitions must be, beside what the rules say.
const PARTITIONS: &str =
    "partitions must have at least one number of a partition, from 0. For all partitions leave the field out";

const DAY: Duration = Duration::from_hours(24);

/// The seconds of Unix time that `notAfter` may have: the years 1971 to 9998 in any zone.
const NOT_AFTER: std::ops::Range<i64> = 31_449_600..253_370_851_200;

/// Checks a spec by the rules of `src/api/rules`, except for those about the scope and the
/// target of an entry: `parse_patterns` and `parse_entry` check them.
pub(in crate::machine) fn check(spec: &OffsetResetSpec) -> Result<(), InvalidSpec> {
    check_kafka(&spec.kafka).map_err(|(field, problem)| InvalidSpec::new(format!("kafka{field}"), problem))?;
    let removes = spec.remaining_members == RemainingMembers::Remove;
    ensure(!removes || !spec.target_refs.is_empty(), "remainingMembers", rules::REMOVAL_NEEDS_TARGETS)?;
    if !is_group(&spec.group) {
        return Err(InvalidSpec::new("group", GROUP_NAME));
    }
    for (index, target) in spec.target_refs.iter().enumerate() {
        let field = format!("targetRefs[{index}]");
        check_target(target).map_err(|rule| InvalidSpec::new(&field, rule.message))?;
        let same = |other: &TargetRef| {
            (&other.api_version, &other.kind, &other.name) == (&target.api_version, &target.kind, &target.name)
        };
        ensure(!spec.target_refs[..index].iter().any(same), &field, rules::TARGETS_ONCE)?;
    }
    if let Some(reason) = &spec.reason {
        let fits = (1..=256).contains(&reason.chars().count());
        ensure(fits && !reason.chars().any(breaks_the_line), "reason", rules::REASON)?;
    }
    if let Some(undo) = &spec.undo {
        ensure(is_name(&undo.name), "undo.name", rules::UNDO_NAME)?;
    }
    if let Some(from) = &spec.resets_from {
        let ConfigMapKeyRef { name, key } = &from.config_map_key_ref;
        ensure(is_name(name), "resetsFrom.configMapKeyRef.name", rules::CONFIG_MAP_NAME)?;
        let is_key = (1..=253).contains(&key.len()) && has_only_name_characters(key);
        ensure(is_key, "resetsFrom.configMapKeyRef.key", rules::CONFIG_MAP_KEY)?;
    }
    let named =
        |entry: &ResetSpec| entry.partitions.as_ref().map_or(0, Vec::len) + entry.partition_ranges.as_ref().map_or(0, Vec::len);
    ensure(spec.resets.iter().map(named).sum::<usize>() <= MAX_NAMED, "resets", rules::NAMED_PARTITIONS)?;
    for (index, entry) in spec.resets.iter().enumerate() {
        check_entry(entry, &spec.group)
            .map_err(|(field, problem)| InvalidSpec::new(format!("resets[{index}].{field}"), problem))?;
    }
    if let Some(limits) = &spec.limits {
        ensure(limits.max_replay.is_none_or(|limit| limit >= 0), "limits.maxReplay", rules::MAX_REPLAY)?;
        ensure(limits.max_skip.is_none_or(|limit| limit >= 0), "limits.maxSkip", rules::MAX_SKIP)?;
        if let Some(longest) = limits.max_catch_up {
            bounded("limits.maxCatchUp", longest, DAY * 365, rules::MAX_CATCH_UP)?;
        }
    }
    let not_after = spec.not_after.as_ref().map(|at| at.0.as_second());
    ensure(not_after.is_none_or(|at| NOT_AFTER.contains(&at)), "notAfter", rules::NOT_AFTER)?;
    let session = spec.session_timeout;
    let session = session.map(|session| bounded("sessionTimeout", session, DAY / 48, rules::SESSION_TIMEOUT)).transpose()?;
    let drain = bounded("drainTimeout", spec.drain_timeout, DAY, rules::DRAIN_TIMEOUT)?;
    let hold = bounded("holdTimeout", spec.hold_timeout, DAY, rules::HOLD_TIMEOUT)?;
    if let Some(resume) = spec.resume_timeout {
        bounded("resumeTimeout", resume, DAY, rules::RESUME_TIMEOUT)?;
    }
    ensure(session.is_none_or(|session| drain >= session), "drainTimeout", rules::DRAIN_COVERS_SESSION)?;
    ensure(hold > drain, "holdTimeout", rules::HOLD_COVERS_DRAIN)?;
    let Some(canary) = spec.restore.as_ref().and_then(|restore| restore.canary.as_ref()) else { return Ok(()) };
    ensure(canary.replicas >= 1, "restore.canary.replicas", rules::CANARY_REPLICAS)?;
    ensure(!spec.target_refs.is_empty(), "restore.canary", rules::CANARY_NEEDS_TARGETS)?;
    ensure(!spec.target_refs.iter().any(TargetRef::is_connector), "restore.canary", rules::NO_CANARY_OF_CONNECTOR)?;
    let timeout = bounded("restore.canary.timeout", canary.timeout, DAY, rules::CANARY_TIMEOUT)?;
    ensure(hold > drain.saturating_add(timeout), "holdTimeout", rules::HOLD_COVERS_CANARY)
}

fn ensure(holds: bool, field: &str, rule: CelRule) -> Result<(), InvalidSpec> {
    if holds { Ok(()) } else { Err(InvalidSpec::new(field, rule.message)) }
}

fn check_kafka(kafka: &KafkaSpec) -> Result<(), (String, String)> {
    let wrong = |field: &str, problem: &str| Err((field.to_owned(), problem.to_owned()));
    match (&kafka.bootstrap_servers, &kafka.binding) {
        (None, None) | (Some(_), Some(_)) => return wrong("", rules::BROKERS_OR_BINDING.message),
        (None, Some(_)) if kafka.tls.is_some() || kafka.authentication.is_some() => {
            return wrong(".binding", rules::BINDING_ALONE.message);
        }
        (Some(brokers), None) if BootstrapServers::parse(brokers).is_none() => {
            return wrong(".bootstrapServers", rules::BOOTSTRAP_SERVERS.message);
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    if let Some(authentication) = &kafka.authentication {
        if authentication.kind == AuthenticationType::Tls && kafka.tls.is_none() {
            return wrong(".authentication", rules::CERTIFICATE_NEEDS_TLS.message);
        }
        if let Err(rule) = check_authentication(authentication) {
            return wrong(".authentication", rule.message);
        }
    }
    if let Some(name) = secrets(kafka).into_iter().find(|name| !is_name(name)) {
        return wrong("", &format!("names a Secret '{name}', which is not the name of an object"));
    }
    let trusted = kafka.tls.iter().flat_map(|tls| &tls.trusted_certificates);
    let more = kafka.authentication.iter().filter_map(|own| own.tls_trusted_certificates.as_ref()).flatten();
    for source in trusted.chain(more) {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*' | b'?');
        if source.certificate.is_some() == source.pattern.is_some() {
            return wrong(".tls.trustedCertificates", rules::CERTIFICATE_OR_PATTERN.message);
        }
        if source.pattern.as_ref().is_some_and(|text| text.is_empty() || !text.bytes().all(legal)) {
            return wrong(".tls.trustedCertificates", rules::KEY_PATTERN.message);
        }
    }
    for (name, value) in &kafka.config {
        if let Err(rule) = check_property(name, &value.0) {
            return wrong(&format!(".config[{name}]"), rule.message);
        }
    }
    Ok(())
}

/// The names of all Secrets that the connection needs.
fn secrets(kafka: &KafkaSpec) -> Vec<&str> {
    let own = kafka.authentication.as_deref();
    let trusted = kafka.tls.iter().flat_map(|tls| &tls.trusted_certificates);
    let more = own.and_then(|own| own.tls_trusted_certificates.as_ref()).into_iter().flatten();
    let mut names: Vec<&str> = trusted.chain(more).map(|source| source.secret_name.as_str()).collect();
    names.extend(kafka.binding.as_ref().map(|binding| binding.secret_name.as_str()));
    names.extend(own.and_then(|own| own.certificate_and_key.as_ref()).map(|named| named.secret_name.as_str()));
    names.extend(own.and_then(|own| own.password_secret.as_ref()).map(|named| named.secret_name.as_str()));
    names.extend(own.and_then(|own| own.client_secret.as_ref()).map(|named| named.secret_name.as_str()));
    names
}

/// Checks that the fields of the type are there, all of them and no others.
fn check_authentication(own: &AuthenticationSpec) -> Result<(), CelRule> {
    let certificate = own.certificate_and_key.is_some();
    let (user, password) = (own.username.is_some(), own.password_secret.is_some());
    let (endpoint, client, secret) = (own.token_endpoint_uri.as_ref(), own.client_id.is_some(), own.client_secret.is_some());
    let more = own.scope.is_some()
        || own.tls_trusted_certificates.is_some()
        || own.audience.is_some()
        || own.credentials_in.is_some()
        || own.header_urlencode.is_some()
        || !own.sasl_extensions.is_empty();
    let (holds, rule) = match own.kind {
        AuthenticationType::Tls => {
            (certificate && !(user || password || endpoint.is_some() || client || secret || more), rules::TLS_AUTHENTICATION)
        }
        AuthenticationType::ScramSha256 | AuthenticationType::ScramSha512 | AuthenticationType::Plain => {
            (user && password && !(certificate || endpoint.is_some() || client || secret || more), rules::PASSWORD_AUTHENTICATION)
        }
        AuthenticationType::OAuth => {
            (endpoint.is_some() && client && secret && !(certificate || user || password), rules::OAUTH_AUTHENTICATION)
        }
    };
    let is_address = |text: &String| {
        let rest = text.strip_prefix("https://").unwrap_or_default();
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains([' ', '@', '#', '?'])
    };
    if !holds {
        return Err(rule);
    }
    if !endpoint.is_none_or(is_address) {
        return Err(rules::TOKEN_ENDPOINT);
    }
    let is_extension = |(name, value): (&String, &ConfigValue)| {
        let is_name = name != "auth" && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        is_name && !value.0.is_empty() && value.0.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    if own.sasl_extensions.iter().all(is_extension) { Ok(()) } else { Err(rules::SASL_EXTENSIONS) }
}

/// Checks that a property of the client may be set, and to that value.
fn check_property(name: &str, value: &str) -> Result<(), CelRule> {
    let secures = |prefix: &&str| name.starts_with(*prefix);
    let (holds, rule) = match name {
        "security.protocol" => (false, rules::CONFIG_WITHOUT_SECURITY),
        _ if ["ssl.", "sasl.", "enable.ssl", "oauthbearer"].iter().any(secures) => (false, rules::CONFIG_WITHOUT_SECURITY),
        "bootstrap.servers" | "metadata.broker.list" => (false, rules::CONFIG_WITHOUT_BROKERS),
        "socket.keepalive.enable" | "socket.nagle.disable" => (matches!(value, "true" | "false"), rules::CONFIG_SWITCHES),
        "broker.address.family" => (matches!(value, "any" | "v4" | "v6"), rules::CONFIG_FAMILY),
        "client.dns.lookup" => {
            (matches!(value, "use_all_dns_ips" | "resolve_canonical_bootstrap_servers_only"), rules::CONFIG_LOOKUP)
        }
        "client.id" => (!value.is_empty() && has_only_name_characters(value), rules::CONFIG_CLIENT_ID),
        time if rules::TIMES.contains(&time) => {
            let digits = (1..=6).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
            (digits && (value == "0" || !value.starts_with('0')), rules::CONFIG_TIMES)
        }
        _ => (false, rules::CONFIG_LISTED),
    };
    if holds { Ok(()) } else { Err(rule) }
}

/// Whether a character is a control character, begins a new line, or changes the direction of the text around it.
pub(in crate::machine) fn breaks_the_line(character: char) -> bool {
    let directs = |character| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') || directs(character)
}

/// Whether it can be the name of an object, which becomes part of an address.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= 253 && name.bytes().all(inner) && outer(name.bytes().next()) && outer(name.bytes().last())
}

fn check_target(target: &TargetRef) -> Result<(), CelRule> {
    let TargetRef { api_version, kind, resource, name, .. } = target;
    let (group, version) = api_version.split_once('/').unwrap_or(("v", api_version));
    let is_version = version.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit())
            && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    });
    let is_resource =
        |text: &String| is_name(text) && !text.contains('.') && text.starts_with(|first: char| first.is_ascii_lowercase());
    let is_kind =
        kind.starts_with(|first: char| first.is_ascii_uppercase()) && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_scalable = api_version != "apps/v1" || matches!(kind.as_str(), "Deployment" | "StatefulSet" | "ReplicaSet");
    let checks = [
        (is_version && is_name(group), rules::API_VERSION),
        (is_kind, rules::KIND),
        (is_scalable, rules::SCALABLE),
        (!target.is_strimzis("KafkaConnect"), rules::NO_CONNECT_CLUSTER),
        (!target.is_strimzis("KafkaMirrorMaker2"), rules::NO_MIRROR_MAKER),
        (resource.as_ref().is_none_or(is_resource), rules::RESOURCE),
        (is_name(name), rules::TARGET_NAME),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
}

fn has_only_name_characters(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether Kafka allows a topic of this name.
pub(super) fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len()) && has_only_name_characters(name) && name != "." && name != ".."
}

fn check_entry(entry: &ResetSpec, group: &str) -> Result<(), (&'static str, &'static str)> {
    if entry.topic.as_ref().is_some_and(|topic| !is_topic(topic)) {
        return Err(("topic", rules::TOPIC.message));
    }
    if entry.from_group.as_ref().is_some_and(|other| !is_group(other)) {
        return Err(("fromGroup", GROUP_NAME));
    }
    if entry.from_group.as_deref() == Some(group) {
        return Err(("fromGroup", rules::OTHER_GROUP.message));
    }
    let numbers = || entry.partitions.iter().flatten();
    if entry.partitions.as_ref().is_some_and(Vec::is_empty) || numbers().any(|number| *number < 0) {
        return Err(("partitions", PARTITIONS));
    }
    let mut ranges = entry.partition_ranges.iter().flatten();
    if entry.partition_ranges.as_ref().is_some_and(Vec::is_empty) || ranges.any(|range| range.from < 0 || range.from > range.to) {
        return Err(("partitionRanges", rules::PARTITION_RANGE.message));
    }
    if entry.duration.is_some_and(|ago| ago.is_negative() || Duration::from(ago).is_zero()) {
        return Err(("duration", rules::DURATION.message));
    }
    Ok(())
}

/// Whether it can be the name of a group: of as many characters as the CRD allows, which is far
/// below the bytes that Kafka does (32,767).
fn is_group(name: &str) -> bool {
    (1..=255).contains(&name.chars().count()) && !name.contains('\0')
}

fn bounded(field: &str, value: kube::core::Duration, most: Duration, rule: CelRule) -> Result<Duration, InvalidSpec> {
    let length = Duration::from(value);
    ensure(!value.is_negative() && !length.is_zero() && length <= most, field, rule)?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::usual("orders-consumer", true)]
    #[case::of_odd_characters("a/b c#d&e@f:%41 ", true)]
    #[case::of_many_bytes(&"\u{0436}".repeat(255), true)]
    #[case::of_more_characters(&"a".repeat(256), false)]
    #[case::empty("", false)]
    #[case::with_a_nul("a\0b", false)]
    fn the_name_of_a_group_is_counted_in_characters(#[case] name: &str, #[case] legal: bool) {
        let spec = |field: &str| {
            let mut spec = json!({
                "kafka": {"bootstrapServers": "a:1"}, "group": "g", "resets": [{"topic": "t", "fromGroup": "h"}], "targetRefs": [],
            });
            match field {
                "group" => spec["group"] = json!(name),
                _ => spec["resets"][0]["fromGroup"] = json!(name),
            }
            serde_json::from_value(spec).unwrap()
        };
        for field in ["group", "fromGroup"] {
            assert_eq!(check(&spec(field)).is_ok(), legal, "{field}");
        }
    }

    #[rstest]
    #[case::certificates(json!({"tls": {"trustedCertificates": [{"secretName": "NAME", "certificate": "c"}]}}))]
    #[case::certificate_and_key(
        json!({"tls": {}, "authentication": {"type": "tls", "certificateAndKey": {"secretName": "NAME", "certificate": "c", "key": "k"}}})
    )]
    #[case::password(json!({"authentication": {"type": "plain", "username": "u", "passwordSecret": {"secretName": "NAME", "password": "p"}}}))]
    #[case::client_secret(json!({"authentication": {
        "type": "oauth", "tokenEndpointUri": "https://a", "clientId": "c", "clientSecret": {"secretName": "NAME", "key": "k"},
    }}))]
    #[case::cas_of_the_token_endpoint(json!({"authentication": {
        "type": "oauth", "tokenEndpointUri": "https://a", "clientId": "c", "clientSecret": {"secretName": "s", "key": "k"},
        "tlsTrustedCertificates": [{"secretName": "NAME", "certificate": "c"}],
    }}))]
    #[case::binding(json!({"bootstrapServers": null, "binding": {"secretName": "NAME"}}))]
    fn a_secret_has_a_name_and_no_path(#[case] change: Value) {
        let checked = |name: &str| {
            let mut spec = json!({"bootstrapServers": "a:1"});
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            check_kafka(&serde_json::from_str(&spec.to_string().replace("NAME", name)).unwrap())
        };
        assert_eq!(checked("orders.kafka-1"), Ok(()));
        for path in ["../other", "a/b", "a?b", "A", "", "-a", "a%2Fb"] {
            assert!(checked(path).is_err_and(|(_, why)| why.contains("names a Secret")), "{path}");
        }
    }
}
