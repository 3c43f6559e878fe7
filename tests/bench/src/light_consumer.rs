//! A consumer that starts and stops in a fraction of a second, so that its own time does not hide the time between both. It sends
//! the benchmark a datagram for each record: the partition, or `LEFT` once it has left the group.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
};
use tokio::signal::unix::{SignalKind, signal};

/// Instead of a partition: this consumer has left its group.
const LEFT: i32 = -1;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    bootstrap_servers: String,
    #[arg(long)]
    group: String,
    #[arg(long)]
    topic: String,
    /// Where the benchmark listens.
    #[arg(long)]
    report: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // The first process of a container does not get signals without a handler, so the handler comes before all else.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    drop(guard);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let consuming = std::thread::spawn(move || consume(&arguments, &stopped));
    runtime.block_on(terminate.recv());
    stop.store(true, Ordering::Relaxed);
    consuming.join().expect("it does not panic")
}

fn consume(arguments: &Arguments, stop: &AtomicBool) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(&arguments.report)?;
    let tell = |what: i32| socket.send(&what.to_be_bytes());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &arguments.bootstrap_servers)
        .set("group.id", &arguments.group)
        .set("auto.offset.reset", "earliest")
        .set("auto.commit.interval.ms", "200")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .set("fetch.wait.max.ms", "10")
        .create()?;
    consumer.subscribe(&[&arguments.topic])?;
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(Duration::from_millis(10)) {
            Some(Ok(message)) => _ = tell(message.partition())?,
            Some(Err(error)) => eprintln!("{error}"),
            None => {}
        }
    }
    // Commits, leaves the group, and waits for the broker's answer.
    drop(consumer);
    tell(LEFT)?;
    Ok(())
}
