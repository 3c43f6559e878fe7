//! Finds out what librdkafka does not report about a failed connection: why a broker's certificate
//! is not trusted, and which protocol a port speaks.
//!
//! It opens a connection of its own, only for an error message, right after librdkafka tried one to
//! the same address. It sends no password, no client certificate, and no request except for the
//! versions of Kafka's protocol.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    ssl::{SslConnector, SslMethod, SslVerifyMode},
    x509::{X509, X509NameRef, X509Ref, store::X509StoreBuilder, verify::X509VerifyFlags},
};

use parking_lot::Mutex;

use crate::{api::Broker, kafka::connection::Tls};

/// The time limit of each step.
const LIMIT: Duration = Duration::from_secs(2);

/// Why a certificate is not trusted, from OpenSSL's number for it (`X509_V_ERR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Problem {
    /// Its CA is not trusted.
    Issuer,
    /// It is not valid for the host.
    Name,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// Any other problem.
    Other,
}

impl Problem {
    /// `None` when the certificate is trusted.
    pub fn of(code: i32) -> Option<Self> {
        match code {
            0 => None,
            // No issuer, none in the store, self-signed, self-signed in the chain, none for the
            // first certificate; and signatures by another key.
            2 | 7 | 18..=21 => Some(Self::Issuer),
            9 => Some(Self::NotYetValid),
            10 => Some(Self::Expired),
            // Another host name, another IP address.
            62 | 64 => Some(Self::Name),
            _ => Some(Self::Other),
        }
    }
}

/// A problem of a certificate in a chain, with what its message needs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flaw {
    /// This CA, which issued it, is not trusted.
    Issuer(String),
    /// It is valid for these names only.
    Name(Vec<String>),
    /// It expired at this time. With its name when it is not the broker's own certificate.
    Expired(String, Option<String>),
    /// It is not valid before this time. With its name when it is not the broker's own certificate.
    NotYetValid(String, Option<String>),
    /// None but that the client cannot verify it: librdkafka (2.12.1) takes an IPv6 address in brackets for a host name.
    Ipv6,
    /// Any other problem, in OpenSSL's words.
    Other(String),
}

/// Why the certificate of a broker, which the client has refused, is not trusted, with what to do;
/// `None` when no problem is found.
pub(in crate::kafka) fn certificate(broker: &Broker, tls: &Tls) -> Option<String> {
    let mut flaws = relevant(handshake(broker, tls).ok()?, tls);
    if flaws.is_empty() && broker.host().parse::<Ipv6Addr>().is_ok() {
        flaws.push(Flaw::Ipv6);
    }
    let texts: Vec<String> = flaws.iter().map(|flaw| explain(flaw, broker, tls)).collect();
    (!texts.is_empty()).then(|| format!("the certificate of {broker} {}", texts.join("; and it ")))
}

/// Whether a broker's port speaks TLS.
pub(in crate::kafka) fn speaks_tls(broker: &Broker) -> bool {
    handshake(broker, &Tls::Public).is_ok()
}

/// Whether a broker's port speaks Kafka in plaintext: it answers the request for the protocol's
/// versions with that request's number.
pub(in crate::kafka) fn speaks_plaintext(broker: &Broker) -> bool {
    const NUMBER: [u8; 4] = *b"ofrs";
    let ask = || {
        let mut stream = connect(broker)?;
        // The length; ApiVersions in version 0; the number of the request; a client id, which is
        // null.
        let request = [&[0, 0, 0, 10, 0, 18, 0, 0][..], &NUMBER, &[0xff, 0xff]].concat();
        stream.write_all(&request)?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>(answer[4..] == NUMBER)
    };
    ask().unwrap_or(false)
}

/// When a client certificate, as PEM, expired; `None` while it is valid, or when it cannot be read.
pub(in crate::kafka) fn expired(certificate: &str) -> Option<String> {
    let certificate = X509::from_pem(certificate.as_bytes()).ok()?;
    let now = Asn1Time::days_from_now(0).ok()?;
    (certificate.not_after() < now).then(|| time(certificate.not_after()))
}

