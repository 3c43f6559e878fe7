//! Requests of Kafka's protocol written by hand, for groups that librdkafka makes no client for.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

const FIND_COORDINATOR: i16 = 10;
const JOIN_GROUP: i16 = 11;
const OFFSET_COMMIT: i16 = 8;
const LEAVE_GROUP: i16 = 13;
const SYNC_GROUP: i16 = 14;
const MEMBER_ID_REQUIRED: i16 = 79;
const STREAMS_GROUP_HEARTBEAT: i16 = 88;

/// A connection to a group's coordinator.
pub struct Wire {
    stream: TcpStream,
    group: String,
}

impl Wire {
    /// Connects to the coordinator, which is created when the cluster has not had a group yet.
    pub fn to_coordinator(group: &str) -> Self {
        Self::connected(group, &|address| TcpStream::connect(address).unwrap())
    }

    /// The same from an address of this machine, which the broker then reports as the member's host.
    pub fn to_coordinator_from(address: &str, group: &str) -> Self {
        let own: Ipv4Addr = address.parse().unwrap();
        Self::connected(group, &|broker| {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((own, 0))).unwrap();
            let broker = std::net::ToSocketAddrs::to_socket_addrs(broker).unwrap().find(SocketAddr::is_ipv4).unwrap();
            let stream = tokio::runtime::Handle::current().block_on(socket.connect(broker)).unwrap().into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            stream
        })
    }

    fn connected(group: &str, connect: &dyn Fn(&str) -> TcpStream) -> Self {
        let begin = std::time::Instant::now();
        loop {
            let brokers = real_tests::brokers();
            let stream = connect(brokers.split(',').next().unwrap());
            let mut wire = Self { stream, group: group.to_owned() };
            let found = wire.ask(FIND_COORDINATOR, 0, &string(group));
            if i16_at(&found, 0) == 0 {
                // Error, node, host, port.
                let host_length = usize::try_from(i16_at(&found, 6)).unwrap();
                let host = std::str::from_utf8(&found[8..8 + host_length]).unwrap();
                let port = i32_at(&found, 8 + host_length);
                wire.stream = connect(&format!("{host}:{port}"));
                wire.stream.set_read_timeout(Some(real_tests::PATIENCE)).unwrap();
                return wire;
            }
            assert!(begin.elapsed() < real_tests::PATIENCE, "no coordinator for {group}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Sends a request, and waits for its answer.
    fn ask(&mut self, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
        self.send(api, version, body);
        self.receive()
    }

    fn send(&mut self, api: i16, version: i16, body: &[u8]) {
        // Api, version, correlation id 0, no client id.
        let header = [&api.to_be_bytes()[..], &version.to_be_bytes(), &0_i32.to_be_bytes(), &(-1_i16).to_be_bytes()].concat();
        let length = i32::try_from(header.len() + body.len()).unwrap();
        self.stream.write_all(&[&length.to_be_bytes()[..], &header, body].concat()).unwrap();
    }

    /// The next answer, without its correlation id.
    fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut answer).unwrap();
        answer.split_off(4)
    }

    /// Asks to join as a new member with a classic protocol type, without waiting for the answer: the broker gives it once all
    /// members have come together, which may take as long as 30 seconds when there are others.
    pub fn ask_to_join(&mut self, protocol_type: &str, protocol: &str) {
        let timeouts = [30_000_i32.to_be_bytes(), 30_000_i32.to_be_bytes()].concat();
        let protocols = [&1_i32.to_be_bytes()[..], &string(protocol), &0_i32.to_be_bytes()].concat();
        let body = [string(&self.group), timeouts, string(""), string(protocol_type), protocols].concat();
        self.send(JOIN_GROUP, 2, &body);
    }

    /// Asks for a member id without joining (KIP-394): from then on the group waits for that member to join with it.
    pub fn ask_for_a_member_id(&mut self, session: i32) -> String {
        let answer = self.ask(JOIN_GROUP, 4, &self.joining(session, "", "consumer", "range"));
        assert_eq!(i16_at(&answer, 4), MEMBER_ID_REQUIRED, "{answer:?}");
        // Throttle time, error, generation, empty names of protocol and leader, member.
        let length = usize::try_from(i16_at(&answer, 14)).unwrap();
        String::from_utf8(answer[16..16 + length].to_vec()).unwrap()
    }

    /// Asks to join with a member id, without waiting for the answer.
    pub fn ask_to_join_as(&mut self, member: &str, session: i32) {
        let body = self.joining(session, member, "consumer", "range");
        self.send(JOIN_GROUP, 4, &body);
    }

    /// Joins a group without other members in two steps (KIP-394): the member's id.
    pub fn join_in_two_steps(&mut self, session: i32) -> String {
        let member = self.ask_for_a_member_id(session);
        self.ask_to_join_as(&member, session);
        let joined = self.receive();
        assert_eq!(i16_at(&joined, 4), 0, "{joined:?}");
        member
    }

    fn joining(&self, session: i32, member: &str, protocol_type: &str, protocol: &str) -> Vec<u8> {
        let timeouts = [session.to_be_bytes(), 30_000_i32.to_be_bytes()].concat();
        let protocols = [&1_i32.to_be_bytes()[..], &string(protocol), &0_i32.to_be_bytes()].concat();
        [string(&self.group), timeouts, string(member), string(protocol_type), protocols].concat()
    }

    /// Joins a group without other members, and is its leader: the generation and the member's id.
    pub fn join(&mut self, protocol_type: &str, protocol: &str) -> (i32, String) {
        self.ask_to_join(protocol_type, protocol);
        let joined = self.receive();
        // Throttle time, error, generation, protocol, leader, member.
        assert_eq!(i16_at(&joined, 4), 0, "{joined:?}");
        let leader_at = 10 + 2 + protocol.len();
        let id_length = usize::try_from(i16_at(&joined, leader_at)).unwrap();
        (i32_at(&joined, 6), String::from_utf8(joined[leader_at + 2..leader_at + 2 + id_length].to_vec()).unwrap())
    }

    /// Gives the only member an empty assignment: the group is stable then.
    pub fn assign_nothing(&mut self, generation: i32, member: &str) {
        let assignments = [&1_i32.to_be_bytes()[..], &string(member), &0_i32.to_be_bytes()].concat();
        let body = [string(&self.group), generation.to_be_bytes().to_vec(), string(member), assignments].concat();
        let synced = self.ask(SYNC_GROUP, 0, &body);
        assert_eq!(i16_at(&synced, 0), 0, "{synced:?}");
    }

    /// Leaves the group.
    pub fn leave(&mut self, member: &str) {
        let left = self.ask(LEAVE_GROUP, 0, &[string(&self.group), string(member)].concat());
        assert_eq!(i16_at(&left, 0), 0, "{left:?}");
    }

    /// Commits as nobody in particular, what our own adapter refuses to send.
    pub fn commit(&mut self, topic: &str, partition: i32, offset: i64) {
        // Generation and member of nobody, the broker's own retention, one topic, one partition.
        let nobody = [&(-1_i32).to_be_bytes()[..], &string(""), &(-1_i64).to_be_bytes()].concat();
        let partition = [&1_i32.to_be_bytes()[..], &partition.to_be_bytes(), &offset.to_be_bytes(), &string("")].concat();
        let body = [string(&self.group), nobody, 1_i32.to_be_bytes().to_vec(), string(topic), partition].concat();
        let answer = self.ask(OFFSET_COMMIT, 2, &body);
        assert_eq!(i16_at(&answer, answer.len() - 2), 0, "{answer:?}");
    }

    /// Joins a group of Kafka Streams (KIP-1071) as a member that reads one topic, or leaves it with the epoch -1.
    pub fn streams_heartbeat(&mut self, member: &str, epoch: i32, topic: &str) {
        const NOTHING: u8 = 0;
        const EMPTY: u8 = 1;
        const ONE: u8 = 2;
        let ids = [&[0][..], &compact(&self.group), &compact(member), &epoch.to_be_bytes(), &0_i32.to_be_bytes()].concat();
        // No instance, no rack, the rebalance timeout, and a topology with one subtopology that reads the topic.
        let topology = if epoch < 0 {
            vec![0xff]
        } else {
            let sources = [&[ONE][..], &compact(topic)].concat();
            [&[1, 0, 0, 0, 0, ONE][..], &compact("0"), &sources, &[EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, 0, 0]].concat()
        };
        // No tasks yet, a process, no endpoint, no client tags, no offsets of tasks, no shutdown, no tagged fields.
        let tasks = [&[EMPTY, EMPTY, EMPTY][..], &compact("process"), &[0xff, EMPTY, NOTHING, NOTHING, 0, 0]].concat();
        let body = [&ids[..], &[NOTHING, NOTHING], &30_000_i32.to_be_bytes(), &topology, &tasks].concat();
        let answer = self.ask(STREAMS_GROUP_HEARTBEAT, 0, &body);
        // No tagged fields, throttle time, error.
        assert_eq!(i16_at(&answer, 5), 0, "{}", String::from_utf8_lossy(&answer));
    }
}

fn string(text: &str) -> Vec<u8> {
    [&i16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// A string of the flexible versions; short ones only.
fn compact(text: &str) -> Vec<u8> {
    assert!(text.len() < 127);
    [&[u8::try_from(text.len() + 1).unwrap()][..], text.as_bytes()].concat()
}

fn i16_at(answer: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(answer[at..at + 2].try_into().unwrap())
}

fn i32_at(answer: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(answer[at..at + 4].try_into().unwrap())
}
