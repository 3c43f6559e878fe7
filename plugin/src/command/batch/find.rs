//! The workloads that a selector matches, and their consumer groups.

use std::collections::BTreeSet;

use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use offset_reset_operator::api::OffsetReset;

use super::names;
use crate::{
    cluster::{Cluster, GROUP, list_all},
    exit::{Failure, Outcome},
    manifest::{One, target_ref},
    print::errln,
    view::Line,
};

/// A workload that matches.
#[derive(Clone, Debug)]
pub struct Workload {
    resource: ApiResource,
    name: String,
    /// The group in its annotation, or in that of its pods' template.
    annotated: Option<String>,
}

impl Workload {
    fn read(resource: &ApiResource, object: &DynamicObject) -> Self {
        let own = object.annotations().get(GROUP).cloned();
        let of_pods = || {
            let annotations = object.data.pointer("/spec/template/metadata/annotations")?;
            annotations.get(GROUP)?.as_str().map(str::to_owned)
        };
        let annotated = own.or_else(of_pods).filter(|group| !group.trim().is_empty());
        Self { resource: resource.clone(), name: object.name_any(), annotated }
    }

    /// Whether it has no annotation.
    pub fn is_unnamed(&self) -> bool {
        self.annotated.is_none()
    }

    /// As messages name it.
    fn shown(&self) -> String {
        format!("{}/{}", self.resource.kind, self.name)
    }

    /// As kubectl takes it.
    fn argument(&self) -> String {
        let (plural, group) = (&self.resource.plural, &self.resource.group);
        if group == "apps" { format!("{plural}/{}", self.name) } else { format!("{plural}.{group}/{}", self.name) }
    }

    fn is_target_of(&self, reset: &OffsetReset) -> bool {
        let group = |api_version: &str| api_version.split_once('/').map_or(String::new(), |(group, _)| group.to_owned());
        reset.spec.target_refs.iter().any(|target| {
            target.kind == self.resource.kind && target.name == self.name && group(&target.api_version) == self.resource.group
        })
    }
}

/// A workload that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// As messages name it.
    pub workload: String,
    /// Why.
    pub why: String,
    /// A command to change that.
    pub todo: String,
}

impl Skipped {
    /// The lines about it.
    pub fn lines(&self) -> [Line; 2] {
        [Line::warning(format!("{} is skipped: {}.", self.workload, self.why)), Line::plain(format!("  {}", self.todo))]
    }
}

/// The workloads with these labels, of the kinds that the user may list.
pub async fn workloads(cluster: &Cluster, kinds: &[ApiResource], selector: &str) -> Outcome<Vec<Workload>> {
    let (mut found, mut refused) = (vec![], None);
    for kind in kinds {
        let doing = format!("list {} with labels {selector}", kind.plural);
        match of_kind(cluster, kind, selector).await {
            Ok(some) => found.extend(some),
            Err(error) => {
                let failure = Failure::request(&doing, &error);
                if !matches!(&error, kube::Error::Api(status) if status.code == 403) {
                    return Err(failure);
                }
                errln(&Line::warning(format!("you may not list {}: they are left out", kind.plural)));
                refused = Some(failure);
            }
        }
    }
    match refused {
        Some(failure) if found.is_empty() => Err(failure),
        _ => Ok(found),
    }
}

async fn of_kind(cluster: &Cluster, kind: &ApiResource, selector: &str) -> kube::Result<Vec<Workload>> {
    let api = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, kind);
    let found = list_all(&api, Some(selector)).await?;
    Ok(found.iter().map(|object| Workload::read(kind, object)).collect())
}

/// What the namespace's OffsetResets tell of groups.
#[derive(Clone, Copy, Default)]
pub struct Earlier<'a> {
    /// All of them.
    pub resets: &'a [OffsetReset],
    /// Kinds and names of workloads in whose pods members ran, and their groups.
    pub members: &'a [(String, String, String)],
}

/// PURE: an OffsetReset for each group, with all workloads of the group, because it is empty only once all of them are stopped.
pub fn grouped(batch: &str, workloads: &[Workload], earlier: Earlier<'_>) -> (Vec<One>, Vec<Skipped>) {
    let mut sorted: Vec<&Workload> = workloads.iter().collect();
    sorted.sort_by_key(|workload| (&workload.resource.kind, &workload.name));
    let (mut ones, mut skipped): (Vec<One>, Vec<Skipped>) = (vec![], vec![]);
    for workload in sorted {
        let group = match group(workload, earlier) {
            Ok(group) => group,
            Err(why) => {
                let todo = format!("To name its group:  kubectl annotate {} {GROUP}=GROUP", workload.argument());
                skipped.push(Skipped { workload: workload.shown(), why, todo });
                continue;
            }
        };
        let target = target_ref(&workload.resource, &workload.name);
        match ones.iter_mut().find(|one| one.group == group) {
            Some(one) => one.targets.push(target),
            None => {
                ones.push(One {
                    name: names::object(batch, &workload.resource.kind, &workload.name),
                    group,
                    targets: vec![target],
                });
            }
        }
    }
    (ones, skipped)
}

