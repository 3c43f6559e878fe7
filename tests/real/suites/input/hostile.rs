//! Brokers that answer nonsense: a proxy between an operator of its own process and the real broker spoils some of the answers. The process lives,
//! nothing is committed that nobody asked for, and the status says no more than what is so. Some bytes at random end a Kafka client's process: inside of
//! librdkafka 2.12.1, which asserts that a group is described by its own name (`rd_kafka_DescribeConsumerGroups_response_merge`), and now and then
//! loses its memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use kube::api::{DeleteParams, PostParams};
use offset_reset_operator::{
    api::{OffsetResetStatus, Phase},
    kafka::{Connection, Connector, Pool},
    machine::facts::{Committed, TopicPartition},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use real_tests::{
    PATIENCE, brokers, generators::random::Random, process::Process, produce, reset, resets, topic, unique, wait_for_end,
    with_namespace, within,
};

/// How many records each partition has: a number that stands nowhere else in an answer by chance.
const END: i64 = 777;

/// Where the group is before, and where it is sent to.
const BEFORE: i64 = 500;
const TO: i64 = 300;

/// Which answers are spoiled, by the number of the request in Kafka's protocol, and how: those about offsets in every way.
const SPOILED: [(&str, i16, &[Attack]); 7] = [
    ("list-offsets", 2, &Attack::ALL),
    ("offset-fetch", 9, &Attack::ALL),
    ("offset-commit", 8, &Attack::ALL),
    ("metadata", 3, &Attack::OF_ANY),
    ("find-coordinator", 10, &Attack::OF_ANY),
    ("describe-groups", 15, &Attack::OF_ANY),
    ("api-versions", 18, &Attack::OF_ANY),
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attack {
    /// Ends in its middle, and says that it is whole.
    Truncated,
    /// Says that two gigabytes follow.
    Huge,
    /// Says that less than nothing follows.
    NegativeLength,
    /// A list with as many entries as a number can say.
    EndlessList,
    /// Random bytes.
    Garbage,
    /// Some bits are others.
    Flipped,
    /// Byte by byte.
    Slow,
    /// The end of the log, and what is committed, are negative.
    Negative,
    /// The same, as small as a number can be.
    Smallest,
    /// About a partition that nobody has asked for.
    WrongPartition,
    /// About one partition twice, and about the other not at all.
    Twice,
    /// The first one never comes, though what was asked is done.
    Withheld,
    /// Names one more broker, at this port of the local machine.
    WithBroker(u16),
}

impl Attack {
    const ALL: [Self; 11] = [
        Self::Truncated,
        Self::Huge,
        Self::NegativeLength,
        Self::EndlessList,
        Self::Garbage,
        Self::Flipped,
        Self::Slow,
        Self::Negative,
        Self::Smallest,
        Self::WrongPartition,
        Self::Twice,
    ];

    /// What spoils an answer about anything.
    const OF_ANY: [Self; 5] = [Self::Truncated, Self::EndlessList, Self::Garbage, Self::Flipped, Self::Slow];

    /// Spoils an answer: its length, its correlation id, and what follows.
    fn spoil(self, answer: &mut Vec<u8>, topic: &str, random: &mut Random) {
        const CONTENT: usize = 8;
        match self {
            Self::Truncated => {
                answer.truncate(CONTENT + (answer.len() - CONTENT) / 2);
                let length = u32::try_from(answer.len() - 4).unwrap();
                answer[..4].copy_from_slice(&length.to_be_bytes());
            }
            Self::Huge => answer[..4].copy_from_slice(&i32::MAX.to_be_bytes()),
            Self::NegativeLength => answer[..4].copy_from_slice(&(-2_i32).to_be_bytes()),
            Self::EndlessList => {
                let upto = answer.len().min(CONTENT + 14);
                answer[CONTENT..upto].fill(0x7f);
            }
            Self::Garbage => answer[CONTENT..].fill_with(|| random.bits().to_be_bytes()[0]),
            Self::Flipped => {
                for _ in 0..=answer.len() / 16 {
                    let at = usize::try_from(random.within(8..=i64::try_from(answer.len()).unwrap() - 1)).unwrap();
                    answer[at] ^= random.bits().to_be_bytes()[0];
                }
            }
            Self::Slow | Self::Withheld => {}
            // In the flexible versions of Metadata: no tagged fields, throttle time, and the number of brokers, plus one.
            Self::WithBroker(port) => {
                const BROKERS: usize = CONTENT + 5;
                assert!(answer[CONTENT] == 0 && answer[BROKERS] < 0x7f, "{answer:?}");
                answer[BROKERS] += 1;
                let host = b"127.0.0.1";
                // Id, host, port, no rack, no tagged fields.
                let broker = [&99_i32.to_be_bytes()[..], &[10], host, &i32::from(port).to_be_bytes(), &[0, 0]].concat();
                let after = BROKERS + 1;
                answer.splice(after..after, broker);
                let length = u32::try_from(answer.len() - 4).unwrap();
                answer[..4].copy_from_slice(&length.to_be_bytes());
            }
            Self::Negative | Self::Smallest => {
                let wrong = if self == Self::Negative { -5 } else { i64::MIN };
                for right in [END, BEFORE, TO] {
                    replace(answer, &right.to_be_bytes(), &wrong.to_be_bytes());
                }
            }
            Self::WrongPartition | Self::Twice => {
                let wrong: i32 = if self == Self::Twice { 0 } else { 7 };
                let Some(begin) = find(answer, topic.as_bytes()) else { return };
                // The second partition, without an error.
                if let Some(at) = find(&answer[begin..], &[0, 0, 0, 1]) {
                    answer[begin + at..begin + at + 4].copy_from_slice(&wrong.to_be_bytes());
                }
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn replace(bytes: &mut [u8], wanted: &[u8], with: &[u8]) {
    while let Some(at) = find(bytes, wanted) {
        bytes[at..at + with.len()].copy_from_slice(with);
    }
}

/// A way to the broker that spoils answers.
pub struct Proxy {
    pub address: String,
    pub spoiled: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn start(attack: Attack, api: i16, topic: &str) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let (address, spoiled) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let broker = brokers().split(',').next().unwrap().to_owned();
        let (counter, topic) = (Arc::clone(&spoiled), topic.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connection =
                    Connected { attack, api, topic: topic.clone(), port: address.port(), spoiled: Arc::clone(&counter) };
                tokio::spawn(connection.serve(client, broker.clone()));
            }
        });
        let host = brokers().split(':').next().unwrap().to_owned();
        Self { address: format!("{host}:{}", address.port()), spoiled }
    }
}

struct Connected {
    attack: Attack,
    api: i16,
    topic: String,
    port: u16,
    spoiled: Arc<AtomicUsize>,
}

impl Connected {
    /// Until one of both goes.
    async fn serve(self, mut client: TcpStream, broker: String) -> std::io::Result<()> {
        let (host, port) = broker.split_once(':').unwrap();
        let port: i32 = port.parse().unwrap();
        let (real, own) =
            ([host.as_bytes(), &port.to_be_bytes()].concat(), [host.as_bytes(), &i32::from(self.port).to_be_bytes()].concat());
        let mut upstream = TcpStream::connect(&broker).await?;
        let mut random = Random(u64::from(self.port));
        let (mut from_client, mut to_client) = client.split();
        let (mut from_broker, mut to_broker) = upstream.split();
        // The broker answers in the order in which it was asked.
        let (asked, mut answered) = tokio::sync::mpsc::unbounded_channel();
        let requests = async {
            loop {
                let request = frame(&mut from_client).await?;
                let _ = asked.send(i16::from_be_bytes([request[4], request[5]]));
                to_broker.write_all(&request).await?;
            }
        };
        let answers = async {
            loop {
                let mut answer = frame(&mut from_broker).await?;
                let api = answered.recv().await;
                // So that the broker is only ever asked through here.
                replace(&mut answer, &real, &own);
                if api != Some(self.api) {
                    to_client.write_all(&answer).await?;
                    continue;
                }
                let is_first = self.spoiled.fetch_add(1, Ordering::SeqCst) == 0;
                if self.attack == Attack::Withheld && is_first {
                    continue;
                }
                self.attack.spoil(&mut answer, &self.topic, &mut random);
                if self.attack != Attack::Slow {
                    to_client.write_all(&answer).await?;
                    continue;
                }
                for byte in answer {
                    to_client.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        tokio::select! {
            ended = requests => ended,
            ended = answers => ended,
        }
    }
}

/// A message with its length.
async fn frame(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + usize::try_from(length).unwrap(), 0);
    stream.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

struct Case {
    name: String,
    proxy: Proxy,
}

/// It is over, or it has said why it waits, after its broker was heard.
fn has_come_to_something(status: &OffsetResetStatus) -> bool {
    status.completion_time.is_some() || status.message.as_deref().is_some_and(|message| !message.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_broker_answers_the_operator_lives_and_commits_nothing_that_nobody_asked_for() {
    with_namespace(async |client, namespace| {
        let topic = topic("hostile", 2).await;
        let at = [TopicPartition::new(&topic, 0), TopicPartition::new(&topic, 1)];
        for at in &at {
            produce(&topic, at.partition, &vec![1_571_812_144_000; usize::try_from(END).unwrap()]).await;
        }
        let admin = Pool::default().connect(&Connection::plain(brokers())).await.unwrap();
        let api = resets(&client, &namespace);
        let before = Committed { offset: BEFORE, metadata: "".into() };
        let before = at.clone().map(|at| (at, before.clone()));
        let operator = Process::start(&["--namespace", &namespace, "--log", "warn", "--concurrency", "100"]).await;
        operator.until_leads().await;

        let mut cases = vec![];
        for (kind, number, attacks) in SPOILED {
            for attack in attacks.iter().copied() {
                let name = format!("{kind}-{attack:?}").to_lowercase();
                cases.push(Case { name, proxy: Proxy::start(attack, number, &topic).await });
            }
        }
        let apply = async |case: &Case| {
            let answers = admin.commit(&case.name, &before).await.unwrap();
            assert!(answers.values().all(Result::is_ok), "{answers:?}");
            let entries = json!([
                {"topic": topic, "partition": 0, "offset": TO}, {"topic": topic, "partition": 1, "position": "Latest"},
            ]);
            let spec = json!({
                "targetRefs": [], "kafka": {"bootstrapServers": case.proxy.address}, "sessionTimeout": "1s", "drainTimeout": "30s", "holdTimeout": "40s",
            });
            api.create(&PostParams::default(), &reset(&case.name, &case.name, &entries, &spec)).await.unwrap();
        };
        join_all(cases.iter().map(apply)).await;

        let come_to_something = async |case: &Case| loop {
            let status = api.get(&case.name).await.unwrap().status.unwrap_or_default();
            let spoiled = case.proxy.spoiled.load(Ordering::SeqCst) > 0;
            if has_come_to_something(&status) && (spoiled || status.completion_time.is_some()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        let waits = cases.iter().map(|case| async { (&case.name, within(PATIENCE, come_to_something(case)).await.is_some()) });
        let found = join_all(waits).await;
        let silent: Vec<_> = found.iter().filter(|(_, said)| !said).map(|(name, _)| name).collect();
        // In the middle of all that, one with an honest broker is served, by the same process.
        let honest = unique("honest");
        assert!(admin.commit(&honest, &before).await.unwrap().values().all(Result::is_ok));
        let entries = json!([{"topic": topic, "offset": TO}]);
        api.create(&PostParams::default(), &reset(&honest, &honest, &entries, &json!({"targetRefs": []}))).await.unwrap();
        let done = wait_for_end(&api, &honest).await.status.unwrap();
        assert_eq!(done.phase, Some(Phase::Succeeded), "{:?}", done.message);
        assert!(operator.ask("/livez").await.unwrap().starts_with("HTTP/1.1 200"));

        let mut heard = 0;
        for case in &cases {
            let status = api.get(&case.name).await.unwrap().status.unwrap_or_default();
            let committed = admin.committed(&case.name, &at).await.unwrap();
            let committed = at.clone().map(|at| committed[&at].as_ref().unwrap().as_ref().map(|committed| committed.offset));
            let spoiled = case.proxy.spoiled.load(Ordering::SeqCst);
            heard += usize::from(spoiled > 0);
            let (phase, message) = (status.phase, status.explanation());
            println!("{} ({spoiled} answers): {committed:?} {phase:?} {:?}: {message:.160}", case.name, status.reason);
            let asked_for = [[BEFORE, TO], [BEFORE, END]];
            for (committed, asked_for) in committed.iter().zip(asked_for) {
                assert!(asked_for.map(Some).contains(committed), "{}: {committed:?} is committed", case.name);
            }
            if phase == Some(Phase::Succeeded) {
                assert_eq!(committed, [Some(TO), Some(END)], "{}: it says that it has succeeded", case.name);
            }
            if message.to_lowercase().contains("no offset was changed") {
                assert_eq!(committed, [Some(BEFORE); 2], "{}: it says that no offset was changed: {message}", case.name);
            }
        }
        println!("{} cases, {heard} have heard a spoiled answer, {silent:?} have said nothing", cases.len());
        assert!(heard * 10 >= cases.len() * 8, "only {heard} of {} have heard a spoiled answer", cases.len());
        for case in &cases {
            api.delete(&case.name, &DeleteParams::default()).await.unwrap();
        }
        operator.signal("TERM").await;
        let output = operator.ended().await;
        let words = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        println!("{} Kafka clients have ended over it", words.matches("a Kafka client's process exited").count());
        assert!(output.status.success() && !words.contains("panicked"), "{:?}: {words}", output.status);
    })
    .await;
}
