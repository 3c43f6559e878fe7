//! Tokens by OAuth 2.0's client credentials grant (RFC 6749, 4.4), kept until four fifths of
//! their lifetime have passed. The caller decides which endpoints are allowed.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Mutex;

use super::token_endpoint::Endpoint;
use crate::kafka::{
    connection::{ClientCredentials, Secret},
    ffi::RawError,
};

/// The time limit of a whole request.
const LIMIT: Duration = Duration::from_secs(10);

/// An access token.
pub(in crate::kafka) struct Token {
    text: Secret,
    /// When it was requested, and its lifetime from then on.
    asked: Instant,
    lifetime: Duration,
    /// When it expires, in milliseconds since the epoch.
    pub expires: i64,
}

impl Token {
    /// The token itself, for an authentication.
    pub fn reveal(&self) -> &str {
        self.text.reveal()
    }

    pub fn is_valid(&self, now: Instant) -> bool {
        now.duration_since(self.asked) < self.lifetime
    }

    /// Whether enough of its lifetime remains for a new authentication: a fifth.
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.asked) < self.lifetime * 4 / 5
    }
}

/// The tokens of a connection.
pub(in crate::kafka) struct Tokens {
    credentials: ClientCredentials,
    current: Mutex<Option<Arc<Token>>>,
}

impl Tokens {
    /// Without a token so far.
    pub fn new(credentials: ClientCredentials) -> Self {
        Self { credentials, current: Mutex::default() }
    }

    /// The client that the tokens are for.
    pub fn principal(&self) -> &str {
        &self.credentials.client_id
    }

    /// What the brokers receive beside a token.
    pub fn extensions(&self) -> &BTreeMap<String, String> {
        &self.credentials.extensions
    }

    /// A fresh token: the current one, or a new one from the endpoint. One request at a time.
    ///
    /// # Errors
    /// When the endpoint gives none, and the current one has expired.
    pub async fn fresh(&self) -> Result<Arc<Token>, RawError> {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| token.is_fresh(Instant::now())) {
            return Ok(Arc::clone(token));
        }
        match fetch(&self.credentials).await {
            Ok(token) => Ok(Arc::clone(current.insert(Arc::new(token)))),
            Err(raw) => match current.as_ref().filter(|token| token.is_valid(Instant::now())) {
                Some(token) => {
                    tracing::warn!(error = raw.text, "cannot get a new token; the current one is used until it expires");
                    Ok(Arc::clone(token))
                }
                None => Err(raw),
            },
        }
    }

    /// Drops a token that a broker did not accept.
    pub async fn refused(&self, token: &Arc<Token>) {
        self.current.lock().await.take_if(|current| Arc::ptr_eq(current, token));
    }
}

async fn fetch(credentials: &ClientCredentials) -> Result<Token, RawError> {
    let endpoint = Endpoint::parse(&credentials.endpoint)?;
    let asked = (Instant::now(), SystemTime::now());
    let Ok(answer) = tokio::time::timeout(LIMIT, endpoint.ask(credentials)).await else {
        return Err(endpoint.failure(&format!("does not answer within {} seconds", LIMIT.as_secs())));
    };
    let (status, body) = answer?;
    let (text, lifetime) = endpoint.understand(status, &body, credentials)?;
    let expires = asked.1.duration_since(UNIX_EPOCH).unwrap_or_default() + lifetime;
    Ok(Token { text, asked: asked.0, lifetime, expires: i64::try_from(expires.as_millis()).unwrap_or(i64::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_fresh_for_four_fifths_of_its_lifetime() {
        let asked = Instant::now();
        let token = Token { text: Secret::new("planted".into()), asked, lifetime: Duration::from_secs(10), expires: 0 };
        let at = |seconds: u64| asked + Duration::from_secs(seconds);
        assert_eq!([0, 7, 8, 9, 10].map(|second| token.is_fresh(at(second))), [true, true, false, false, false]);
        assert_eq!([9, 10].map(|second| token.is_valid(at(second))), [true, false]);
    }
}
