//! A proxy that holds everything back for a while each way. The broker tells its clients to connect to it, so that they never meet
//! the broker itself.

use std::time::Duration;

use anyhow::Result;
use sandbox::KAFKA;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

pub struct Distance {
    task: JoinHandle<()>,
    /// The address for clients.
    pub bootstrap_servers: String,
}

impl Distance {
    pub async fn start(each_way: Duration) -> Result<Self> {
        let bootstrap_servers = KAFKA.distant();
        let listener = TcpListener::bind(&bootstrap_servers).await?;
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, each_way));
            }
        });
        Ok(Self { task, bootstrap_servers })
    }
}

impl Drop for Distance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(client: TcpStream, delay: Duration) {
    // A connection takes a round trip as well.
    tokio::time::sleep(delay * 2).await;
    let Ok(broker) = TcpStream::connect(KAFKA.behind_distant()).await else { return };
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    tokio::join!(pass(from_client, to_broker, delay), pass(from_broker, to_client, delay));
}

/// Passes all bytes on after a delay: as a long line does, without keeping the next ones from being sent meanwhile.
async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, delay: Duration) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((at, bytes)) = receiver.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}
