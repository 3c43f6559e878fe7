//! One broker of several that does not answer: what the others can answer is not held up.

use std::time::{Duration, Instant};

use offset_reset_operator::machine::facts::{Bounds, Group};
use tokio::net::TcpListener;

use super::{connect, group_until, to, topic, tp};
use crate::input::hostile::{Attack, Proxy};
use real_tests::{
    brokers,
    consumers::{Consumed, Kind, Member},
    process::free_address,
    unique,
};

/// Kafka's number for requests of metadata.
const METADATA: i16 = 3;

/// The coordinator lists every group that it has, and so knows which it has not.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_known_or_not_by_its_coordinator_while_another_broker_is_silent() {
    // The kernel accepts, and nothing ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let topic = topic("silent", 1).await;
    let proxy = Proxy::start(Attack::WithBroker(silent.local_addr().unwrap().port()), METADATA, &topic).await;
    let admin = connect(&proxy.address).await;
    let begin = Instant::now();
    assert_eq!(admin.describe_group(&unique("unknown")).await.unwrap(), Group::NotFound);
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());

    let group = unique("silent");
    assert_eq!(admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap()[&tp(&topic, 0)], Ok(()));
    let kind = Kind::default();
    let member = Member::start(&group, std::slice::from_ref(&topic), &kind, 0, Consumed::default());
    group_until(admin.as_ref(), &group, |group| super::is_stable(group, 1)).await;
    tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_servers_of_which_some_are_silent_or_gone_are_enough_when_one_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silence, nothing) = (silent.local_addr().unwrap(), free_address().await);
    let topic = topic("silent", 1).await;
    for servers in [
        format!("{silence},{}", brokers()),
        format!("{nothing},{}", brokers()),
        format!("{silence},{nothing},no-such-host.invalid:9092,{}", brokers()),
    ] {
        let admin = connect(&servers).await;
        let begin = Instant::now();
        let bounds = admin.bounds(&[tp(&topic, 0)]).await.unwrap();
        assert_eq!(bounds[&tp(&topic, 0)], Ok(Bounds { start: 0, end: 0 }), "{servers}");
        assert_eq!(admin.describe_group(&unique("unknown")).await.unwrap(), Group::NotFound, "{servers}");
        // On the operator's own connection, which begins with a bootstrap server too.
        assert_eq!(admin.remove_members(&unique("unknown"), &[]).await.map_err(|error| error.kind).err(), None, "{servers}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{servers}: {:?}", begin.elapsed());
    }
    drop(silent);
}
