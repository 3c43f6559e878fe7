//! What the definition refuses at apply, once more: a definition of another version, or none of its rules, may have let it through.

use std::time::Duration;

use super::InvalidSpec;
use crate::api::{
    AuthenticationSpec, AuthenticationType, BootstrapServers, KafkaSpec, OffsetResetSpec, RemainingMembers, ResetSpec, TargetRef,
};

const DAY: Duration = Duration::from_hours(24);

/// Why a spec cannot be followed, as the rules of `src/api` have it; what an entry's target has to be is seen where it is parsed.
pub(in crate::machine) fn check(spec: &OffsetResetSpec) -> Result<(), InvalidSpec> {
    check_kafka(&spec.kafka).map_err(|(field, problem)| InvalidSpec::new(format!("kafka{field}"), problem))?;
    ensure(spec.remaining_members == RemainingMembers::Wait || !spec.target_refs.is_empty(), "remainingMembers", || {
        "Evict is for members that are left when the targets have stopped, and targetRefs names none".into()
    })?;
    ensure((1..=255).contains(&spec.group.len()), "group", || "must be the name of a group, of up to 255 characters".into())?;
    for (index, target) in spec.target_refs.iter().enumerate() {
        check_target(target).map_err(|problem| InvalidSpec::new(format!("targetRefs[{index}]"), problem))?;
        let same = |other: &TargetRef| {
            (&other.api_version, &other.kind, &other.name) == (&target.api_version, &target.kind, &target.name)
        };
        ensure(!spec.target_refs[..index].iter().any(same), &format!("targetRefs[{index}]"), || {
            format!("names {}/{} a second time; name it once", target.kind, target.name)
        })?;
    }
    if let Some(undo) = &spec.undo {
        ensure(is_name(&undo.name), "undo.name", || format!("'{}' is not the name of an OffsetReset", undo.name))?;
    }
    for (index, entry) in spec.resets.iter().enumerate() {
        check_entry(entry, &spec.group)
            .map_err(|(field, problem)| InvalidSpec::new(format!("resets[{index}].{field}"), problem))?;
    }
    if let Some(limits) = &spec.limits {
        for (field, limit) in [("limits.maxReplay", limits.max_replay), ("limits.maxSkip", limits.max_skip)] {
            ensure(limit.is_none_or(|limit| limit >= 0), field, || "must be 0 or more".into())?;
        }
    }
    let session = bounded("sessionTimeout", spec.session_timeout, DAY / 48)?;
    let drain = bounded("drainTimeout", spec.drain_timeout, DAY)?;
    let hold = bounded("holdTimeout", spec.hold_timeout, DAY)?;
    ensure(drain >= session, "drainTimeout", || {
        "must be at least sessionTimeout: the broker frees the group of a stopped consumer only then".into()
    })?;
    ensure(hold > drain, "holdTimeout", || {
        "must be longer than drainTimeout: it bounds the whole time at zero, the drain included".into()
    })
}

fn ensure(holds: bool, field: &str, problem: impl FnOnce() -> String) -> Result<(), InvalidSpec> {
    if holds { Ok(()) } else { Err(InvalidSpec::new(field, problem())) }
}

/// Properties whose values are times, in milliseconds.
const TIMES: [&str; 9] = [
    "broker.address.ttl",
    "request.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "retry.backoff.ms",
    "retry.backoff.max.ms",
    "connections.max.idle.ms",
    "api.version.request.timeout.ms",
];

