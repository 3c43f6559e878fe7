//! The operator's own connection to a broker, for the few requests that librdkafka has no call for.
//! It is opened for them and closed afterwards.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use futures::future::select_ok;
use kafka_protocol::{
    messages::{
        ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
        SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    auth::{
        oauth::Token,
        scram::{Hash, Scram},
        tls,
    },
    connection::{Authentication, Connection, Mechanism},
    diagnostics::error_codes,
    ffi::RawError,
};
use crate::api::Broker;
use crate::machine::facts::{KafkaError, KafkaErrorKind};

/// The time limit of a connection, and of each answer.
const LIMIT: Duration = Duration::from_secs(5);

/// After this time without an answer, the next bootstrap server is asked too.
const STAGGER: Duration = Duration::from_millis(250);

/// The largest answer that is read, in bytes: far above an answer with every member of the largest
/// group, or with the groups of one coordinator.
const LARGEST_ANSWER: i32 = 4 << 20;

/// The version of `FindCoordinator`, which every broker since 1.1 supports.
const FIND_COORDINATOR: i16 = 2;

/// The versions of `SaslHandshake` and `SaslAuthenticate`, which every broker since 1.0 supports.
const SASL_HANDSHAKE: i16 = 1;
const SASL_AUTHENTICATE: i16 = 0;

/// The group's coordinator, from the first bootstrap server that reports it. One that is silent
/// keeps no other waiting.
///
/// # Errors
/// When none reports it.
pub(super) async fn coordinator(connection: &Connection, token: Option<&Token>, group: &str) -> Result<Broker, KafkaError> {
    let attempts = connection.bootstrap_servers.iter().zip(0..).map(|(broker, index)| {
        Box::pin(async move {
            tokio::time::sleep(STAGGER * index).await;
            let request = FindCoordinatorRequest::default().with_key(text(group));
            let answer: FindCoordinatorResponse = BrokerConnection::open(connection, token, broker)
                .await?
                .ask(ApiKey::FindCoordinator, FIND_COORDINATOR, &request)
                .await?;
            refused(answer.error_code, group)?;
            let host = answer.host.as_str();
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            Ok(Broker::new(format!("{host}:{}", answer.port)))
        })
    });
    let attempts: Vec<_> = attempts.collect();
    if attempts.is_empty() {
        return Err(KafkaError::new(KafkaErrorKind::Unreachable, "there is no bootstrap server"));
    }
    select_ok(attempts).await.map(|(found, _)| found)
}

/// The error of an answer about a group.
///
/// # Errors
/// When the code is one.
pub(super) fn refused(code: i16, group: &str) -> Result<(), KafkaError> {
    if code == 0 { Ok(()) } else { Err(error_codes::error(&RawError::of_code(code.into()), &format!("group {group}"))) }
}

/// A string of the protocol.
pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A connection with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An authenticated connection to one broker.
pub(super) struct BrokerConnection {
    broker: Broker,
    stream: Box<dyn Stream>,
}

impl BrokerConnection {
    /// Connects and authenticates.
    ///
    /// # Errors
    /// When either fails.
    pub async fn open(connection: &Connection, token: Option<&Token>, broker: &Broker) -> Result<Self, KafkaError> {
        let stream = within(broker, TcpStream::connect(broker.as_str())).await?;
        let stream: Box<dyn Stream> = match &connection.tls {
            None => Box::new(stream),
            Some(tls) => {
                let connector = tls::connector(tls, connection.authentication.as_ref())
                    .map_err(|why| KafkaError::new(KafkaErrorKind::Other, why))?;
                let handshake = async {
                    let connected = tls::handshake(&connector, broker.host(), stream).await;
                    connected.map_err(|error| std::io::Error::other(error.to_string()))
                };
                Box::new(within(broker, handshake).await?)
            }
        };
        let mut opened = Self { broker: broker.clone(), stream };
        match (&connection.authentication, token) {
            (Some(Authentication::Password { mechanism, username, password }), _) => {
                opened.authenticate(*mechanism, username, password.reveal()).await?;
            }
            (Some(Authentication::Token(credentials)), Some(token)) => {
                opened.authenticate_by_token(token, &credentials.extensions).await?;
            }
            (Some(Authentication::Token(_)), None) => return Err(opened.unauthenticated("there is no token")),
            (Some(Authentication::Certificate { .. }) | None, _) => {}
        }
        Ok(opened)
    }

    /// Chooses the SASL mechanism.
    async fn choose(&mut self, mechanism: &str) -> Result<(), KafkaError> {
        let request = SaslHandshakeRequest::default().with_mechanism(text(mechanism));
        let answer: SaslHandshakeResponse = self.ask(ApiKey::SaslHandshake, SASL_HANDSHAKE, &request).await?;
        if answer.error_code == 0 { Ok(()) } else { Err(self.unauthenticated(&format!("it does not offer {mechanism}"))) }
    }

    /// RFC 7628: one message, and an answer that is empty unless the broker refuses the token.
    async fn authenticate_by_token(&mut self, token: &Token, extensions: &BTreeMap<String, String>) -> Result<(), KafkaError> {
        self.choose("OAUTHBEARER").await?;
        let mut message = format!("n,,\x01auth=Bearer {}\x01", token.reveal());
        for (name, value) in extensions {
            message.extend([name, "=", value, "\x01"]);
        }
        message.push('\x01');
        let answer = self.exchange(message).await?;
        if answer.is_empty() { Ok(()) } else { Err(self.unauthenticated("it does not accept the token")) }
    }

    async fn authenticate(&mut self, mechanism: Mechanism, username: &str, password: &str) -> Result<(), KafkaError> {
        self.choose(mechanism.name()).await?;
        let hash = match mechanism {
            Mechanism::Plain => {
                self.exchange(format!("\0{username}\0{password}")).await?;
                return Ok(());
            }
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let mut nonce = [0; 24];
        SystemRandom::new().fill(&mut nonce).map_err(|_| self.unauthenticated("no random number can be generated"))?;
        let scram = Scram::new(hash, username, password, BASE64_STANDARD_NO_PAD.encode(nonce));
        let answer = self.exchange(scram.first()).await?;
        let (second, expected) = scram.second(&answer).map_err(|why| self.unauthenticated(why))?;
        let answer = self.exchange(second).await?;
        if expected.is(&answer) { Ok(()) } else { Err(self.unauthenticated("it cannot prove that it knows the password")) }
    }

    /// Sends a message of the SASL mechanism, and returns the broker's answer.
    async fn exchange(&mut self, message: String) -> Result<String, KafkaError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message));
        let answer: SaslAuthenticateResponse = self.ask(ApiKey::SaslAuthenticate, SASL_AUTHENTICATE, &request).await?;
        if answer.error_code != 0 {
            return Err(self.unauthenticated(answer.error_message.as_deref().unwrap_or("it gives no reason")));
        }
        String::from_utf8(answer.auth_bytes.to_vec()).map_err(|_| self.unauthenticated("its answer is not text"))
    }

    fn unauthenticated(&self, why: &str) -> KafkaError {
        KafkaError::new(KafkaErrorKind::Authentication, format!("broker {} did not accept the credentials: {why}", self.broker))
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When there is no answer, or none that can be read.
    pub async fn ask<Q: Encodable + HeaderVersion, A: Decodable + HeaderVersion>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &Q,
    ) -> Result<A, KafkaError> {
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(text("offset-reset-operator")));
        let mut frame = vec![0; size_of::<i32>()];
        header.encode(&mut frame, Q::header_version(version)).map_err(|error| garbled(&self.broker, &error))?;
        request.encode(&mut frame, version).map_err(|error| garbled(&self.broker, &error))?;
        let length = i32::try_from(frame.len() - size_of::<i32>()).unwrap_or(i32::MAX);
        frame[..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        let answer = within(&self.broker, async {
            self.stream.write_all(&frame).await?;
            let length = self.stream.read_i32().await?;
            let length =
                Some(length).filter(|length| (0..=LARGEST_ANSWER).contains(length)).and_then(|length| length.try_into().ok());
            let mut answer = vec![0; length.ok_or_else(|| std::io::Error::other("its answer has an invalid length"))?];
            self.stream.read_exact(&mut answer).await?;
            Ok(answer)
        });
        let answer = answer.await?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, A::header_version(version)).map_err(|error| garbled(&self.broker, &error))?;
        A::decode(&mut answer, version).map_err(|error| garbled(&self.broker, &error))
    }
}

async fn within<T>(broker: &Broker, work: impl Future<Output = std::io::Result<T>>) -> Result<T, KafkaError> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(KafkaError::new(KafkaErrorKind::Unreachable, format!("broker {broker}: {error}"))),
        Err(_) => {
            let message = format!("broker {broker} does not answer within {} seconds", LIMIT.as_secs());
            Err(KafkaError::new(KafkaErrorKind::Timeout, message))
        }
    }
}

fn garbled(broker: &Broker, why: &impl std::fmt::Display) -> KafkaError {
    KafkaError::new(KafkaErrorKind::Other, format!("a request to broker {broker} or its answer is invalid: {why}"))
}
