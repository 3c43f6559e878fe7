//! One request to a token endpoint: over a TLS connection of its own, bounded in size and time. It
//! follows no redirect and uses no proxy.

use std::{io, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use zeroize::Zeroizing;

use super::tls::{self, HandshakeError};
use crate::kafka::{
    connection::{ClientCredentials, Secret, Tls},
    diagnostics::{
        error_codes::{NOT_AUTHENTICATED, TLS, TOKEN_ENDPOINT},
        tls_probe::Problem,
    },
    ffi::RawError,
};

/// The largest answer that is read, in bytes. The broker's limit for a token is smaller.
const LARGEST_ANSWER: usize = 256 << 10;

/// The lifetime of a token for which the endpoint gives none.
const LIFETIME: Duration = Duration::from_mins(1);

/// The longest lifetime that is believed.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);

/// How much of the endpoint's error texts goes into messages, in bytes each.
const REPEATED: usize = 200;

/// The address of a token endpoint, split into its parts.
pub(super) struct Endpoint<'a> {
    address: &'a str,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl<'a> Endpoint<'a> {
    /// # Errors
    /// When it is no https address.
    pub fn parse(address: &'a str) -> Result<Self, RawError> {
        let uri: Option<Uri> = address.parse().ok();
        let found = uri.as_ref().filter(|uri| uri.scheme_str() == Some("https")).and_then(Uri::authority);
        let (Some(uri), Some(authority)) = (&uri, found.filter(|authority| !authority.as_str().contains('@'))) else {
            return Err(RawError { code: TOKEN_ENDPOINT, text: format!("{address} is not the address of a token endpoint") });
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(443);
        Ok(Self { address, host: host.to_owned(), port, authority: authority.to_string(), path: path.to_owned() })
    }

    /// The endpoint does not work, which may pass.
    pub fn failure(&self, why: &str) -> RawError {
        RawError { code: TOKEN_ENDPOINT, text: format!("token endpoint {} {why}", self.address) }
    }

    /// The endpoint did not accept the client.
    fn refusal(&self, why: &str) -> RawError {
        RawError { code: NOT_AUTHENTICATED, text: format!("token endpoint {} did not accept the client: {why}", self.address) }
    }

    /// Requests a token.
    ///
    /// # Errors
    /// When the endpoint does not answer.
    pub async fn ask(&self, credentials: &ClientCredentials) -> Result<(StatusCode, Bytes), RawError> {
        let garbled = |error: &dyn std::fmt::Display| self.failure(&format!("does not answer in valid HTTP: {error}"));
        let stream = TokioIo::new(self.connect(&credentials.tls).await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| garbled(&error))?;
        // It ends with the sender, which reports its errors too.
        tokio::spawn(async { _ = connection.await });
        let request = self.request(credentials).map_err(|error| garbled(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| garbled(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
        Ok((status, body.map_err(|error| garbled(&error))?.to_bytes()))
    }

    async fn connect(&self, trusted: &Tls) -> Result<SslStream<TcpStream>, RawError> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = addresses
            .map_err(|_| self.failure(&format!("cannot be reached: the host name {} cannot be resolved", self.host)))?
            .collect();
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => self.failure("cannot be reached: the connection is refused"),
            _ => self.failure(&format!("cannot be reached: {error}")),
        })?;
        let tls = |why: &str| RawError { code: TLS, text: format!("token endpoint {}: {why}", self.address) };
        let connector = tls::connector(trusted, None).map_err(|why| tls(&why))?;
        let connected = tls::handshake(&connector, &self.host, stream).await;
        connected.map_err(|error| match distrust(&error, trusted) {
            Some(why) => tls(&why),
            None => self.failure(&format!("fails in the TLS handshake: {error}")),
        })
    }

    fn request(&self, credentials: &ClientCredentials) -> http::Result<Request<Full<Bytes>>> {
        let secret = credentials.client_secret.reveal();
        let mut form = Zeroizing::new("grant_type=client_credentials".to_owned());
        let mut add = |name: &str, value: &str| {
            form.extend(["&", name, "="]);
            form.push_str(&Zeroizing::new(encoded(value)));
        };
        for (name, value) in [("scope", &credentials.scope), ("audience", &credentials.audience)] {
            if let Some(value) = value {
                add(name, value);
            }
        }
        let mut request = Request::post(&self.path).header(header::HOST, &self.authority);
        if credentials.in_body {
            add("client_id", &credentials.client_id);
            add("client_secret", secret);
        } else {
            let encoded = |text: &str| Zeroizing::new(if credentials.urlencode { encoded(text) } else { text.to_owned() });
            let client = Zeroizing::new(format!("{}:{}", &*encoded(&credentials.client_id), &*encoded(secret)));
            let authorization = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(client.as_bytes())));
            let mut authorization = header::HeaderValue::from_str(&authorization)?;
            authorization.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Bytes::from_owner(Zeroizing::new(std::mem::take(&mut *form).into_bytes()));
        request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "offset-reset-operator")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
    }

    /// The token in an answer, with its lifetime.
    pub fn understand(
        &self,
        status: StatusCode,
        body: &[u8],
        credentials: &ClientCredentials,
    ) -> Result<(Secret, Duration), RawError> {
        if status == StatusCode::OK {
            return given(body).map_err(|why| self.failure(&format!("gives no token: its answer {why}")));
        }
        let said = serde_json::from_slice::<Refusal>(body).ok().and_then(|refusal| refusal.text(&credentials.client_secret));
        let code = status.as_u16();
        match (status.is_client_error(), said) {
            // RFC 6749, 5.2: the request was wrong.
            (true, Some(said)) if status != StatusCode::TOO_MANY_REQUESTS => {
                let hint = if said.starts_with("invalid_client") { hint(credentials) } else { String::new() };
                Err(self.refusal(&format!("{said}{hint}")))
            }
            (true, None) if matches!(code, 401 | 403) => Err(self.refusal(&format!("it answers {code} without a reason"))),
            (_, said) if status.is_redirection() || said.is_none() => {
                let hint = if status.is_redirection() { ", and redirects are not followed" } else { "" };
                Err(self.failure(&format!("answers {code}{hint}")))
            }
            (_, said) => Err(self.failure(&format!("answers {code}: {}", said.unwrap_or_default()))),
        }
    }
}