/// That of the annotation; else the only one that earlier resets tell.
fn group(workload: &Workload, earlier: Earlier<'_>) -> Result<String, String> {
    if let Some(group) = &workload.annotated {
        return Ok(group.trim().to_owned());
    }
    let targeted = earlier.resets.iter().filter(|reset| workload.is_target_of(reset)).map(|reset| reset.spec.group.as_str());
    let is_own = |(kind, name, _): &&(String, String, String)| *kind == workload.resource.kind && *name == workload.name;
    let joined = earlier.members.iter().filter(is_own).map(|(.., group)| group.as_str());
    let groups: BTreeSet<&str> = targeted.chain(joined).collect();
    match groups.iter().collect::<Vec<_>>().as_slice() {
        [group] => Ok((**group).to_owned()),
        [] => Err(format!("it has no annotation {GROUP}, and no OffsetReset tells its group")),
        several => {
            let names: Vec<&str> = several.iter().map(|group| **group).collect();
            Err(format!("it has no annotation {GROUP}, and OffsetResets tell several groups for it: {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
    use serde_json::{Value, json};

    use super::*;

    fn workload<K: kube::Resource<DynamicType = ()>>(name: &str, rest: &Value) -> Workload {
        let mut object = json!({"metadata": {"name": name}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object["metadata"]["name"] = json!(name);
        Workload::read(&ApiResource::erase::<K>(&()), &serde_json::from_value(object).unwrap())
    }

    fn annotated(name: &str, group: &str) -> Workload {
        workload::<Deployment>(name, &json!({"metadata": {"name": name, "annotations": {GROUP: group}}}))
    }

    fn reset(group: &str, kind: &str, name: &str) -> OffsetReset {
        serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r"},
            "spec": {"kafka": {}, "group": group, "targetRefs": [{"kind": kind, "name": name}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_group_comes_from_the_annotation_or_from_earlier_resets() {
        let of_pods = json!({"spec": {"template": {"metadata": {"annotations": {GROUP: "of-pods"}}}}});
        let all = [
            workload::<StatefulSet>("s", &json!({})),
            workload::<Deployment>("p", &of_pods),
            annotated("a", " Orders.v2 "),
            workload::<Deployment>("e", &json!({})),
            workload::<Deployment>("m", &json!({})),
        ];
        let member = |kind: &str, name: &str| (kind.to_owned(), name.to_owned(), "of-members".to_owned());
        let members = [member("Deployment", "m"), member("Deployment", "s")];
        let earlier = [reset("early", "Deployment", "e"), reset("early", "Deployment", "e"), reset("other", "Deployment", "s")];
        let (ones, skipped) = grouped("b", &all, Earlier { resets: &earlier, members: &members });
        let found: Vec<(&str, &Value)> = ones.iter().map(|one| (one.group.as_str(), &one.targets[0])).collect();
        assert_eq!(
            found,
            [
                ("Orders.v2", &json!({"name": "a"})),
                ("early", &json!({"name": "e"})),
                ("of-members", &json!({"name": "m"})),
                ("of-pods", &json!({"name": "p"})),
            ]
        );
        let text: Vec<String> = skipped.iter().flat_map(Skipped::lines).map(|line| line.text()).collect();
        assert_eq!(
            text,
            [
                "⚠ StatefulSet/s is skipped: it has no annotation offsetreset.dev/group, and no OffsetReset tells its group.",
                "  To name its group:  kubectl annotate statefulsets/s offsetreset.dev/group=GROUP",
            ]
        );
    }

    #[test]
    fn workloads_of_one_group_are_stopped_together_and_several_groups_are_no_group() {
        let set = workload::<StatefulSet>("z", &json!({"metadata": {"name": "z", "annotations": {GROUP: "g"}}}));
        let (ones, skipped) = grouped("b", &[annotated("y", "g"), set, annotated("x", "g")], Earlier::default());
        assert!(skipped.is_empty() && ones.len() == 1, "{ones:?}");
        assert_eq!(ones[0].targets, [json!({"name": "x"}), json!({"name": "y"}), json!({"kind": "StatefulSet", "name": "z"})]);
        assert!(ones[0].name.starts_with("b-x-"), "{ones:?}");

        let earlier = [reset("a", "Deployment", "w"), reset("b", "Deployment", "w")];
        let (ones, skipped) =
            grouped("b", &[workload::<Deployment>("w", &json!({}))], Earlier { resets: &earlier, members: &[] });
        assert!(ones.is_empty() && skipped[0].why.ends_with("tell several groups for it: a, b"), "{skipped:?}");
    }
}
