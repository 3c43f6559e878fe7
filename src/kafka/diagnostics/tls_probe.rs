//! What librdkafka does not say about a connection that failed: why a broker's certificate is not trusted, and what is spoken at a port.
//!
//! A connection of our own, for an error's words only. It follows one that librdkafka has just tried, to the same address, and ends
//! before anything of ours is said: no password, no client certificate and no request but that for the versions of the protocol.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    ssl::{SslConnector, SslMethod, SslVerifyMode},
    x509::{X509, X509NameRef, X509Ref, store::X509StoreBuilder},
};

use crate::kafka::connection::Tls;

/// How long a step of it may take.
const LIMIT: Duration = Duration::from_secs(2);

/// `X509_V_ERR_*`, as far as they are told apart.
const NOT_YET_VALID: i32 = 9;
const EXPIRED: i32 = 10;
const OTHER_HOST: i32 = 62;
const OTHER_ADDRESS: i32 = 64;
/// No issuer, none here, self-signed, self-signed in the chain, none for the first, and signatures that are another key's.
const OF_THE_AUTHORITY: [i32; 6] = [2, 7, 18, 19, 20, 21];

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flaw {
    /// It comes from this authority, which is none of ours.
    Authority(String),
    /// It is for these names.
    Name(Vec<String>),
    /// It has expired, at this time; the certificate's own name if it is not the broker's.
    Expired(String, Option<String>),
    /// It is valid from this time on.
    NotYetValid(String, Option<String>),
    /// In OpenSSL's words.
    Other(String),
}

/// Why the certificate of a broker at `host:port` is not trusted, with what to do; `None` when nothing is found that is wrong with it.
pub(in crate::kafka) fn certificate(broker: &str, tls: &Tls) -> Option<String> {
    let flaws = handshake(broker, tls).ok()?;
    let words: Vec<String> = told(flaws, tls).iter().map(|flaw| explain(flaw, broker, tls)).collect();
    (!words.is_empty()).then(|| format!("the certificate of {broker} {}", words.join("; and it ")))
}

/// Whether TLS is spoken at `host:port`.
pub(in crate::kafka) fn speaks_tls(broker: &str) -> bool {
    handshake(broker, &Tls::Public).is_ok()
}

/// Whether Kafka is spoken in clear at `host:port`: it answers the request for the versions of the protocol with that request's number.
pub(in crate::kafka) fn speaks_clear(broker: &str) -> bool {
    const NUMBER: [u8; 4] = *b"ofrs";
    let ask = || {
        let mut stream = connect(broker)?;
        // The length; ApiVersions in version 0; the number of the request; a client id, which is null.
        let request = [&[0, 0, 0, 10, 0, 18, 0, 0][..], &NUMBER, &[0xff, 0xff]].concat();
        stream.write_all(&request)?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>(answer[4..] == NUMBER)
    };
    ask().unwrap_or(false)
}

/// When a client certificate of ours has expired, in PEM; `None` while it is valid, or cannot be read.
pub(in crate::kafka) fn expired(certificate: &str) -> Option<String> {
    let certificate = X509::from_pem(certificate.as_bytes()).ok()?;
    let now = Asn1Time::days_from_now(0).ok()?;
    (certificate.not_after() < now).then(|| time(certificate.not_after()))
}