/// How else the endpoint may want the client's id and secret: not every one reads them as the
/// standard has it.
fn hint(credentials: &ClientCredentials) -> String {
    let other = if credentials.in_body {
        "in the header, see credentialsIn"
    } else if credentials.urlencode {
        "without percent-encoding or in the body, see headerUrlencode and credentialsIn"
    } else {
        "percent-encoded or in the body, see headerUrlencode and credentialsIn"
    };
    format!(" (if id and secret are right, this endpoint may want them {other} of spec.kafka.authentication)")
}

/// RFC 6749, 5.1. Other fields are ignored.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
}

fn given(body: &[u8]) -> Result<(Secret, Duration), &'static str> {
    // Without the parser's error, which may repeat the token.
    let given: Given = serde_json::from_slice(body).map_err(|_| "is not JSON with an access_token")?;
    if given.token_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("has a token that is not a bearer token");
    }
    // RFC 6750, 2.1.
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if given.access_token.is_empty() || !given.access_token.bytes().all(legal) {
        return Err("has a token with characters that no header allows");
    }
    let seconds = match &given.expires_in {
        None | Some(serde_json::Value::Null) => Some(LIFETIME.as_secs()),
        // A number; some endpoints write it in quotes.
        Some(value) => value.as_u64().or_else(|| value.as_str()?.parse().ok()),
    };
    let lifetime = Duration::from_secs(
        seconds.filter(|seconds| *seconds > 0).ok_or("has a token whose expires_in is not a number of seconds")?,
    );
    Ok((Secret::new(given.access_token), lifetime.min(LONGEST_LIFETIME)))
}

/// RFC 6749, 5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

impl Refusal {
    /// The endpoint's own texts, unless they repeat the secret.
    fn text(&self, secret: &Secret) -> Option<String> {
        let said = [Some(&self.error), self.error_description.as_ref()].into_iter().flatten();
        let said: Vec<String> = said.map(|text| plain(text)).filter(|text| !text.is_empty()).collect();
        let said = said.join(": ");
        let secret = secret.reveal();
        let repeated = [secret.to_owned(), encoded(secret), BASE64_STANDARD.encode(secret)];
        if repeated.iter().any(|secret| !secret.is_empty() && said.contains(secret.as_str())) {
            return Some("its answer is not shown because it repeats the secret".into());
        }
        Some(said).filter(|said| !said.is_empty())
    }
}

/// The characters that RFC 6749 allows in an error text, up to a limit.
fn plain(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~')).take(REPEATED).collect()
}

