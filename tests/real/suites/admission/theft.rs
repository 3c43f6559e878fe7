//! A password that somebody may not read, and a broker of theirs that waits for it: the real definition, the real operator.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Secret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use real_tests::shop::Operator;

const PASSWORD: &str = "planted-payments-3d8a";

/// A broker that knows just enough to be told a password: which requests there are, and that SASL/PLAIN is one of its mechanisms.
struct Thief {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Thief {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let thief = Self { address: listener.local_addr().unwrap().to_string(), heard: Arc::default() };
        let heard = Arc::clone(&thief.heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(listen(stream, Arc::clone(&heard)));
            }
        });
        thief
    }

    fn has_heard_anything(&self) -> bool {
        !self.heard.lock().unwrap().is_empty()
    }

    async fn hears_the_password(&self) {
        let heard = async {
            loop {
                let found = self.heard.lock().unwrap().windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
                if found {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, heard).await.expect("the password arrives");
    }
}

async fn listen(mut stream: TcpStream, heard: Arc<Mutex<Vec<u8>>>) -> Option<()> {
    const API_VERSIONS: i16 = 18;
    const SASL_HANDSHAKE: i16 = 17;
    loop {
        let mut frame = vec![0; usize::try_from(stream.read_i32().await.ok()?).ok()?];
        stream.read_exact(&mut frame).await.ok()?;
        heard.lock().unwrap().extend(&frame);
        let (key, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
        let mut answer = frame[4..8].to_vec();
        match (key, version) {
            (API_VERSIONS, 0) => {
                answer.extend(0_i16.to_be_bytes());
                let known: [(i16, i16, i16); 4] = [(API_VERSIONS, 0, 0), (SASL_HANDSHAKE, 0, 1), (36, 0, 0), (3, 0, 1)];
                answer.extend(4_i32.to_be_bytes());
                answer.extend(known.iter().flat_map(|(key, least, most)| [*key, *least, *most]).flat_map(i16::to_be_bytes));
            }
            (API_VERSIONS, _) => {
                // UNSUPPORTED_VERSION, and version 0 would do.
                answer.extend(35_i16.to_be_bytes());
                answer.extend(1_i32.to_be_bytes());
                answer.extend([API_VERSIONS, 0, 0].into_iter().flat_map(i16::to_be_bytes));
            }
            (SASL_HANDSHAKE, _) => {
                answer.extend(0_i16.to_be_bytes());
                answer.extend(1_i32.to_be_bytes());
                answer.extend(5_i16.to_be_bytes());
                answer.extend(b"PLAIN");
            }
            _ => return None,
        }
        stream.write_i32(i32::try_from(answer.len()).unwrap()).await.ok()?;
        stream.write_all(&answer).await.ok()?;
    }
}

/// A Secret of somebody's.
async fn secret(admin: &Client, namespace: &str) {
    let secret = json!({"metadata": {"name": "payments-db"}, "stringData": {"password": PASSWORD}});
    let api = Api::<Secret>::namespaced(admin.clone(), namespace);
    api.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
}

fn theft(name: &str, thief: &Thief) -> Value {
    let password = json!({"secretName": "payments-db", "password": "password"});
    let authentication = json!({"type": "plain", "username": "payments", "passwordSecret": password});
    let kafka = json!({"bootstrapServers": thief.address, "authentication": authentication});
    reset(name, &json!({"targetRefs": [], "kafka": kafka, "suspend": false, "dryRun": true}))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_policy_a_password_leaves_for_the_broker_of_whoever_may_not_read_it() {
    unguarded(async |admin, namespace| {
        secret(admin, namespace).await;
        let (thief, operator) = (Thief::start().await, Operator::start(admin, namespace));
        let mallory = Person::new("mallory").await.may(admin, namespace, &[RESETS]).await;
        let read = Api::<Secret>::namespaced(mallory.client.clone(), namespace).get("payments-db").await;
        assert!(matches!(&read, Err(kube::Error::Api(why)) if why.code == 403), "{read:?}");
        create(&mallory.client, namespace, &theft("theft", &thief)).await.unwrap();
        thief.hears_the_password().await;
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_policy_a_password_leaves_only_for_whoever_may_read_it() {
    guarded(async |admin, namespace| {
        secret(admin, namespace).await;
        let (thief, operator) = (Thief::start().await, Operator::start(admin, namespace));
        let mallory = Person::new("mallory").await.may(admin, namespace, &[RESETS]).await;
        let answer = create(&mallory.client, namespace, &theft("theft", &thief)).await;
        refused(&answer, "secrets", "may not read Secret payments-db, with which this OffsetReset would connect");
        // Nor by an object that asks for nothing at first.
        let mut innocent = theft("innocent", &thief);
        innocent["spec"]["kafka"]["authentication"]["passwordSecret"]["secretName"] = json!("own");
        let mallory = mallory.may(admin, namespace, &["get secrets own"]).await;
        create(&mallory.client, namespace, &innocent).await.unwrap();
        let change = json!({"spec": theft("innocent", &thief)["spec"]});
        assert!(patch(&mallory.client, namespace, &innocent, &change).await.is_err());
        real_tests::wait_for_end(&resets(admin, namespace), "innocent").await;
        assert!(!thief.has_heard_anything(), "the operator came");

        let alice = Person::new("alice").await.may(admin, namespace, &[RESETS, "get secrets payments-db"]).await;
        create(&alice.client, namespace, &theft("own", &thief)).await.unwrap();
        thief.hears_the_password().await;
        operator.end().await;
    })
    .await;
}