fn connect(broker: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::ErrorKind::AddrNotAvailable.into();
    for address in broker.to_socket_addrs()? {
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

/// Shakes hands over TLS, and goes on whatever is wrong with the certificate, so that all of it is found; ends then.
fn handshake(broker: &str, tls: &Tls) -> Result<Vec<Flaw>, Silence> {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host).trim_start_matches('[').trim_end_matches(']');
    let flaws = Arc::new(Mutex::new(vec![]));
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    let mut store = X509StoreBuilder::new()?;
    for authority in authorities(tls) {
        store.add_cert(authority)?;
    }
    builder.set_cert_store(store.build());
    let found = Arc::clone(&flaws);
    builder.set_verify_callback(SslVerifyMode::PEER, move |good, context| {
        if !good && let Some(certificate) = context.current_cert() {
            let flaw = flaw(context.error().as_raw(), context.error().error_string(), certificate, context.error_depth());
            found.lock().unwrap_or_else(PoisonError::into_inner).push(flaw);
        }
        true
    });
    builder.build().connect(host, connect(broker)?).map_err(|_| Silence)?;
    let flaws = flaws.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(flaws.clone())
}

/// Nobody speaks TLS there, or nobody at all.
struct Silence;

impl From<ErrorStack> for Silence {
    fn from(_: ErrorStack) -> Self {
        Self
    }
}

impl From<std::io::Error> for Silence {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// Those that are named. The public ones are not looked for here: that none has issued a certificate is known when nothing else is wrong.
fn authorities(tls: &Tls) -> Vec<X509> {
    match tls {
        Tls::Public => vec![],
        Tls::Trusted(certificates) => X509::stack_from_pem(certificates.as_bytes()).unwrap_or_default(),
    }
}

fn flaw(code: i32, words: &str, certificate: &X509Ref, depth: u32) -> Flaw {
    let whose = || (depth > 0).then(|| name(certificate.subject_name()));
    match code {
        EXPIRED => Flaw::Expired(time(certificate.not_after()), whose()),
        NOT_YET_VALID => Flaw::NotYetValid(time(certificate.not_before()), whose()),
        OTHER_HOST | OTHER_ADDRESS => Flaw::Name(names(certificate)),
        code if OF_THE_AUTHORITY.contains(&code) => Flaw::Authority(name(certificate.issuer_name())),
        _ => Flaw::Other(words.to_owned()),
    }
}

/// Each flaw once. Where the public authorities are trusted, nothing is known about the authority unless all else is as it should be.
fn told(flaws: Vec<Flaw>, tls: &Tls) -> Vec<Flaw> {
    let (of_authority, mut others): (Vec<Flaw>, Vec<Flaw>) =
        flaws.into_iter().partition(|flaw| matches!(flaw, Flaw::Authority(_)));
    if others.is_empty() || matches!(tls, Tls::Trusted(_)) {
        // OpenSSL finds several flaws where one issuer is missing.
        others.extend(of_authority.into_iter().next());
    }
    others.dedup();
    others
}

fn explain(flaw: &Flaw, broker: &str, tls: &Tls) -> String {
    match flaw {
        Flaw::Authority(issuer) => match tls {
            Tls::Public => format!(
                "comes from {issuer}, which is no public authority: name a Secret with its certificate in spec.kafka.tls.trustedCertificates"
            ),
            Tls::Trusted(_) if authorities(tls).iter().any(|ours| name(ours.subject_name()) == *issuer) => format!(
                "comes from {issuer}, and what spec.kafka.tls.trustedCertificates has under that name has another key: the authority was \
                 made anew, and the Secret holds its old certificate"
            ),
            Tls::Trusted(_) => format!(
                "comes from {issuer}, whose certificate is not among spec.kafka.tls.trustedCertificates: name a Secret that has it"
            ),
        },
        Flaw::Name(names) => {
            let theirs = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            format!(
                "is for {theirs} and not for that name: use a name that it has in spec.kafka.bootstrapServers (and in the brokers' \
                 advertised.listeners), or have it made for this one too"
            )
        }
        Flaw::Expired(time, None) => format!("has expired at {time}: renew it on the broker"),
        Flaw::Expired(time, Some(whose)) => {
            format!("comes by way of that of {whose}, which has expired at {time}: renew that one")
        }
        Flaw::NotYetValid(time, whose) => {
            let of = whose.as_ref().map(|whose| format!(" (that of {whose}, by way of which it comes)")).unwrap_or_default();
            format!("is valid from {time} on only{of}: look at the clocks of {broker}'s issuer and of the operator's node")
        }
        Flaw::Other(words) => format!("is not accepted: {words}"),
    }
}

/// As `CN=cluster-ca,O=shop`.
fn name(name: &X509NameRef) -> String {
    let entry = |entry: &openssl::x509::X509NameEntryRef| {
        let key = entry.object().nid().short_name().unwrap_or("?").to_owned();
        let value = entry.data().to_string().unwrap_or_else(|_| "?".to_owned());
        format!("{key}={value}")
    };
    name.entries().map(entry).collect::<Vec<_>>().join(",")
}

/// The names and addresses that a certificate is for.
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

/// As in everything else that is said: 2020-12-31T00:00:00Z.
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

    fn authority() -> Flaw {
        Flaw::Authority("CN=a".into())
    }

    #[test]
    fn of_a_public_certificate_the_authority_is_doubted_only_when_nothing_else_is_wrong() {
        let expired = || Flaw::Expired("2020-12-31T00:00:00Z".into(), None);
        assert_eq!(told(vec![authority(), authority(), expired()], &Tls::Public), [expired()]);
        assert_eq!(told(vec![authority(), authority()], &Tls::Public), [authority()]);
        assert_eq!(told(vec![authority(), expired()], &Tls::Trusted(String::new())), [expired(), authority()]);
        assert_eq!(told(vec![], &Tls::Public), []);
    }

    #[test]
    fn every_flaw_says_what_to_do() {
        for (flaw, expected) in [
            (authority(), "name a Secret"),
            (Flaw::Name(vec!["a.example".into()]), "is for a.example and not for that name: use"),
            (Flaw::Name(vec![]), "is for no name at all"),
            (Flaw::Expired("T".into(), None), "has expired at T: renew it"),
            (Flaw::Expired("T".into(), Some("CN=between".into())), "that of CN=between, which has expired at T: renew that one"),
            (Flaw::NotYetValid("T".into(), None), "is valid from T on only: look at the clocks"),
            (Flaw::Other("in OpenSSL's words".into()), "is not accepted: in OpenSSL's words"),
        ] {
            for tls in [Tls::Public, Tls::Trusted(String::new())] {
                let explained = explain(&flaw, "kafka:9093", &tls);
                assert!(explained.contains(expected), "{explained}");
            }
        }
    }
}