/// The characters that stay as they are in a form (RFC 6749, appendix B).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Why the endpoint's certificate is not trusted, with what to do; `None` when the certificate is
/// not the reason.
fn distrust(error: &HandshakeError, trusted: &Tls) -> Option<String> {
    Some(match Problem::of(error.certificate.as_raw())? {
        Problem::Issuer => match trusted {
            Tls::Trusted(_) => "the CA of its certificate is not among tlsTrustedCertificates".into(),
            Tls::Public => "the CA of its certificate is not a public one: set tlsTrustedCertificates".into(),
        },
        Problem::Name => "its certificate is for another name".into(),
        Problem::Expired => "its certificate has expired".into(),
        Problem::NotYetValid | Problem::Other => {
            format!("its certificate is not accepted: {}", error.certificate.error_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;

    const ENDPOINT: &str = "https://idp.example.com/oauth2/token";

    fn credentials() -> ClientCredentials {
        ClientCredentials {
            endpoint: ENDPOINT.into(),
            tls: Tls::Public,
            client_id: "orders".into(),
            client_secret: Secret::new("planted secret".into()),
            scope: Some("kafka read".into()),
            audience: None,
            urlencode: true,
            in_body: false,
            extensions: BTreeMap::new(),
        }
    }

    fn understand(status: u16, body: &str) -> Result<(Secret, Duration), RawError> {
        let (status, credentials) = (StatusCode::from_u16(status).unwrap(), credentials());
        Endpoint::parse(ENDPOINT).unwrap().understand(status, body.as_bytes(), &credentials)
    }

    #[rstest]
    #[case::as_it_should_be(r#"{"access_token":"a.b.c","token_type":"Bearer","expires_in":300,"scope":"x"}"#, 300)]
    #[case::in_quotes(r#"{"access_token":"a.b.c","token_type":"bearer","expires_in":"300"}"#, 300)]
    #[case::not_told(r#"{"access_token":"a.b.c"}"#, 60)]
    #[case::for_ever(r#"{"access_token":"a.b.c","expires_in":99999999999}"#, 86_400)]
    fn a_token_is_given(#[case] body: &str, #[case] seconds: u64) {
        let (token, lifetime) = understand(200, body).unwrap();
        assert_eq!((token.reveal(), lifetime), ("a.b.c", Duration::from_secs(seconds)));
    }

    #[rstest]
    #[case::a_page(200, "<html>planted</html>", TOKEN_ENDPOINT, "gives no token: its answer is not JSON with an access_token")]
    #[case::another_kind(200, r#"{"access_token":"a","token_type":"mac"}"#, TOKEN_ENDPOINT, "not a bearer token")]
    #[case::a_gap(200, r#"{"access_token":"a b"}"#, TOKEN_ENDPOINT, "characters that no header allows")]
    #[case::empty(200, r#"{"access_token":""}"#, TOKEN_ENDPOINT, "characters that no header allows")]
    #[case::a_control_character(200, "{\"access_token\":\"a\\u0001b\"}", TOKEN_ENDPOINT, "characters that no header allows")]
    #[case::over_at_once(200, r#"{"access_token":"a","expires_in":0}"#, TOKEN_ENDPOINT, "expires_in is not a number of seconds")]
    #[case::never_begun(200, r#"{"access_token":"a","expires_in":-5}"#, TOKEN_ENDPOINT, "expires_in is not a number of seconds")]
    #[case::wrong_secret(
        401,
        r#"{"error":"invalid_client","error_description":"Bad secret"}"#,
        NOT_AUTHENTICATED,
        "did not accept the client: invalid_client: Bad secret"
    )]
    #[case::wrong_scope(400, r#"{"error":"invalid_scope"}"#, NOT_AUTHENTICATED, "did not accept the client: invalid_scope")]
    #[case::without_words(401, "", NOT_AUTHENTICATED, "it answers 401 without a reason")]
    #[case::an_echo(
        400,
        r#"{"error":"invalid_request","error_description":"secret is planted secret"}"#,
        NOT_AUTHENTICATED,
        "not shown"
    )]
    #[case::an_encoded_echo(400, r#"{"error":"cGxhbnRlZCBzZWNyZXQ="}"#, NOT_AUTHENTICATED, "not shown")]
    #[case::elsewhere(302, "", TOKEN_ENDPOINT, "answers 302, and redirects are not followed")]
    #[case::a_wrong_path(404, "planted", TOKEN_ENDPOINT, "answers 404")]
    #[case::too_often(429, r#"{"error":"slow_down"}"#, TOKEN_ENDPOINT, "answers 429: slow_down")]
    #[case::broken(503, r#"{"error":"temporarily_unavailable"}"#, TOKEN_ENDPOINT, "answers 503: temporarily_unavailable")]
    fn refusals_and_failures_are_told_apart(#[case] status: u16, #[case] body: &str, #[case] code: i32, #[case] words: &str) {
        let raw = understand(status, body).unwrap_err();
        assert_eq!(raw.code, code, "{raw:?}");
        assert!(raw.text.contains(words) && raw.text.contains(ENDPOINT) && !raw.text.contains("planted"), "{raw:?}");
    }

    #[test]
    fn an_endpoints_error_text_is_bounded_and_printable() {
        let error = format!("{}\u{1b}[31m\r\n{}", "x".repeat(10), "y".repeat(10_000));
        let raw = understand(400, &serde_json::json!({ "error": error }).to_string()).unwrap_err();
        assert!(raw.text.len() < 400 && raw.text.chars().all(|c| matches!(c, ' '..='~')), "{raw:?}");
    }

    #[rstest]
    #[case("https://idp.example.com/oauth2/token", "idp.example.com", 443, "/oauth2/token")]
    #[case("https://idp.example.com:8443", "idp.example.com", 8443, "/")]
    #[case("https://[2001:db8::1]:8443/token", "2001:db8::1", 8443, "/token")]
    fn an_address_is_split_into_its_parts(#[case] address: &str, #[case] host: &str, #[case] port: u16, #[case] path: &str) {
        let endpoint = Endpoint::parse(address).unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.path.as_str()), (host, port, path));
    }

    #[rstest]
    #[case("http://idp.example.com/token")]
    #[case("https://user@idp.example.com/token")]
    #[case("https:///token")]
    #[case("idp.example.com")]
    #[case("https://idp.example.com/a b")]
    fn an_address_without_https_or_host_is_refused(#[case] address: &str) {
        assert!(Endpoint::parse(address).is_err());
    }

    /// What the endpoint receives: the header's id and secret, and the form.
    #[rstest]
    #[case::as_the_standard_has_it(
        true,
        false,
        Some("orders:p%2Bq%2Fr%3D%2541"),
        "&scope=kafka%20read&audience=https%3A%2F%2Fkafka"
    )]
    #[case::as_they_are(false, false, Some("orders:p+q/r=%41"), "&scope=kafka%20read&audience=https%3A%2F%2Fkafka")]
    #[case::in_the_body(
        true,
        true,
        None,
        "&scope=kafka%20read&audience=https%3A%2F%2Fkafka&client_id=orders&client_secret=p%2Bq%2Fr%3D%2541"
    )]
    #[tokio::test]
    async fn id_and_secret_are_sent_as_the_endpoint_wants_them(
        #[case] urlencode: bool,
        #[case] in_body: bool,
        #[case] shown: Option<&str>,
        #[case] form: &str,
    ) {
        let credentials = ClientCredentials {
            client_secret: Secret::new("p+q/r=%41".into()),
            audience: Some("https://kafka".into()),
            urlencode,
            in_body,
            ..credentials()
        };
        let request = Endpoint::parse(ENDPOINT).unwrap().request(&credentials).unwrap();
        let header = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header, shown.map(|shown| format!("Basic {}", BASE64_STANDARD.encode(shown))));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(std::str::from_utf8(&body).unwrap(), format!("grant_type=client_credentials{form}"));
    }

    #[rstest]
    #[case::encoded(true, false, "may want them without percent-encoding or in the body, see headerUrlencode and credentialsIn")]
    #[case::as_they_are(false, false, "may want them percent-encoded or in the body")]
    #[case::in_the_body(true, true, "may want them in the header, see credentialsIn")]
    fn a_refused_client_says_how_else_it_may_be_sent(#[case] urlencode: bool, #[case] in_body: bool, #[case] words: &str) {
        let credentials = ClientCredentials { urlencode, in_body, ..credentials() };
        let endpoint = Endpoint::parse(ENDPOINT).unwrap();
        let raw = endpoint.understand(StatusCode::UNAUTHORIZED, br#"{"error":"invalid_client"}"#, &credentials).unwrap_err();
        assert!(raw.text.contains(words), "{raw:?}");
        let raw = endpoint.understand(StatusCode::BAD_REQUEST, br#"{"error":"invalid_scope"}"#, &credentials).unwrap_err();
        assert!(!raw.text.contains("may want"), "{raw:?}");
    }

    #[test]
    fn the_request_is_as_the_standard_has_it() {
        let credentials = credentials();
        let request = Endpoint::parse(ENDPOINT).unwrap().request(&credentials).unwrap();
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/oauth2/token"));
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("host"), "idp.example.com");
        assert_eq!(header("authorization"), format!("Basic {}", BASE64_STANDARD.encode("orders:planted%20secret")));
        assert!(!format!("{request:?}").contains("Basic"), "{request:?}");
        assert_eq!(encoded("kafka read&x=é"), "kafka%20read%26x%3D%C3%A9");
    }
}
