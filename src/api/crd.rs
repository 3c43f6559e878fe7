//! The CRD, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::spec::OffsetReset;

/// A small manifest of an [`OffsetReset`], which `kubectl explain offsetreset` shows.
pub const EXAMPLE: &str = include_str!("example.yaml");

const DESCRIPTION: &str = "Resets the committed offsets of a Kafka consumer group, once: makes the plan while the consumers still \
run, scales the consumers to zero, waits until the broker reports the group empty, commits and verifies the offsets, and always \
restores the replicas. Like a Job, it runs once: of the spec only suspend and ttlSecondsAfterFinished can be \
changed, and dryRun from true to false. To cancel it, delete it: the replicas are restored first. With dryRun: true it only makes the plan.";

/// The fields of the spec that may be changed; the rule `DRY_RUN` limits how.
const MUTABLE: [&str; 3] = ["suspend", "dryRun", "ttlSecondsAfterFinished"];

/// What a user reads who changes another field.
const IMMUTABLE: &str = "the spec cannot be changed, except suspend, ttlSecondsAfterFinished, and dryRun from true to false. \
    Like a Job, an OffsetReset runs once. Create another OffsetReset under a new name";

/// The CustomResourceDefinition of [`OffsetReset`].
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = OffsetReset::crd();
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for root in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        change_all(root, &join_lines);
        if let Some(spec) = root.properties.as_mut().and_then(|properties| properties.get_mut("spec")) {
            make_immutable(spec);
            change_all(spec, &remove_defaults_of_items);
        }
        root.description = Some(format!("{DESCRIPTION}\n\nExample:\n\n{EXAMPLE}"));
        if let Some(status) = root.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
            // kstatus takes an object without a status for done. With this default a new object is
            // "in progress" for all tools that wait (Flux, Argo CD, Helm, kubectl), before the
            // operator has seen it.
            status.default = Some(JSON(json!({ "observedGeneration": -1 })));
            // Another version of the operator may know more values, and the API server must not refuse
            // the status of a reset that holds consumers.
            change_all(status, &|field| field.enum_ = None);
            // The operator writes all of it, so one owner for the whole is enough. With an owner for each field the object is a third
            // larger, and an update takes the API server a quarter more time.
            status.x_kubernetes_map_type = Some("atomic".to_owned());
        }
    }
    crd
}

/// A comparison of the spec with its old value, without the fields that may be changed. It is made of the schema's fields,
/// each with whether it is always present, so that a new field is immutable unless `MUTABLE` names it.
fn unchanged<'a>(fields: impl Iterator<Item = (&'a str, bool)>) -> String {
    let compared = fields.filter(|(field, _)| !MUTABLE.contains(field)).map(|(field, is_always_present)| {
        let same = format!("self.{field} == oldSelf.{field}");
        let present = format!("has(self.{field})");
        if is_always_present { same } else { format!("{present} == has(oldSelf.{field}) && (!{present} || {same})") }
    });
    compared.collect::<Vec<_>>().join(" && ")
}

/// Adds the rule that no field can be changed, except those that [`MUTABLE`] names.
fn make_immutable(spec: &mut JSONSchemaProps) {
    let required = spec.required.clone().unwrap_or_default();
    let properties = spec.properties.iter().flatten();
    let fields = properties.map(|(name, field)| (name.as_str(), field.default.is_some() || required.contains(name)));
    let rule = ValidationRule { rule: unchanged(fields), message: Some(IMMUTABLE.to_owned()), ..ValidationRule::default() };
    spec.x_kubernetes_validations.get_or_insert_default().insert(0, rule);
}

/// Changes a schema and all schemas inside of it.
fn change_all(schema: &mut JSONSchemaProps, change: &dyn Fn(&mut JSONSchemaProps)) {
    change(schema);
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(|field| change_all(field, change));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        change_all(items, change);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        change_all(values, change);
    }
}

