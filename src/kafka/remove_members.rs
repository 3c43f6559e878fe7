//! Takes members out of a group: `LeaveGroup` by somebody who is not a member (KIP-345, Kafka 2.4), which librdkafka has no call for. So
//! the few requests that it takes go over a connection of their own, which is opened for it and closed after it.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, GroupId, LeaveGroupRequest, LeaveGroupResponse, RequestHeader,
        ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
        leave_group_request::MemberIdentity,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{
    auth::{
        oauth::Token,
        scram::{Hash, Scram},
        tls,
    },
    connection::{Authentication, Connection, Mechanism},
    diagnostics::error_codes,
    ffi,
};
use crate::machine::facts::{GroupMember, KafkaError, KafkaErrorKind};

/// How long a connection, and each answer, may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The largest answer that is read, in bytes: one that names every member of the largest group is far below it.
const LARGEST_ANSWER: i32 = 1 << 20;

/// The version of `FindCoordinator`: every broker since 1.1 knows it.
const FIND_COORDINATOR: i16 = 2;

/// The versions of `SaslHandshake` and `SaslAuthenticate`: every broker since 1.0 knows them.
const SASL_HANDSHAKE: i16 = 1;
const SASL_AUTHENTICATE: i16 = 0;

/// The version of `LeaveGroup`: the first that takes several members, each with its instance id.
const LEAVE_GROUP: i16 = 3;

/// `UNKNOWN_MEMBER_ID`: it has left by itself.
const UNKNOWN_MEMBER: i16 = 25;

/// `FENCED_INSTANCE_ID`: another incarnation of the static member has taken its place. That one is not meant.
const FENCED: i16 = 82;

/// Takes members out of a group.
///
/// # Errors
/// When one of them could not be taken out, or nobody knows.
pub(super) async fn remove_members(
    connection: &Connection,
    token: Option<&Token>,
    group: &str,
    members: &[GroupMember],
) -> Result<(), KafkaError> {
    let (host, port) = coordinator(connection, token, group).await?;
    let mut broker = Broker::connect(connection, token, &format!("{host}:{port}")).await?;
    let members = members.iter().map(|member| {
        MemberIdentity::default()
            .with_member_id(text(&member.member_id))
            .with_group_instance_id(member.instance_id.as_deref().map(text))
    });
    let request = LeaveGroupRequest::default().with_group_id(GroupId(text(group))).with_members(members.collect());
    let answer: LeaveGroupResponse = broker.ask(ApiKey::LeaveGroup, LEAVE_GROUP, &request).await?;
    refused(answer.error_code, group)?;
    for member in answer.members.iter().filter(|member| ![UNKNOWN_MEMBER, FENCED].contains(&member.error_code)) {
        refused(member.error_code, group)?;
    }
    Ok(())
}

