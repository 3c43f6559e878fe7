//! Two versions of the operator take turns in the middle of a hold, each on the CRD of either.
//!
//! The other version is the operator's binary with one reason renamed: each of the two has a reason that the other one does not
//! know. In a control plane without other tests, because the CRD is the whole cluster's.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    discovery::ApiResource,
};
use offset_reset_operator::api::{OffsetReset, OffsetResetStatus, Phase};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    env::TestEnv,
    environment, install_crd,
    process::{Process, free_address, program},
    shop::{status, succeeded},
    unique, wait_for_end, wait_for_phase, with_namespace,
};
use regex::bytes::Regex;
use serde_json::{Value, json};

/// The reason of a reset that waits for its group, in this version and in the other one.
const WORD: &str = "WaitingForGroup";
const OTHER_WORD: &str = "WaitingForGhost";

/// The operator's binary with a word replaced; the file goes with this.
struct OtherBuild(PathBuf);

impl OtherBuild {
    fn new() -> Self {
        let binary = std::fs::read(program()).unwrap();
        // Of the same length, so that nothing in the binary moves.
        assert_eq!(WORD.len(), OTHER_WORD.len());
        let word = Regex::new(WORD).unwrap();
        assert!(word.is_match(&binary), "the operator has no reason {WORD}");
        let path = std::env::temp_dir().join(unique("other-operator"));
        std::fs::write(&path, word.replace_all(&binary, OTHER_WORD.as_bytes())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for OtherBuild {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The CRD of a version whose status lacks two fields, or has one more.
fn crd(lacks: bool) -> CustomResourceDefinition {
    let mut crd = serde_json::to_value(offset_reset_operator::api::crd()).unwrap();
    let version = &mut crd["spec"]["versions"][0];
    let fields = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"].as_object_mut().unwrap();
    if lacks {
        assert!(fields.remove("progress").is_some() && fields.remove("targetNames").is_some());
    } else {
        fields.insert("moon".into(), json!({"type": "string"}));
    }
    serde_json::from_value(crd).unwrap()
}

async fn install(client: &Client, crd: &CustomResourceDefinition) {
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    crds.patch(&crd.name_any(), &PatchParams::apply("tests").force(), &Patch::Apply(crd)).await.unwrap();
}

/// The status as it is stored, whatever this version knows of it.
async fn stored(raw: &Api<DynamicObject>, name: &str) -> Value {
    raw.get(name).await.unwrap().data["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_a_downgrade_in_the_middle_of_a_hold_end_well() {
    with_namespace(async |client, namespace| {
        let (own, other) = (PathBuf::from(program()), OtherBuild::new());
        let stand = TestEnv::open(client.clone(), namespace).await;
        let (topic, group) = (stand.topic().await, unique("versions"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        stand.deployment().await;
        // A member outside of the cluster keeps the reset waiting at zero.
        let kind = Kind { never_commits: true, ..Kind::default() };
        let member = Member::start(&group, std::slice::from_ref(&topic), &kind, 0, Consumed::default());
        stand.members(&group, 1).await;
        let raw: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &stand.namespace, &ApiResource::erase::<OffsetReset>(&()));
        let start = async |program: &Path| {
            let (kubeconfig, address) = (environment().kubeconfig, free_address().await);
            Process::start_program(program, kubeconfig.as_ref(), &address, &["--namespace", &stand.namespace])
        };

        let mut operator = start(&own).await;
        let spec = json!({"targetRefs": [{"name": "consumer"}], "drainTimeout": "10m", "holdTimeout": "20m"});
        stand.apply("held", &group, json!([{"topic": topic, "partition": 0, "offset": 30}]), spec).await;
        let first = wait_for_phase(&stand.api, "held", Phase::Draining).await;
        let what_counts = |status: &OffsetResetStatus| {
            let hold = status.hold.clone().unwrap();
            (hold.start_time, hold.deadline, status.targets[0].original_replicas, status.partitions.clone())
        };
        let held = what_counts(status(&first));
        // The other version and this one in turn, on a CRD that knows more than either, and on one that knows less.
        for (program, word, lacks) in
            [(&other.0, OTHER_WORD, false), (&own, WORD, false), (&other.0, OTHER_WORD, true), (&own, WORD, true)]
        {
            operator.signal("TERM").await;
            assert!(operator.ended().await.status.success());
            install(&client, &crd(lacks)).await;
            if !lacks {
                // What a newer version may have stored; the API server takes a moment until it serves a changed CRD.
                let moon = async || {
                    let patch = json!({"status": {"moon": "full"}});
                    raw.patch_status("held", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
                    stored(&raw, "held").await["moon"] == "full"
                };
                stand.until("with a field of a newer version", async |_| moon().await).await;
            }
            operator = start(program).await;
            stand.until(&format!("{word} in status.reason"), async |_| stored(&raw, "held").await["reason"] == word).await;
            let found = stand.api.get("held").await.unwrap();
            assert_eq!((status(&found).phase, what_counts(status(&found))), (Some(Phase::Draining), held.clone()), "{word}");
            assert_eq!((stand.replicas().await, stand.committed(&group, &topic).await[0]), (0, Some(50)));
        }
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        let done = wait_for_end(&stand.api, "held").await;
        succeeded(&done);
        assert_eq!((stand.replicas().await, stand.committed(&group, &topic).await[0]), (2, Some(30)));
        operator.signal("TERM").await;
        assert!(operator.ended().await.status.success());
        install_crd(&client).await;
    })
    .await;
}
