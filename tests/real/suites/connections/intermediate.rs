//! A trusted certificate that is an intermediate CA's, as cert-manager writes it.

use offset_reset_operator::kafka::{Connection, Connector, Tls};
use rcgen::SanType;
use real_tests::{brokers, process::clients};
use tokio::net::{TcpListener, TcpStream};

use super::stand::{Authority, VALID, acceptor};

/// TLS in front of the broker, with a certificate of the intermediate CA, which goes along with it.
async fn terminator(intermediate: &Authority) -> String {
    let (leaf, key) = intermediate.sign_for("broker", Some(SanType::IpAddress("127.0.0.1".parse().unwrap())), VALID);
    let acceptor = acceptor(&[&leaf, &intermediate.certificate], &key);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(stream).await?;
                let mut broker = TcpStream::connect(brokers().split(',').next().unwrap()).await?;
                tokio::io::copy_bidirectional(&mut client, &mut broker).await
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intermediate_ca_alone_is_trusted_and_another_one_is_not() {
    let root = Authority::new("root");
    let intermediate = root.intermediate("intermediate");
    let address = terminator(&intermediate).await;
    for (trusted, is_trusted) in [
        (&root.certificate, true),
        (&intermediate.certificate, true),
        (&Authority::new("root").certificate, false),
        (&root.intermediate("intermediate").certificate, false),
    ] {
        let connection = Connection { tls: Some(Tls::Trusted(trusted.clone())), ..Connection::plain(address.clone()) };
        let found = clients().connect(&connection).await.unwrap().cluster_id().await;
        assert_eq!(found.is_ok(), is_trusted, "{found:?}");
    }
}