/// Where the group's coordinator is, from the first bootstrap server that says it.
async fn coordinator(connection: &Connection, token: Option<&Token>, group: &str) -> Result<(String, i32), KafkaError> {
    let mut last = KafkaError::new(KafkaErrorKind::Unreachable, "no bootstrap server is named");
    for address in connection.bootstrap_servers.split(',').map(str::trim).filter(|address| !address.is_empty()) {
        let found = async {
            let request = FindCoordinatorRequest::default().with_key(text(group));
            let answer: FindCoordinatorResponse = Broker::connect(connection, token, address)
                .await?
                .ask(ApiKey::FindCoordinator, FIND_COORDINATOR, &request)
                .await?;
            refused(answer.error_code, group)?;
            Ok((answer.host.to_string(), answer.port))
        };
        match found.await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn refused(code: i16, group: &str) -> Result<(), KafkaError> {
    if code == 0 { Ok(()) } else { Err(error_codes::error(&ffi::fault_of(code.into()), &format!("group {group}"))) }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// What a connection goes over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to one broker.
struct Broker {
    address: String,
    stream: Box<dyn Stream>,
}

impl Broker {
    async fn connect(connection: &Connection, token: Option<&Token>, address: &str) -> Result<Self, KafkaError> {
        let stream = within(address, TcpStream::connect(address)).await?;
        let stream: Box<dyn Stream> = match &connection.tls {
            None => Box::new(stream),
            Some(tls) => {
                let settings = tls::settings(tls, connection.authentication.as_ref())
                    .map_err(|why| KafkaError::new(KafkaErrorKind::Other, why))?;
                // An address in IPv6 has brackets around it.
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(host).map_err(|error| garbled(address, &error))?;
                Box::new(within(address, TlsConnector::from(Arc::new(settings)).connect(name, stream)).await?)
            }
        };
        let mut broker = Self { address: address.to_owned(), stream };
        match (&connection.authentication, token) {
            (Some(Authentication::Password { mechanism, username, password }), _) => {
                broker.authenticate(*mechanism, username, password.reveal()).await?;
            }
            (Some(Authentication::Token(_)), Some(token)) => broker.show_token(token).await?,
            (Some(Authentication::Token(_)), None) => return Err(broker.unauthenticated("there is no token")),
            (Some(Authentication::Certificate { .. }) | None, _) => {}
        }
        Ok(broker)
    }

    /// Says how it will be shown who we are.
    async fn choose(&mut self, mechanism: &str) -> Result<(), KafkaError> {
        let request = SaslHandshakeRequest::default().with_mechanism(text(mechanism));
        let answer: SaslHandshakeResponse = self.ask(ApiKey::SaslHandshake, SASL_HANDSHAKE, &request).await?;
        if answer.error_code == 0 { Ok(()) } else { Err(self.unauthenticated(&format!("it does not offer {mechanism}"))) }
    }

    /// RFC 7628: one message, and an answer that is empty unless something is wrong.
    async fn show_token(&mut self, token: &Token) -> Result<(), KafkaError> {
        self.choose("OAUTHBEARER").await?;
        let answer = self.show(format!("n,,\x01auth=Bearer {}\x01\x01", token.reveal())).await?;
        if answer.is_empty() { Ok(()) } else { Err(self.unauthenticated("it does not accept the token")) }
    }

    async fn authenticate(&mut self, mechanism: Mechanism, username: &str, password: &str) -> Result<(), KafkaError> {
        self.choose(mechanism.name()).await?;
        let hash = match mechanism {
            Mechanism::Plain => {
                self.show(format!("\0{username}\0{password}")).await?;
                return Ok(());
            }
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let mut nonce = [0; 24];
        SystemRandom::new().fill(&mut nonce).map_err(|_| self.unauthenticated("there is no randomness"))?;
        let scram = Scram::new(hash, username, password, BASE64_STANDARD_NO_PAD.encode(nonce));
        let answer = self.show(scram.first()).await?;
        let (second, expected) = scram.second(&answer).map_err(|why| self.unauthenticated(why))?;
        let answer = self.show(second).await?;
        if expected.is(&answer) { Ok(()) } else { Err(self.unauthenticated("it cannot prove that it knows the password")) }
    }

    /// Shows the broker who we are, and returns what it says to that.
    async fn show(&mut self, message: String) -> Result<String, KafkaError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message));
        let answer: SaslAuthenticateResponse = self.ask(ApiKey::SaslAuthenticate, SASL_AUTHENTICATE, &request).await?;
        if answer.error_code != 0 {
            return Err(self.unauthenticated(answer.error_message.as_deref().unwrap_or("it does not say why")));
        }
        String::from_utf8(answer.auth_bytes.to_vec()).map_err(|_| self.unauthenticated("its answer is no text"))
    }

    fn unauthenticated(&self, why: &str) -> KafkaError {
        KafkaError::new(KafkaErrorKind::Authentication, format!("broker {} did not accept the credentials: {why}", self.address))
    }

    /// Sends a request and reads its answer.
    async fn ask<Q: Encodable + HeaderVersion, A: Decodable + HeaderVersion>(
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
        header.encode(&mut frame, Q::header_version(version)).map_err(|error| garbled(&self.address, &error))?;
        request.encode(&mut frame, version).map_err(|error| garbled(&self.address, &error))?;
        let length = i32::try_from(frame.len() - size_of::<i32>()).unwrap_or(i32::MAX);
        frame[..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        let answer = within(&self.address, async {
            self.stream.write_all(&frame).await?;
            let length = self.stream.read_i32().await?;
            let length =
                Some(length).filter(|length| (0..=LARGEST_ANSWER).contains(length)).and_then(|length| length.try_into().ok());
            let mut answer = vec![0; length.ok_or_else(|| std::io::Error::other("its answer has an impossible length"))?];
            self.stream.read_exact(&mut answer).await?;
            Ok(answer)
        });
        let answer = answer.await?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, A::header_version(version)).map_err(|error| garbled(&self.address, &error))?;
        A::decode(&mut answer, version).map_err(|error| garbled(&self.address, &error))
    }
}

async fn within<T>(address: &str, work: impl Future<Output = std::io::Result<T>>) -> Result<T, KafkaError> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(KafkaError::new(KafkaErrorKind::Unreachable, format!("broker {address}: {error}"))),
        Err(_) => {
            let message = format!("broker {address} does not answer within {} seconds", LIMIT.as_secs());
            Err(KafkaError::new(KafkaErrorKind::Timeout, message))
        }
    }
}

fn garbled(address: &str, why: &impl std::fmt::Display) -> KafkaError {
    KafkaError::new(KafkaErrorKind::Other, format!("what was said to or by broker {address} makes no sense: {why}"))
}