fn connect(broker: &Broker) -> std::io::Result<TcpStream> {
    let mut last = std::io::ErrorKind::AddrNotAvailable.into();
    for address in broker.as_str().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT))?;
                stream.set_write_timeout(Some(LIMIT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Performs a TLS handshake that ignores every problem of the certificates, so that all are found.
fn handshake(broker: &Broker, tls: &Tls) -> Result<Vec<Flaw>, NoTls> {
    let flaws = Arc::new(Mutex::new(vec![]));
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    let mut store = X509StoreBuilder::new()?;
    // As for librdkafka, see `ffi::trust_intermediates`.
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    for ca in cas(tls) {
        store.add_cert(ca)?;
    }
    builder.set_cert_store(store.build());
    let found = Arc::clone(&flaws);
    builder.set_verify_callback(SslVerifyMode::PEER, move |good, context| {
        if !good && let Some(certificate) = context.current_cert() {
            let flaw = flaw(context.error().as_raw(), context.error().error_string(), certificate, context.error_depth());
            found.lock().push(flaw);
        }
        true
    });
    builder.build().connect(broker.host(), connect(broker)?).map_err(|_| NoTls)?;
    let flaws = flaws.lock();
    Ok(flaws.clone())
}

/// The port does not speak TLS, or does not answer.
struct NoTls;

impl From<ErrorStack> for NoTls {
    fn from(_: ErrorStack) -> Self {
        Self
    }
}

impl From<std::io::Error> for NoTls {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// The trusted CAs; none for the public ones. librdkafka knows those: where it rejects a
/// certificate that has no other problem, its CA is not public.
fn cas(tls: &Tls) -> Vec<X509> {
    match tls {
        Tls::Public => vec![],
        Tls::Trusted(certificates) => X509::stack_from_pem(certificates.as_bytes()).unwrap_or_default(),
    }
}

fn flaw(code: i32, words: &str, certificate: &X509Ref, depth: u32) -> Flaw {
    let whose = || (depth > 0).then(|| name(certificate.subject_name()));
    match Problem::of(code) {
        Some(Problem::Expired) => Flaw::Expired(time(certificate.not_after()), whose()),
        Some(Problem::NotYetValid) => Flaw::NotYetValid(time(certificate.not_before()), whose()),
        Some(Problem::Name) => Flaw::Name(names(certificate)),
        Some(Problem::Issuer) => Flaw::Issuer(name(certificate.issuer_name())),
        Some(Problem::Other) | None => Flaw::Other(words.to_owned()),
    }
}

/// Each flaw once. Where the public CAs are trusted, the CA is in doubt only when there is no other
/// flaw, see [`cas`].
fn relevant(flaws: Vec<Flaw>, tls: &Tls) -> Vec<Flaw> {
    let (of_issuer, mut others): (Vec<Flaw>, Vec<Flaw>) = flaws.into_iter().partition(|flaw| matches!(flaw, Flaw::Issuer(_)));
    if others.is_empty() || matches!(tls, Tls::Trusted(_)) {
        // OpenSSL reports several flaws for one missing issuer.
        others.extend(of_issuer.into_iter().next());
    }
    others.dedup();
    others
}

/// A flaw with what to do, for a sentence that begins with "the certificate of host:port".
fn explain(flaw: &Flaw, broker: &Broker, tls: &Tls) -> String {
    match flaw {
        Flaw::Issuer(issuer) => match tls {
            Tls::Public => format!(
                "was issued by {issuer}, which is not a public CA: add a Secret with its certificate to spec.kafka.tls.trustedCertificates"
            ),
            Tls::Trusted(_) if cas(tls).iter().any(|ours| name(ours.subject_name()) == *issuer) => format!(
                "was issued by {issuer}, but the CA in spec.kafka.tls.trustedCertificates has the same name and another key: the CA was \
                 regenerated and the Secret still holds the old certificate"
            ),
            Tls::Trusted(_) => format!(
                "was issued by {issuer}, whose certificate is not in spec.kafka.tls.trustedCertificates: add a Secret that holds it"
            ),
        },
        Flaw::Name(names) => {
            let theirs = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!(
                "is valid for {theirs} and not for that name: use one of its names in spec.kafka.bootstrapServers (and in the brokers' \
                 advertised.listeners), or issue it for this name too"
            )
        }
        Flaw::Expired(time, None) => format!("expired at {time}: renew it on the broker"),
        Flaw::Expired(time, Some(whose)) => {
            format!("was issued through {whose}, whose certificate expired at {time}: renew that one")
        }
        Flaw::NotYetValid(time, whose) => {
            let whose = whose.as_ref().map(|whose| format!("was issued through {whose}, which ")).unwrap_or_default();
            format!("{whose}is not valid before {time}: check the clocks of the CA of {broker} and of the operator's node")
        }
        Flaw::Ipv6 => {
            "cannot be verified by the Kafka client, which does so for host names and IPv4 addresses only: write a host \
             name of the broker in spec.kafka.bootstrapServers"
                .to_owned()
        }
        Flaw::Other(words) => format!("is not accepted: {words}"),
    }
}

/// A name as `CN=cluster-ca,O=shop`.
fn name(name: &X509NameRef) -> String {
    let entry = |entry: &openssl::x509::X509NameEntryRef| {
        let key = entry.object().nid().short_name().unwrap_or("?").to_owned();
        let value = entry.data().to_string().unwrap_or_else(|_| "?".to_owned());
        format!("{key}={value}")
    };
    name.entries().map(entry).collect::<Vec<_>>().join(",")
}

/// The DNS names and IP addresses that a certificate is valid for.
fn names(certificate: &X509Ref) -> Vec<String> {
    let address = |bytes: &[u8]| {
        let four: Option<[u8; 4]> = bytes.try_into().ok();
        let sixteen: Option<[u8; 16]> = bytes.try_into().ok();
        four.map(IpAddr::from).or_else(|| sixteen.map(IpAddr::from)).map(|address| address.to_string())
    };
    let alternatives = certificate.subject_alt_names();
    let named = alternatives.iter().flatten();
    named.filter_map(|name| name.dnsname().map(str::to_owned).or_else(|| name.ipaddress().and_then(address))).collect()
}

/// A time as 2020-12-31T00:00:00Z.
fn time(time: &Asn1TimeRef) -> String {
    let seconds = || {
        let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
        Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
    };
    let known = seconds().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    known.map_or_else(|| time.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Flaw {
        Flaw::Issuer("CN=a".into())
    }

    #[test]
    fn with_public_cas_the_issuer_is_doubted_only_when_there_is_no_other_flaw() {
        let expired = || Flaw::Expired("2020-12-31T00:00:00Z".into(), None);
        assert_eq!(relevant(vec![issuer(), issuer(), expired()], &Tls::Public), [expired()]);
        assert_eq!(relevant(vec![issuer(), issuer()], &Tls::Public), [issuer()]);
        assert_eq!(relevant(vec![issuer(), expired()], &Tls::Trusted(String::new())), [expired(), issuer()]);
        assert_eq!(relevant(vec![], &Tls::Public), []);
    }

    #[test]
    fn every_flaw_says_what_to_do() {
        for (flaw, expected) in [
            (issuer(), "a Secret"),
            (Flaw::Name(vec!["a.example".into()]), "is valid for a.example and not for that name: use"),
            (Flaw::Name(vec![]), "is valid for no name"),
            (Flaw::Expired("T".into(), None), "expired at T: renew it"),
            (
                Flaw::Expired("T".into(), Some("CN=between".into())),
                "through CN=between, whose certificate expired at T: renew that one",
            ),
            (Flaw::NotYetValid("T".into(), None), "is not valid before T: check the clocks"),
            (
                Flaw::Ipv6,
                "for host names and IPv4 addresses only: write a host name of the broker in spec.kafka.bootstrapServers",
            ),
            (Flaw::Other("in OpenSSL's words".into()), "is not accepted: in OpenSSL's words"),
        ] {
            for tls in [Tls::Public, Tls::Trusted(String::new())] {
                let explained = explain(&flaw, &Broker::new("kafka:9093"), &tls);
                assert!(explained.contains(expected), "{explained}");
            }
        }
    }
}
