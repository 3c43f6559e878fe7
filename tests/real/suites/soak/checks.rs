//! What is asked of the parts after each round, and held against what the resets say of themselves.

use std::{collections::HashMap, sync::Mutex};

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};
use offset_reset_operator::api::{FINALIZER, OffsetReset, OffsetResetStatus, Phase, Restored};

use super::{
    ledger::{self, Offsets, Told},
    world::{RECORDS, Workload, World, eventually, partitions},
};

/// A time that lies within two seconds of another may be before or after it.
const ABOUT: i64 = 2;

impl World {
    /// Waits until everything is over, and asks what has become of it. How each reset has ended.
    pub async fn settle_and_check(&mut self) -> Vec<String> {
        let mut outcomes = vec![];
        for (_, name) in &self.round {
            let over = async || match self.resets.get_opt(name).await {
                Ok(None) => Some(None),
                Ok(Some(reset)) => is_over(&reset).then_some(Some(reset)),
                Err(_) => None,
            };
            let reset =
                eventually(&format!("over: {name}"), over).await.unwrap_or_else(|why| panic!("{why}: {:#?}", self.last(name)));
            let outcome = reset.as_ref().and_then(|reset| reset.status.as_ref()).map_or_else(
                || "deleted".to_owned(),
                |status| format!("{:?}, {:?}", status.phase.unwrap(), status.reason.unwrap()),
            );
            self.log.say(format!("  {name}: {outcome}"));
            if let Some(reset) = reset {
                self.over.insert(name.clone(), reset);
            }
            outcomes.push(outcome);
        }
        self.delete_foreign_pods().await;
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let none = async || leases.list(&ListParams::default()).await.ok().filter(|found| found.items.is_empty()).map(drop);
        eventually("without a Lease", none).await.unwrap();
        for index in 0..self.workloads.len() {
            let checked = self.check(index).await;
            checked.unwrap_or_else(|why| panic!("{}: {why}", self.workloads[index].name));
        }
        self.what_is_over_is_inert().await;
        outcomes
    }

    async fn check(&mut self, index: usize) -> Result<(), String> {
        let told = self.told(index).await?;
        for reset in &told {
            ledger::is_true_to_itself(reset)?;
        }
        let found = self.committed(index).await?;
        let possible = ledger::possible(&self.workloads[index].offsets, &told)?;
        if !possible.contains(&found) {
            return Err(format!("the broker has {found:?}, and by what the resets say it is one of {possible:?}; {told:?}"));
        }
        let replicas = self.replicas(index).await?;
        self.replicas_are_true(index, replicas)?;
        self.is_back(index).await?;
        self.has_consumed_from(index, &found).await?;
        let original = self.workloads[index].replicas;
        self.workloads[index].offsets = found;
        if replicas != original {
            // For the next round.
            self.scale_by_hand(index, original).await;
            self.is_back(index).await?;
        }
        self.workloads[index].by_hand.clear();
        Ok(())
    }

    /// What the round's resets of a workload say of themselves, in the order in which they ended.
    async fn told(&self, index: usize) -> Result<Vec<Told>, String> {
        let mut told = vec![];
        for (_, name) in self.round.iter().filter(|(of, _)| *of == index) {
            let reset = self.last(name).ok_or_else(|| format!("{name} was never seen"))?;
            let marker = format!("offset-reset/{}/{name}/{}", self.namespace, reset.uid().unwrap());
            match self.resets.get_opt(name).await.map_err(|error| error.to_string())? {
                Some(reset) => {
                    let status = reset.status.unwrap();
                    let (phase, at) = (status.phase.unwrap(), status.completion_time.unwrap().0);
                    told.push(Told { name: name.clone(), at, phase, marker, partitions: status.partitions });
                }
                None => told.extend(self.told_by_receipt(name, marker, &reset).await?),
            }
        }
        told.sort_by_key(|told| told.at);
        Ok(told)
    }

    /// What is left of a reset that was deleted; nothing when it has committed nothing for sure.
    async fn told_by_receipt(&self, name: &str, marker: String, seen: &OffsetReset) -> Result<Option<Told>, String> {
        let config_maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let all = config_maps.list(&ListParams::default().labels("offsetreset.dev/receipt=receipt")).await;
        let all = all.map_err(|error| error.to_string())?.items;
        let line = |found: &ConfigMap, line: &str| found.data.as_ref().and_then(|data| data.get(line)).cloned();
        let Some(receipt) = all.iter().find(|found| line(found, "name").as_deref() == Some(name)) else { return Ok(None) };
        let (state, at) = (line(receipt, "state"), line(receipt, "endTime").and_then(|at| at.parse().ok()));
        let (Some(state), Some(at)) = (state, at) else { return Err(format!("the receipt of {name} does not say how it ended")) };
        let told = |phase, partitions| Told { name: name.to_owned(), at, phase, marker, partitions };
        match (state.as_str(), line(receipt, "partitions.json"), seen.status.clone()) {
            ("Cancelled" | "Failed", Some(plan), _) => {
                Ok(Some(told(Phase::Cancelled, serde_json::from_str(&plan).map_err(|error| error.to_string())?)))
            }
            ("Succeeded", _, Some(status)) => Ok(Some(told(Phase::Succeeded, status.partitions))),
            (state, ..) => Err(format!("the receipt of {name} says {state}, and has no plan")),
        }
    }