/// Removes the defaults of fields in items of lists; the types have them. With server-side apply a list that the API server
/// adds fields to differs from the one that was applied, so Argo CD would show a difference for ever.
fn remove_defaults_of_items(schema: &mut JSONSchemaProps) {
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        change_all(items, &|field| field.default = None);
    }
}

/// Makes one line of each paragraph of a description, because `kubectl explain` wraps lines by
/// itself.
fn join_lines(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        let paragraphs = description.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *description = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
}

/// The CustomResourceDefinition as YAML, as committed in `crds/`.
///
/// # Errors
/// When the CRD cannot be serialized, which would be a defect of the types.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    let yaml = serde_saphyr::to_string(&crd())?;
    Ok(format!("# Generated by `offset-reset-operator crd` from src/api. Do not edit.\n{yaml}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        api::{LEASE_LABEL, MAX_ENTRIES, MAX_LISTED_PARTITIONS, MAX_TARGETS, MAX_WARNINGS, Reason, rules::CelRule},
        machine::request::Request,
    };

    /// Client-side `kubectl apply` stores the whole CRD in an annotation of at most 262,144 bytes;
    /// this leaves room to grow.
    const LARGEST: usize = 150_000;

    /// The plural, singular and short names and the categories of kinds that run beside this one.
    const NAMES_OF_OTHERS: [(&str, &str); 5] = [
        (
            "Strimzi",
            "strimzi kafkas kafka k kafkatopics kafkatopic kt kafkausers kafkauser ku kafkaconnects kafkaconnect kc \
             kafkaconnectors kafkaconnector kctr kafkamirrormakers kafkamirrormaker kmm kafkamirrormaker2s \
             kafkamirrormaker2 kmm2 kafkabridges kafkabridge kb kafkarebalances kafkarebalance kr kafkanodepools \
             kafkanodepool knp strimzipodsets strimzipodset sps kafkaaccesses kafkaaccess ka",
        ),
        (
            "KEDA",
            "keda scaledobjects scaledobject so scaledjobs scaledjob sj triggerauthentications triggerauthentication \
             ta triggerauth clustertriggerauthentications clustertriggerauthentication cta clustertriggerauth \
             cloudeventsources cloudeventsource clustercloudeventsources clustercloudeventsource httpscaledobjects \
             httpscaledobject httpso",
        ),
        (
            "Knative",
            "knative eventing sources channels sinks all messaging serving knative-internal kafkasources kafkasource kafkachannels \
             kafkachannel kc kafkasinks kafkasink brokers broker triggers trigger services service ksvc kservice \
             revisions revision rev routes route rt configurations configuration cfg config consumergroups \
             consumergroup consumers consumer subscriptions subscription sub sequences parallels pingsources \
             apiserversources sinkbindings containersources eventtypes podautoscalers kpa pa metrics ingresses king \
             serverlessservices sks images img domainmappings dm certificates kcert",
        ),
        (
            "Confluent",
            "confluent-platform confluent cp all kafkas kafka zookeepers zookeeper zk connects connect ksqldbs ksqldb ksql \
             schemaregistries schemaregistry sr controlcenters controlcenter c3 kafkarestproxies kafkarestproxy krp \
             kafkatopics kafkatopic topic topics kt kafkarestclasses kafkarestclass krc schemas schema connectors \
             connector clusterlinks clusterlink cl kafkarebalances kafkarebalance confluentrolebindings \
             confluentrolebinding crb schemaexporters schemaexporter schemaimporters kraftcontrollers \
             kraftcontroller kraft kraftmigrationjobs kmj gateways gateway flinkenvironments flinkapplications",
        ),
        (
            "Kubernetes",
            "pods po services svc deployments deploy statefulsets sts daemonsets ds replicasets rs jobs cronjobs cj \
             leases events ev configmaps cm secrets horizontalpodautoscalers hpa namespaces ns nodes no endpoints ep \
             customresourcedefinitions crd crds serviceaccounts sa limitranges limits resourcequotas quota \
             replicationcontrollers rc ingresses ing networkpolicies netpol poddisruptionbudgets pdb \
             persistentvolumeclaims pvc persistentvolumes pv storageclasses sc priorityclasses pc \
             certificatesigningrequests csr api-extensions all",
        ),
    ];

    fn schema() -> Value {
        serde_json::to_value(crd()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    /// Every part of a schema with its path, such as `.spec.resets[].topic`.
    fn parts(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
        found.push((path.to_owned(), schema.clone()));
        for (name, of) in schema["properties"].as_object().into_iter().flatten() {
            parts(of, &format!("{path}.{name}"), found);
        }
        for of in [schema.get("items"), schema.get("additionalProperties")].into_iter().flatten() {
            parts(of, &format!("{path}[]"), found);
        }
    }

    fn all_parts() -> Vec<(String, Value)> {
        let mut found = vec![];
        parts(&schema(), "", &mut found);
        found
    }

    #[test]
    fn every_field_has_a_description_that_says_something() {
        let mut poor = vec![];
        for (path, part) in all_parts() {
            // Those of a condition are Kubernetes' own, and kubectl shows no description of an item
            // of a list of strings or numbers.
            let is_scalar = part["type"] == "string" || part["type"] == "integer";
            if path.starts_with(".status.conditions[]") || (path.ends_with("[]") && is_scalar) {
                continue;
            }
            let description = part["description"].as_str().unwrap_or_default();
            let one_line = path.is_empty() || !description.replace("\n\n", " ").contains('\n');
            if description.len() < 20 || !description.contains(' ') || !description.ends_with(['.', '\n']) || !one_line {
                poor.push(format!("{path}: {description:?}"));
            }
        }
        assert!(poor.is_empty(), "{}", poor.join("\n"));
    }

    #[test]
    fn a_field_keeps_its_own_description_even_when_it_is_an_optional_enum() {
        let schema = schema();
        let (spec, status) = (&schema["properties"]["spec"], &schema["properties"]["status"]);
        for (field, beginning) in [
            (&spec["properties"]["resets"]["items"]["properties"]["position"], "Target: a position"),
            (&status["properties"]["phase"], "The phase of the reset. Pending"),
            (&status["properties"]["reason"], "Why the reset is in that phase"),
        ] {
            let description = field["description"].as_str().unwrap();
            assert!(description.starts_with(beginning) && field["nullable"] == true && field["type"] == "string", "{field}");
        }
    }

    /// A newer operator writes into a status what an older CRD does not know.
    #[test]
    fn the_enums_of_the_spec_are_closed_and_those_of_the_status_are_open() {
        let closed: Vec<String> =
            all_parts().into_iter().filter(|(_, part)| part["enum"].is_array()).map(|(path, _)| path).collect();
        assert!(closed.iter().all(|path| path.starts_with(".spec.")), "{closed:?}");
        for path in [".spec.resets[].position", ".spec.outOfRange", ".spec.isolationLevel", ".spec.remainingMembers"] {
            assert!(closed.iter().any(|found| found == path), "{path} is not in {closed:?}");
        }
    }

    #[test]
    fn every_message_of_a_rule_says_first_and_briefly_what_to_write() {
        let rules: Vec<Value> =
            all_parts().iter().filter_map(|(_, part)| part["x-kubernetes-validations"].as_array()).flatten().cloned().collect();
        assert!(rules.len() > 40, "only {} rules were found", rules.len());
        for rule in rules {
            let message = rule["message"].as_str().unwrap();
            let first = message.split_inclusive(". ").next().unwrap();
            assert!(first.len() <= 100, "{} characters: {first}", first.len());
            assert!(!message.ends_with('.') && !message.contains("  ") && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_rule_becomes_a_rule_of_the_crd_with_its_message() {
        let rule = kube::core::Rule::from(CelRule { expression: "self > 0", message: "write more" });
        let rule = serde_json::to_value(rule).unwrap();
        assert_eq!(rule, json!({"rule": "self > 0", "message": "write more"}));
    }

    #[test]
    fn every_field_of_the_spec_is_immutable_unless_it_is_named_as_mutable() {
        let schema = schema();
        let spec = &schema["properties"]["spec"];
        let rules: Vec<&str> = spec["x-kubernetes-validations"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| rule["message"] == IMMUTABLE)
            .map(|rule| rule["rule"].as_str().unwrap())
            .collect();
        let [rule] = rules[..] else { panic!("{rules:?}") };
        let fields: Vec<&String> = spec["properties"].as_object().unwrap().keys().collect();
        assert!(fields.len() > 15, "{fields:?}");
        for field in fields {
            let is_compared =
                rule.split(" && ").any(|part| part.trim_end_matches(')').ends_with(&format!("self.{field} == oldSelf.{field}")));
            assert_ne!(is_compared, MUTABLE.contains(&field.as_str()), "{field}: {rule}");
        }
        // A field that nobody has thought of.
        let rule = unchanged([("suspend", true), ("new", false), ("old", true)].into_iter());
        assert_eq!(
            rule,
            "has(self.new) == has(oldSelf.new) && (!has(self.new) || self.new == oldSelf.new) && self.old == oldSelf.old"
        );
    }

    #[test]
    fn no_item_of_a_list_of_the_spec_has_a_default() {
        let parts = all_parts();
        let with_default: Vec<&str> = parts
            .iter()
            .filter(|(path, part)| path.starts_with(".spec") && path.contains("[]") && part.get("default").is_some())
            .map(|(path, _)| path.as_str())
            .collect();
        assert!(with_default.is_empty(), "{with_default:?}");
        assert!(parts.iter().any(|(path, part)| path == ".spec.outOfRange" && part["default"] == "Clamp"), "others keep theirs");
    }

    #[test]
    fn the_crd_can_be_applied_by_every_client() {
        let yaml = crd_yaml().unwrap();
        let json = serde_json::to_string(&crd()).unwrap();
        assert!(yaml.len() < LARGEST && json.len() < LARGEST, "{} bytes as YAML, {} as JSON", yaml.len(), json.len());
        // The text of a reason belongs to docs/reasons.md and stands in no schema.
        for reason in Reason::ALL {
            assert!(!json.contains(&reason.paragraphs()[1]), "the CRD has the text of {reason}");
        }
    }

    #[test]
    fn the_example_is_a_valid_reset() {
        let reset: OffsetReset = serde_saphyr::from_str(EXAMPLE).unwrap();
        assert!(Request::parse(&reset).is_ok_and(|request| !request.dry_run));
        assert!(schema()["description"].as_str().unwrap().ends_with(EXAMPLE));
    }

    #[test]
    fn no_name_of_the_resource_hides_one_of_another_operator() {
        let names = serde_json::to_value(crd().spec.names).unwrap();
        let lists = ["shortNames", "categories"].into_iter().filter_map(|list| names[list].as_array()).flatten();
        let single = ["plural", "singular"].into_iter().map(|name| &names[name]);
        let ours: Vec<&str> = lists.chain(single).map(|name| name.as_str().unwrap()).collect();
        assert!(ours.contains(&"ofr") && ours.contains(&"offsetresets"), "{ours:?}");
        for (operator, theirs) in NAMES_OF_OTHERS {
            let taken: Vec<&str> = theirs.split_whitespace().filter(|name| ours.contains(name)).collect();
            assert!(taken.is_empty(), "{operator} has {taken:?} too");
        }
    }

    #[test]
    fn the_bounds_of_lists_are_those_of_the_schema() {
        let schema = schema();
        let properties = |of: &str, field: &str| schema["properties"][of]["properties"][field]["maxItems"].clone();
        assert_eq!(properties("spec", "resets"), MAX_ENTRIES);
        assert_eq!(properties("spec", "targetRefs"), MAX_TARGETS);
        assert_eq!(properties("status", "partitions"), MAX_LISTED_PARTITIONS);
        assert_eq!(properties("status", "warnings"), MAX_WARNINGS);
        assert!(LEASE_LABEL.starts_with(crate::api::GROUP));
    }
}
