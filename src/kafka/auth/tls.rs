//! TLS for the operator's own connections, by librdkafka's rules and with the same OpenSSL: only
//! the given CAs, or only the public ones, are trusted, and the certificate must be valid for the
//! host.

use std::{fmt, pin::Pin};

use openssl::{
    error::ErrorStack,
    pkey::PKey,
    ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion},
    x509::{
        X509, X509VerifyResult,
        store::{X509Store, X509StoreBuilder},
        verify::X509VerifyFlags,
    },
};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::kafka::connection::{Authentication, Tls};

/// Why a TLS handshake failed.
#[derive(Debug)]
pub(in crate::kafka) struct HandshakeError {
    /// Why the certificate is not trusted, in OpenSSL's words and number; `X509_V_OK` when the
    /// certificate is not the reason.
    pub certificate: X509VerifyResult,
    /// OpenSSL's error.
    why: String,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.certificate == X509VerifyResult::OK {
            f.write_str(&self.why)
        } else {
            write!(f, "the certificate is not trusted: {}", self.certificate.error_string())
        }
    }
}

/// The settings of a connection.
///
/// # Errors
/// When a certificate or a key cannot be read.
pub(in crate::kafka) fn connector(tls: &Tls, authentication: Option<&Authentication>) -> Result<SslConnector, String> {
    let set_up = || {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_verify(SslVerifyMode::PEER);
        Ok::<_, ErrorStack>(builder)
    };
    let mut builder = set_up().map_err(|error| format!("TLS cannot be set up: {error}"))?;
    builder.set_cert_store(trusted(tls).map_err(|error| format!("a CA certificate cannot be read: {error}"))?);
    if let Some(Authentication::Certificate { certificate, key }) = authentication {
        let chain = X509::stack_from_pem(certificate.as_bytes());
        let mut chain = chain.map_err(|error| format!("the client certificate cannot be read: {error}"))?.into_iter();
        let own = chain.next().ok_or("the client certificate is empty")?;
        let key = PKey::private_key_from_pem_callback(key.reveal().as_bytes(), |_| Ok(0));
        let key = key.map_err(|_| "the private key cannot be read")?;
        let set = builder.set_certificate(&own).and_then(|()| builder.set_private_key(&key));
        let set = set.and_then(|()| chain.try_for_each(|between| builder.add_extra_chain_cert(between)));
        set.map_err(|error| format!("the client certificate cannot be used: {error}"))?;
    }
    Ok(builder.build())
}

fn trusted(tls: &Tls) -> Result<X509Store, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    // As for librdkafka, see `ffi::trust_intermediates`.
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    match tls {
        // Those that OpenSSL cannot read vouch for nothing.
        Tls::Public => {
            for certificate in rustls_native_certs::load_native_certs().certs {
                if let Ok(certificate) = X509::from_der(&certificate) {
                    store.add_cert(certificate)?;
                }
            }
        }
        Tls::Trusted(certificates) => {
            for certificate in X509::stack_from_pem(certificates.as_bytes())? {
                store.add_cert(certificate)?;
            }
        }
    }
    Ok(store.build())
}

/// Performs the TLS handshake. `host` is a host name, or an IP address without brackets.
///
/// # Errors
/// When the server does not speak TLS, or its certificate is not trusted.
pub(in crate::kafka) async fn handshake(
    connector: &SslConnector,
    host: &str,
    stream: TcpStream,
) -> Result<SslStream<TcpStream>, HandshakeError> {
    let failed = |error: &dyn fmt::Display| HandshakeError { certificate: X509VerifyResult::OK, why: error.to_string() };
    let session = connector.configure().and_then(|configuration| configuration.into_ssl(host));
    let session = session.map_err(|error| failed(&error))?;
    let mut stream = SslStream::new(session, stream).map_err(|error| failed(&error))?;
    match Pin::new(&mut stream).connect().await {
        Ok(()) => Ok(stream),
        Err(error) => Err(HandshakeError { certificate: stream.ssl().verify_result(), why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use openssl::ssl::{SslAcceptor, SslConnectorBuilder};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
    use rstest::rstest;

    use super::*;
    use crate::kafka::ffi;

    /// A root, an intermediate CA that it has issued, and a broker's certificate that that one has issued, with its key.
    struct Chain {
        root: String,
        intermediate: String,
        leaf: String,
        key: String,
    }

    fn named(name: &str, is_ca: bool) -> CertificateParams {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        } else {
            params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
        }
        params
    }

    fn chain() -> Chain {
        let [root_key, intermediate_key, key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let (root, between) = (named("root", true), named("intermediate", true));
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root, root_key);
        let intermediate = between.signed_by(&intermediate_key, &root).unwrap().pem();
        let issuer = Issuer::new(between, intermediate_key);
        let leaf = named("broker", false).signed_by(&key, &issuer).unwrap().pem();
        Chain { root: root_pem, intermediate, leaf, key: key.serialize_pem() }
    }

    /// Serves one handshake with the leaf and the intermediate certificate.
    fn serve(chain: &Chain) -> std::net::SocketAddr {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&X509::from_pem(chain.leaf.as_bytes()).unwrap()).unwrap();
        acceptor.set_private_key(&PKey::private_key_from_pem(chain.key.as_bytes()).unwrap()).unwrap();
        acceptor.add_extra_chain_cert(X509::from_pem(chain.intermediate.as_bytes()).unwrap()).unwrap();
        let (acceptor, listener) = (acceptor.build(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || acceptor.accept(listener.accept().unwrap().0).map(drop));
        address
    }

    #[rstest]
    #[case::the_root(|chain: &Chain| chain.root.clone(), true)]
    #[case::the_intermediate_alone(|chain: &Chain| chain.intermediate.clone(), true)]
    #[case::the_brokers_own_certificate(|chain: &Chain| chain.leaf.clone(), true)]
    #[case::another_root(|_: &Chain| self::chain().root, false)]
    #[case::another_intermediate_of_the_same_name(|_: &Chain| self::chain().intermediate, false)]
    #[tokio::test]
    async fn a_trusted_certificate_ends_the_chain_on_both_paths(#[case] trusted: fn(&Chain) -> String, #[case] is_trusted: bool) {
        let chain = chain();
        let tls = Tls::Trusted(trusted(&chain));
        let own = connector(&tls, None).unwrap();
        let stream = TcpStream::connect(serve(&chain)).await.unwrap();
        assert_eq!(handshake(&own, "127.0.0.1", stream).await.is_ok(), is_trusted);

        // librdkafka sets no flags: it has what OpenSSL takes by default.
        ffi::trust_intermediates().unwrap();
        let mut plain: SslConnectorBuilder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        let Tls::Trusted(pem) = &tls else { unreachable!() };
        store.add_cert(X509::from_pem(pem.as_bytes()).unwrap()).unwrap();
        plain.set_cert_store(store.build());
        let stream = TcpStream::connect(serve(&chain)).await.unwrap();
        assert_eq!(handshake(&plain.build(), "127.0.0.1", stream).await.is_ok(), is_trusted);
    }
}
