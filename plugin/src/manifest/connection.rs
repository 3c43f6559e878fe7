//! The operator's connection to Kafka: given, as another reset has it, or out of Strimzi's objects. Only names of Secrets are read.

use kube::{Api, api::DynamicObject, discovery};
use offset_reset_operator::api::OffsetReset;
use serde_json::{Value, json};

use crate::{
    cli::KafkaArgs,
    cluster::Cluster,
    exit::{Failure, Outcome},
};

const STRIMZI: &str = "kafka.strimzi.io";

/// `spec.kafka`.
pub(super) async fn kafka(cluster: &Cluster, args: &KafkaArgs, like: Option<&OffsetReset>) -> Outcome<Value> {
    if let Some(servers) = &args.bootstrap_server {
        return Ok(json!({"bootstrapServers": servers}));
    }
    if let Some(secret) = &args.binding {
        return Ok(json!({"binding": {"secretName": secret}}));
    }
    if let Some(like) = like {
        return serde_json::to_value(&like.spec.kafka).map_err(|error| Failure::new(error.to_string()));
    }
    let name = args.strimzi_user.as_deref().unwrap_or_default();
    let user = strimzi(cluster, "KafkaUser", name).await?;
    let of = user.metadata.labels.as_ref().and_then(|labels| labels.get("strimzi.io/cluster")).cloned();
    let of =
        of.ok_or_else(|| Failure::new(format!("KafkaUser {name} has no label strimzi.io/cluster: its cluster is unknown.")))?;
    let kafka = strimzi(cluster, "Kafka", &of).await?;
    connection(name, &user.data, &of, &kafka.data).map_err(|why| {
        Failure::new(why).advice("Connect with a service binding (--binding), or write spec.kafka into a manifest.")
    })
}

async fn strimzi(cluster: &Cluster, kind: &str, name: &str) -> Outcome<DynamicObject> {
    let failed = |error: &kube::Error| Failure::request(&format!("read Strimzi's {kind} {}/{name}", cluster.namespace), error);
    let group = discovery::group(&cluster.client, STRIMZI).await.map_err(|error| failed(&error))?;
    let (resource, _) =
        group.recommended_kind(kind).ok_or_else(|| Failure::new(format!("the cluster has no kind {kind} of Strimzi.")))?;
    let api = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    api.get(name).await.map_err(|error| failed(&error))
}

/// PURE: the listener that fits the user's authentication, the cluster's CA, and the user's Secret.
fn connection(name: &str, user: &Value, cluster: &str, kafka: &Value) -> Result<Value, String> {
    let kind = user.pointer("/spec/authentication/type").and_then(Value::as_str).unwrap_or_default();
    let secret = user.pointer("/status/secret").and_then(Value::as_str).unwrap_or(name);
    let authentication = match kind {
        "tls" => {
            json!({"type": "tls", "certificateAndKey": {"secretName": secret, "certificate": "user.crt", "key": "user.key"}})
        }
        "scram-sha-512" => {
            let username = user.pointer("/status/username").and_then(Value::as_str).unwrap_or(name);
            json!({"type": kind, "username": username, "passwordSecret": {"secretName": secret, "password": "password"}})
        }
        "" => return Err(format!("KafkaUser {name} has no spec.authentication.")),
        other => return Err(format!("KafkaUser {name} authenticates by {other}, which this option does not know.")),
    };
    let array = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut listeners = array(kafka.pointer("/spec/kafka/listeners"));
    listeners.retain(|listener| listener.pointer("/authentication/type").and_then(Value::as_str) == Some(kind));
    // Those inside the cluster first: the operator runs there.
    listeners.sort_by_key(|listener| (listener["type"] != "internal", listener["tls"] != json!(true)));
    let listener = listeners.first().ok_or_else(|| format!("Kafka {cluster} has no listener with authentication {kind}."))?;
    let addresses = array(kafka.pointer("/status/listeners"));
    let servers =
        addresses.iter().find(|status| status["name"] == listener["name"]).and_then(|status| status["bootstrapServers"].as_str());
    let servers =
        servers.ok_or_else(|| format!("the status of Kafka {cluster} has no address of its listener {}.", listener["name"]))?;
    let mut connection = json!({"bootstrapServers": servers, "authentication": authentication});
    if listener["tls"] == json!(true) {
        let ca = json!({"secretName": format!("{cluster}-cluster-ca-cert"), "certificate": "ca.crt"});
        connection["tls"] = json!({"trustedCertificates": [ca]});
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka() -> Value {
        json!({
            "spec": {"kafka": {"listeners": [
                {"name": "plain", "type": "internal", "tls": false},
                {"name": "outside", "type": "loadbalancer", "tls": true, "authentication": {"type": "tls"}},
                {"name": "tls", "type": "internal", "tls": true, "authentication": {"type": "tls"}},
                {"name": "scram", "type": "internal", "tls": false, "authentication": {"type": "scram-sha-512"}},
            ]}},
            "status": {"listeners": [
                {"name": "tls", "bootstrapServers": "c-kafka-bootstrap.shop.svc:9093"},
                {"name": "scram", "bootstrapServers": "c-kafka-bootstrap.shop.svc:9094"},
                {"name": "outside", "bootstrapServers": "kafka.example.com:9094"},
            ]},
        })
    }

    #[test]
    fn a_user_with_a_certificate_takes_the_tls_listener_inside() {
        let user = json!({"spec": {"authentication": {"type": "tls"}}, "status": {"secret": "orders"}});
        let expected = json!({
            "bootstrapServers": "c-kafka-bootstrap.shop.svc:9093",
            "tls": {"trustedCertificates": [{"secretName": "c-cluster-ca-cert", "certificate": "ca.crt"}]},
            "authentication": {"type": "tls", "certificateAndKey": {"secretName": "orders", "certificate": "user.crt", "key": "user.key"}},
        });
        assert_eq!(connection("orders", &user, "c", &kafka()), Ok(expected));
    }

    #[test]
    fn a_user_with_a_password_takes_its_secret() {
        let user = json!({"spec": {"authentication": {"type": "scram-sha-512"}}, "status": {"secret": "s", "username": "u"}});
        let found = connection("orders", &user, "c", &kafka()).unwrap();
        assert_eq!(found["bootstrapServers"], "c-kafka-bootstrap.shop.svc:9094");
        assert_eq!(found["authentication"]["passwordSecret"], json!({"secretName": "s", "password": "password"}));
        assert_eq!(found.get("tls"), None);
        let spec: offset_reset_operator::api::KafkaSpec = serde_json::from_value(found).unwrap();
        assert!(spec.authentication.is_some());
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let user = json!({"spec": {"authentication": {"type": "tls-external"}}});
        assert!(connection("u", &user, "c", &kafka()).unwrap_err().contains("authenticates by tls-external"));
        let user = json!({"spec": {"authentication": {"type": "tls"}}});
        let none = json!({"spec": {"kafka": {"listeners": []}}});
        assert!(connection("u", &user, "c", &none).unwrap_err().contains("has no listener with authentication tls"));
    }
}
