//! `list`: the resets of a namespace or of all.

use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use offset_reset_operator::api::{OffsetReset, Phase};

use crate::{
    cli::{Format, ListArgs},
    cluster::{Cluster, list_all, selector_of},
    exit::{Exit, Failure, Outcome, has_ended},
    print::{columns, object, outln, raw},
    view::{
        Line, Table, sums,
        words::{clock, span},
    },
};

/// Lists resets, also those that another version has written and this one cannot read.
pub async fn list(cluster: &Cluster, args: &ListArgs) -> Outcome {
    let labels = args.batch.as_deref().map(selector_of);
    let all = labelled(cluster, args.all_namespaces, labels.as_deref()).await?;
    let kept: Vec<&(DynamicObject, Option<OffsetReset>)> =
        all.iter().filter(|(_, reset)| !args.active || reset.as_ref().is_none_or(|reset| !has_ended(reset))).collect();
    if let Some(format) = args.output {
        let items: Vec<&DynamicObject> = kept.iter().map(|(object, _)| object).collect();
        return print_items(&items, format);
    }
    if kept.is_empty() {
        if !args.all_namespaces {
            namespace_exists(cluster).await?;
        }
        let what = if args.active { "no OffsetReset under way" } else { "no OffsetReset" };
        let place = if args.all_namespaces { "in the cluster".to_owned() } else { format!("in namespace {}", cluster.namespace) };
        let of = args.batch.as_ref().map(|batch| format!(" of batch {batch}")).unwrap_or_default();
        outln(&Line::plain(format!("There is {what}{of} {place}.")));
        return Ok(Exit::Done);
    }
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let mut table = Table::new(&["NAMESPACE", "NAME", "GROUP", "PHASE", "PROGRESS", "UNTIL", "AGE", "REASON", "MESSAGE"]);
    for (object, reset) in &kept {
        let age = object.metadata.creation_timestamp.as_ref().map(|at| span(now.duration_since(at.0))).unwrap_or_default();
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let Some(reset) = reset else {
            let words = "another version has written it; this plugin cannot read it".to_owned();
            let none = String::new;
            table.row([namespace, name, none(), "?".to_owned(), none(), none(), age, none(), words]);
            continue;
        };
        let status = reset.status.clone().unwrap_or_default();
        let phase = status.phase.map_or("New", Phase::as_str);
        table.row([
            namespace,
            name,
            reset.spec.group.clone(),
            if reset.spec.suspend && !has_ended(reset) { format!("{phase} (suspended)") } else { phase.to_owned() },
            status.progress.unwrap_or_default(),
            status.held_until.map(|at| clock(at.0, now, &zone)).unwrap_or_default(),
            age,
            status.reason.map(|reason| reason.to_string()).unwrap_or_default(),
            status.message.unwrap_or_default(),
        ]);
    }
    let columns = columns();
    table.lines().iter().for_each(|line| outln(&columns.map_or(line.clone(), |columns| line.fit(columns))));
    if args.batch.is_some() {
        let resets: Vec<&OffsetReset> = kept.iter().filter_map(|(_, reset)| reset.as_ref()).collect();
        outln(&sums(&resets));
    }
    Ok(Exit::Done)
}

/// A list is empty too when its namespace does not exist. A user without the right to get the namespace sees the empty list.
pub(super) async fn namespace_exists(cluster: &Cluster) -> Outcome<()> {
    let found = Api::<Namespace>::all(cluster.client.clone()).get_metadata_opt(&cluster.namespace).await;
    if matches!(found, Ok(None)) {
        return Err(Failure::new(format!("namespace {} does not exist in context {}.", cluster.namespace, cluster.context))
            .advice("To list the namespaces: kubectl get namespaces. To look in all of them: -A"));
    }
    Ok(())
}

fn print_items(items: &[&DynamicObject], format: Format) -> Outcome {
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    match format {
        Format::Json => raw(&serde_json::to_string_pretty(&list).unwrap_or_default()),
        Format::Yaml => object(&list, format)?,
    }
    Ok(Exit::Done)
}

/// All resets, each as it is and, where it can be, as it is read; the oldest first.
pub async fn listed(cluster: &Cluster, all_namespaces: bool) -> Outcome<Vec<(DynamicObject, Option<OffsetReset>)>> {
    labelled(cluster, all_namespaces, None).await
}

/// The same for those with some labels.
pub async fn labelled(
    cluster: &Cluster,
    all_namespaces: bool,
    labels: Option<&str>,
) -> Outcome<Vec<(DynamicObject, Option<OffsetReset>)>> {
    let resource = ApiResource::erase::<OffsetReset>(&());
    let api: Api<DynamicObject> = if all_namespaces {
        Api::all_with(cluster.client.clone(), &resource)
    } else {
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
    };
    let found = list_all(&api, labels).await.map_err(|error| Failure::request("list OffsetResets", &error))?;
    let read = |object: DynamicObject| {
        let read = serde_json::to_value(&object).ok().and_then(|value| serde_json::from_value(value).ok());
        (object, read)
    };
    let mut found: Vec<_> = found.into_iter().map(read).collect();
    found.sort_by_key(|(object, _)| (object.metadata.creation_timestamp.as_ref().map(|at| at.0), object.name_any()));
    Ok(found)
}