    async fn committed(&self, index: usize) -> Result<Offsets, String> {
        let Workload { group, topic, .. } = &self.workloads[index];
        let read = async || {
            let all = partitions(topic);
            let mut found = self.admin.committed(group, &all).await.ok()?;
            all.iter().map(|at| found.remove(at)?.ok()?).collect::<Option<Vec<_>>>()?.try_into().ok()
        };
        eventually("read from the broker", read).await
    }

    async fn replicas(&self, index: usize) -> Result<i32, String> {
        eventually("read", async || self.deployment(index).await?.spec?.replicas).await
    }

    /// It has its replicas back; or those that somebody has set, where the status says so or nobody came after them.
    fn replicas_are_true(&self, index: usize, found: i32) -> Result<(), String> {
        let workload = &self.workloads[index];
        let of_it = |(of, _): &&(usize, String)| *of == index;
        let mut held: Vec<_> = vec![];
        let mut some_are_gone = false;
        for (_, name) in self.round.iter().filter(of_it) {
            match self.over.get(name).and_then(|reset| reset.status.as_ref()) {
                None => some_are_gone = true,
                Some(status) => {
                    let end = status.hold.as_ref().and_then(|hold| hold.end_time.as_ref());
                    held.extend(end.map(|end| (end.0, status)));
                }
            }
        }
        held.sort_by_key(|(end, _)| *end);
        let last = held.last().map(|(end, status)| (*end, &status.targets[0]));
        let wrong =
            |expected: String| Err(format!("it has {found} replicas instead of {expected}; {:?}, {last:?}", workload.by_hand));
        let Some((when, by_hand)) = workload.by_hand.last().copied() else {
            let restored = |(_, status): &(Timestamp, &OffsetResetStatus)| {
                matches!(status.targets[0].restored, Some(Restored::Original | Restored::NotStopped))
            };
            return if found == workload.replicas && held.iter().all(restored) {
                Ok(())
            } else {
                wrong(workload.replicas.to_string())
            };
        };
        let anybodys = [workload.replicas].into_iter().chain(workload.by_hand.iter().map(|(_, count)| *count));
        let is_anybodys = anybodys.clone().any(|count| count == found);
        let Some((end, target)) = last.filter(|_| !some_are_gone) else {
            return if is_anybodys { Ok(()) } else { wrong(format!("one of {:?}", anybodys.collect::<Vec<_>>())) };
        };
        let at_about_the_same_time = when.duration_since(end).as_secs().abs() <= ABOUT;
        let expected = match target.restored {
            _ if at_about_the_same_time => return if is_anybodys { Ok(()) } else { wrong("anybody's".into()) },
            _ if when > end => by_hand,
            Some(Restored::Original) => target.original_replicas,
            Some(Restored::LeftAsScaledByOthers) => by_hand,
            other => return wrong(format!("what {other:?} says")),
        };
        if found == expected { Ok(()) } else { wrong(expected.to_string()) }
    }

    /// The pods that run have begun where the offsets stand, each partition: they never commit, so whoever gets it begins there.
    async fn has_consumed_from(&self, index: usize, offsets: &Offsets) -> Result<(), String> {
        let expected: HashMap<usize, i64> = offsets
            .iter()
            .enumerate()
            .filter(|(_, committed)| committed.offset < RECORDS)
            .map(|(partition, committed)| (partition, committed.offset))
            .collect();
        let last = Mutex::new(HashMap::new());
        let consumed = async || {
            let mut first: HashMap<usize, i64> = HashMap::new();
            let pods =
                self.pods().list(&ListParams::default().labels(&format!("app={}", self.workloads[index].name))).await.ok()?;
            for pod in pods {
                for line in self.pods().logs(&pod.name_any(), &LogParams::default()).await.ok()?.lines() {
                    let Some((partition, offset)) = partition_and_offset(line) else { continue };
                    let smallest = first.entry(partition).or_insert(offset);
                    *smallest = offset.min(*smallest);
                }
            }
            let is_so = first == expected;
            *last.lock().unwrap() = first;
            is_so.then_some(())
        };
        let found = eventually("consumed from where the offsets stand", consumed).await;
        found.map_err(|why| format!("{why}: {:?} instead of {expected:?}", last.lock().unwrap()))
    }

    /// What is over stays as it is, whatever happens around it.
    async fn what_is_over_is_inert(&self) {
        for (name, then) in &self.over {
            let now = eventually("read", async || self.resets.get(name).await.ok()).await.unwrap();
            let what = |reset: &OffsetReset| {
                let mut status = reset.status.clone().unwrap();
                // The next reset of its group may come before the consumers have consumed.
                status.partitions.iter_mut().for_each(|partition| partition.overwritten = None);
                (status.phase, status.message, status.completion_time, status.commits, status.last_action, status.partitions)
            };
            assert_eq!(what(&now), what(then), "{name} is over");
        }
    }
}

/// Over, and with nothing that keeps it.
fn is_over(reset: &OffsetReset) -> bool {
    reset.status.as_ref().is_some_and(|status| status.completion_time.is_some())
        && !reset.finalizers().iter().any(|name| name == FINALIZER)
}

/// As a console consumer prints it.
fn partition_and_offset(line: &str) -> Option<(usize, i64)> {
    let mut words = line.strip_prefix("Partition:")?.split('\t');
    let partition = words.next()?.parse().ok()?;
    Some((partition, words.next()?.strip_prefix("Offset:")?.parse().ok()?))
}

#[test]
fn what_a_console_consumer_prints_is_read() {
    assert_eq!(partition_and_offset("Partition:3\tOffset:47\t46"), Some((3, 47)));
    assert_eq!(partition_and_offset("[2026-11-25 08:00:00] WARN Partition:3"), None);
}
