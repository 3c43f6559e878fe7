//! A token endpoint, served over TLS, and a broker's listener that believes what it signs.

use std::{
    fmt::Write,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    routing::post,
    serve::Listener,
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rcgen::SanType;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::stand::{Authority, VALID, acceptor};

/// The listener that wants tokens.
pub const TOKENS: &str = "127.0.0.1:9500";

/// The client's secret; what must not be seen of it is this, and what it becomes on its way.
pub const CLIENT_SECRET: &str = "planted-client secret/1";

const ISSUER: &str = "https://idp.example.com";
const AUDIENCE: &str = "kafka";

/// A key that signs tokens.
pub struct Signer(EcdsaKeyPair);

impl Signer {
    pub fn new() -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random).unwrap())
    }

    /// What it signs with, for who believes it.
    fn published(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let coordinate = |at: usize| BASE64_URL_SAFE_NO_PAD.encode(&point[at..at + 32]);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", "x": coordinate(1), "y": coordinate(33)}]})
    }

    fn token(&self, subject: &str, lifetime: Duration) -> String {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "scope": "kafka", "iat": now,
            "exp": now + i64::try_from(lifetime.as_secs()).unwrap(),
        });
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(json!({"alg": "ES256", "typ": "JWT", "kid": "1"})), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A broker's properties with a listener for what `signer` signs.
pub fn with_listener(properties: &str, dir: &Path, signer: &Signer) -> String {
    let keys = dir.join("jwks.json");
    fs::write(&keys, signer.published().to_string()).unwrap();
    let mut all = String::new();
    for line in properties.lines() {
        let (name, value) = line.split_once('=').unwrap();
        let more = match name {
            "listeners" | "advertised.listeners" => format!(",TOKENS://{TOKENS}"),
            "listener.security.protocol.map" => ",TOKENS:SASL_SSL".into(),
            _ => String::new(),
        };
        writeln!(all, "{name}={value}{more}").unwrap();
    }
    let of_the_listener = [
        ("sasl.enabled.mechanisms", "OAUTHBEARER"),
        ("oauthbearer.sasl.jaas.config", "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"),
        (
            "oauthbearer.sasl.server.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
        ),
        // A connection does not outlive its token.
        ("oauthbearer.connections.max.reauth.ms", "3600000"),
    ];
    for (name, value) in of_the_listener {
        writeln!(all, "listener.name.tokens.{name}={value}").unwrap();
    }
    let keys = format!("file://{}", keys.display());
    for (name, value) in [("jwks.endpoint.url", keys.as_str()), ("expected.issuer", ISSUER), ("expected.audience", AUDIENCE)] {
        writeln!(all, "sasl.oauthbearer.{name}={value}").unwrap();
    }
    all
}

/// What a broker's virtual machine is told, so that it may read those keys.
pub fn allowed(dir: &Path) -> [String; 2] {
    let keys = dir.join("jwks.json").display().to_string();
    [
        format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{keys}"),
        format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={keys}"),
    ]
}

/// A token endpoint. What it gives depends on the client: `orders` a token for five minutes, `short` for a few seconds, `strange` one that
/// somebody else has signed; `busy` none at the moment, `page` a web page, `echo` its own secret.
pub struct Endpoint {
    pub address: String,
    /// How many requests have arrived.
    asked: Arc<AtomicUsize>,
    /// How many tokens were given.
    pub given: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long a token of `short` lives.
pub const SHORT: Duration = Duration::from_secs(6);

impl Endpoint {
    pub async fn start(authority: &Authority, signer: Arc<Signer>) -> Self {
        let (certificate, key) = authority.sign_for("idp", Some(SanType::IpAddress("127.0.0.1".parse().unwrap())), VALID);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}/oauth2/token", listener.local_addr().unwrap());
        let listener = Encrypted { listener, acceptor: acceptor(&[&certificate], &key) };
        let (asked, (count, given)) = (Arc::new(AtomicUsize::new(0)), watch::channel(0));
        let counted = Arc::clone(&asked);
        let strange = Arc::new(Signer::new());
        let answer = move |headers: HeaderMap, form: String| {
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = answer(&headers, &form, &signer, &strange);
            if answer.0 == StatusCode::OK {
                count.send_modify(|count| *count += 1);
            }
            std::future::ready(answer)
        };
        let router = Router::new().route("/oauth2/token", post(answer));
        let task = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { address, asked, given, task }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn answer(headers: &HeaderMap, form: &str, signer: &Signer, strange: &Signer) -> (StatusCode, String) {
    let refused = |error: &str| (StatusCode::UNAUTHORIZED, json!({"error": error, "error_description": "no"}).to_string());
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let shown = shown.and_then(|shown| String::from_utf8(BASE64_STANDARD.decode(shown).ok()?).ok()).unwrap_or_default();
    // Both as in a form (RFC 6749, 2.3.1).
    let Some((client, "planted-client%20secret%2F1")) = shown.split_once(':') else { return refused("invalid_client") };
    if form != "grant_type=client_credentials&scope=kafka" {
        return (StatusCode::BAD_REQUEST, json!({"error": "invalid_scope"}).to_string());
    }
    let (signer, lifetime) = match client {
        "orders" => (signer, Duration::from_mins(5)),
        "short" => (signer, SHORT),
        "strange" => (strange, Duration::from_mins(5)),
        "busy" => return (StatusCode::SERVICE_UNAVAILABLE, json!({"error": "temporarily_unavailable"}).to_string()),
        "page" => return (StatusCode::OK, "<html>Welcome</html>".into()),
        "echo" => return (StatusCode::BAD_REQUEST, json!({"error": "invalid_request", "error_description": shown}).to_string()),
        _ => return refused("invalid_client"),
    };
    let given = json!({"access_token": signer.token(client, lifetime), "token_type": "Bearer", "expires_in": lifetime.as_secs()});
    (StatusCode::OK, given.to_string())
}

/// Accepts what has shaken hands.
struct Encrypted {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