fn check_kafka(kafka: &KafkaSpec) -> Result<(), (String, String)> {
    let wrong = |field: &str, problem: &str| Err((field.to_owned(), problem.to_owned()));
    match (&kafka.bootstrap_servers, &kafka.binding) {
        (None, None) | (Some(_), Some(_)) => return wrong("", "needs either bootstrapServers or binding"),
        (None, Some(_)) if kafka.tls.is_some() || kafka.authentication.is_some() => {
            return wrong(".binding", "is a whole connection; leave out tls and authentication");
        }
        (Some(brokers), None) if BootstrapServers::parse(brokers).is_none() => {
            let example = "host:port, several separated by commas without spaces, such as kafka-bootstrap.kafka:9092";
            return wrong(".bootstrapServers", &format!("'{brokers}' is not {example}"));
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    if let Some(authentication) = &kafka.authentication {
        if authentication.kind == AuthenticationType::Tls && kafka.tls.is_none() {
            return wrong(".authentication", "of type tls is shown in TLS; write tls too");
        }
        if !has_what_it_needs(authentication) {
            return wrong(".authentication", &format!("does not have what type {} needs, or has more", authentication.kind));
        }
    }
    if let Some(name) = secrets(kafka).into_iter().find(|name| !is_name(name)) {
        return wrong("", &format!("names a Secret '{name}', which is not the name of an object"));
    }
    let trusted = kafka.tls.iter().flat_map(|tls| &tls.trusted_certificates);
    let more = kafka.authentication.iter().filter_map(|own| own.tls_trusted_certificates.as_ref()).flatten();
    for source in trusted.chain(more) {
        let pattern = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*' | b'?');
        let sound = source.pattern.as_ref().is_none_or(|text| text.bytes().all(pattern));
        if source.certificate.is_some() == source.pattern.is_some() || !sound {
            return wrong(".tls.trustedCertificates", "needs either certificate or pattern in each entry");
        }
    }
    for (name, value) in &kafka.config {
        if !is_value(name, &value.0) {
            return wrong(&format!(".config[{name}]"), "is not on the list of properties, or has a value that it cannot have");
        }
    }
    Ok(())
}

/// The names of all Secrets.
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

/// The fields that belong to the type, all of them and no others.
fn has_what_it_needs(own: &AuthenticationSpec) -> bool {
    let certificate = own.certificate_and_key.is_some();
    let (user, password) = (own.username.is_some(), own.password_secret.is_some());
    let (endpoint, client, secret) = (own.token_endpoint_uri.as_ref(), own.client_id.is_some(), own.client_secret.is_some());
    let more = own.scope.is_some() || own.tls_trusted_certificates.is_some();
    match own.kind {
        AuthenticationType::Tls => certificate && !(user || password || endpoint.is_some() || client || secret || more),
        AuthenticationType::ScramSha256 | AuthenticationType::ScramSha512 | AuthenticationType::Plain => {
            user && password && !(certificate || endpoint.is_some() || client || secret || more)
        }
        AuthenticationType::OAuth => {
            let is_address = |text: &String| {
                let rest = text.strip_prefix("https://").unwrap_or_default();
                !rest.is_empty() && !rest.starts_with('/') && !rest.contains([' ', '@', '#', '?'])
            };
            endpoint.is_some_and(is_address) && client && secret && !(certificate || user || password)
        }
    }
}

/// Whether a property may be set, and to that.
fn is_value(name: &str, value: &str) -> bool {
    match name {
        "socket.keepalive.enable" | "socket.nagle.disable" => matches!(value, "true" | "false"),
        "broker.address.family" => matches!(value, "any" | "v4" | "v6"),
        "client.dns.lookup" => matches!(value, "use_all_dns_ips" | "resolve_canonical_bootstrap_servers_only"),
        "client.id" => {
            !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
        time if TIMES.contains(&time) => {
            let digits = (1..=6).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
            digits && (value == "0" || !value.starts_with('0'))
        }
        _ => false,
    }
}

/// The name of an object of Kubernetes, which becomes part of an address.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= 253 && name.bytes().all(inner) && outer(name.bytes().next()) && outer(name.bytes().last())
}

fn check_target(target: &TargetRef) -> Result<(), String> {
    let TargetRef { api_version, kind, resource, name, .. } = target;
    let (group, version) = api_version.split_once('/').unwrap_or(("v", api_version));
    let is_version = version.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit())
            && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    });
    if !is_version || !is_name(group) {
        return Err(format!("apiVersion '{api_version}' is not as in a manifest: group and version, such as apps/v1"));
    }
    if !kind.starts_with(|first: char| first.is_ascii_uppercase()) || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("kind '{kind}' is not as in a manifest, such as StatefulSet: not a plural, not a short name"));
    }
    if api_version == "apps/v1" && !matches!(kind.as_str(), "Deployment" | "StatefulSet" | "ReplicaSet") {
        return Err(format!("a {kind} of apps/v1 cannot be scaled; for a kind of another API group write its apiVersion too"));
    }
    if let Some(resource) = resource
        && !(is_name(resource) && !resource.contains('.') && resource.starts_with(|first: char| first.is_ascii_lowercase()))
    {
        return Err(format!("resource '{resource}' is not as kubectl api-resources shows it, such as proxies"));
    }
    if !is_name(name) {
        return Err(format!("name '{name}' is not the name of a workload"));
    }
    Ok(())
}

fn check_entry(entry: &ResetSpec, group: &str) -> Result<(), (&'static str, String)> {
    if let Some(topic) = &entry.topic {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=249).contains(&topic.len()) || !topic.bytes().all(legal) || topic == "." || topic == ".." {
            return Err(("topic", format!("'{topic}' is not the name of one topic; for several topics write topicPattern")));
        }
    }
    if entry.from_group.as_deref() == Some(group) {
        return Err((
            "fromGroup",
            "must name another group than spec.group; for the group's own offsets write position: Current".into(),
        ));
    }
    if entry.duration.is_some_and(|ago| ago.is_negative() || Duration::from(ago).is_zero()) {
        return Err(("duration", "must be how long ago, such as 90m or 36h".into()));
    }
    Ok(())
}

fn bounded(field: &str, value: kube::core::Duration, most: Duration) -> Result<Duration, InvalidSpec> {
    let length = Duration::from(value);
    ensure(!value.is_negative() && !length.is_zero() && length <= most, field, || {
        format!("must be a duration of up to {} minutes, such as 10s or 1m30s", most.as_secs() / 60)
    })?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::certificates(json!({"tls": {"trustedCertificates": [{"secretName": "NAME", "certificate": "c"}]}}))]
    #[case::certificate_and_key(
        json!({"tls": {}, "authentication": {"type": "tls", "certificateAndKey": {"secretName": "NAME", "certificate": "c", "key": "k"}}})
    )]
    #[case::password(json!({"authentication": {"type": "plain", "username": "u", "passwordSecret": {"secretName": "NAME", "password": "p"}}}))]
    #[case::client_secret(json!({"authentication": {
        "type": "oauth", "tokenEndpointUri": "https://a", "clientId": "c", "clientSecret": {"secretName": "NAME", "key": "k"},
    }}))]
    #[case::authorities_of_the_token_endpoint(json!({"authentication": {
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
