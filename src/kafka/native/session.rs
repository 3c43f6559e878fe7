//! A connection's librdkafka client: created when needed, replaced when it is stuck, and checked
//! before each call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::runtime::Handle as Runtime;

use super::properties::{self, Context};
use crate::kafka::{
    auth::oauth::{Token, Tokens},
    connection::{Authentication, Connection},
    diagnostics::{
        error_codes::{self, ALL_BROKERS_DOWN, NOT_AUTHENTICATED, TRANSPORT, is_coordinator, kind, outcome_unknown},
        log_causes::Cause,
        unreachable::unreached,
    },
    ffi::{self, Handle, RawError},
};

/// The time limit until any broker answers, without and with a known cause why none does; and the
/// limit of each attempt.
const REACH_LIMIT: Duration = Duration::from_secs(5);
const REACH_LIMIT_WITH_CAUSE: Duration = Duration::from_secs(2);
const REACH_ATTEMPT: Duration = Duration::from_secs(1);

/// A topic whose metadata many clients request anyway. It need not exist.
const PROBED_TOPIC: &str = "__consumer_offsets";

/// The most bootstrap servers: the client has a thread for each, and a list in a Secret has no
/// other limit.
const MAX_BOOTSTRAP_SERVERS: usize = 256;

/// How often a request is sent while the group's coordinator is moving or being elected, and the
/// pause between two attempts.
const COORDINATOR_ATTEMPTS: u32 = 20;
const COORDINATOR_PAUSE: Duration = Duration::from_millis(250);

/// No attempt begins after that time: the coordinator may take seconds to answer that it cannot
/// write (15, when too few replicas are in sync), and the caller may hold consumers at zero.
const COORDINATOR_LIMIT: Duration = Duration::from_secs(20);

/// After this many attempts the client is replaced, see [`Session::with_coordinator`].
const ATTEMPTS_PER_CLIENT: u32 = 4;

/// `GROUP_AUTHORIZATION_FAILED`.
const GROUP_NOT_AUTHORIZED: i32 = 30;

/// librdkafka's client.
pub(super) type Native = BaseConsumer<Context>;

/// A connection with at most one librdkafka client at a time. All methods block, unless they are
/// async.
pub(super) struct Session {
    connection: Connection,
    tokens: Option<Tokens>,
    current: Mutex<Option<Current>>,
    /// The last failure of [`Session::reach`], and when. Locked during that check.
    unreached: Mutex<Option<(Instant, RawError)>>,
}

struct Current {
    native: Arc<Native>,
    has_group: bool,
}

impl Session {
    /// Creates the client, without a network call.
    ///
    /// # Errors
    /// When librdkafka does not accept the connection's properties.
    pub fn open(connection: &Connection) -> Result<Self, RawError> {
        names_brokers(connection)?;
        ffi::trust_intermediates()?;
        let tokens = match &connection.authentication {
            Some(Authentication::Token(credentials)) => Some(Tokens::new(credentials.clone())),
            Some(Authentication::Certificate { .. } | Authentication::Password { .. }) | None => None,
        };
        let (current, unreached) = (Mutex::default(), Mutex::default());
        let session = Self { connection: connection.clone(), tokens, current, unreached };
        session.native(None)?;
        Ok(session)
    }

    /// The current client, which has a group when `group` is given.
    fn native(&self, group: Option<&str>) -> Result<Arc<Native>, RawError> {
        let mut current = self.current.lock();
        if let Some(current) = &*current
            && (current.has_group || group.is_none())
        {
            return Ok(Arc::clone(&current.native));
        }
        let native = properties::client(&self.connection, group).map_err(|error| error_codes::of_rdkafka(&error))?;
        let native = Arc::new(native);
        let replaced = current.replace(Current { native: Arc::clone(&native), has_group: group.is_some() });
        // Closing takes a while, and happens after the calls that still use the old client.
        drop(current);
        drop(replaced);
        Ok(native)
    }

    /// Drops a client; the next call creates another.
    fn discard(&self, native: &Arc<Native>) {
        let discarded = self.current.lock().take_if(|current| Arc::ptr_eq(&current.native, native));
        drop(discarded);
    }

    /// Runs a call on the client. Checks first whether any broker answers, unless that is known.
    pub fn ask<T>(&self, group: Option<&str>, call: impl FnOnce(&Native) -> Result<T, RawError>) -> Result<T, RawError> {
        let native = self.native(group)?;
        self.ask_on(&native, call)
    }

    fn ask_on<T>(&self, native: &Arc<Native>, call: impl FnOnce(&Native) -> Result<T, RawError>) -> Result<T, RawError> {
        let token = self.authorize(native)?;
        drain_events(native);
        if native.context().health().lacks_threads {
            self.discard(native);
            return Err(without_threads(&self.connection));
        }
        if !native.context().health().answers
            && let Err(raw) = self.reach(native)
        {
            let Some(token) = token.filter(|_| raw.code == NOT_AUTHENTICATED) else { return Err(raw) };
            Runtime::current().block_on(self.refused(&token));
            self.discard(native);
            if !token.is_valid(Instant::now()) {
                return Err(expired(&raw));
            }
            let why = format!("the brokers did not accept the token from the token endpoint: {}", raw.text);
            return Err(RawError { text: why, ..raw });
        }
        let mut answer = call(native);
        if let (Some(token), Err(raw)) = (&token, &mut answer)
            && raw.code == NOT_AUTHENTICATED
        {
            Runtime::current().block_on(self.refused(token));
            if !token.is_valid(Instant::now()) {
                *raw = expired(raw);
            }
        }
        if answer.is_err() && native.context().health().lacks_threads {
            self.discard(native);
            return Err(without_threads(&self.connection));
        }
        // A connection that broke during the call, or before it and unnoticed: only the log says why.
        if let Err(raw) = &mut answer
            && raw.code == TRANSPORT
        {
            drain_events(native);
            if let Some(cause) = native.context().health().cause {
                raw.text = self.broken(cause);
            }
        }
        match &answer {
            // Closing the client ends its pending requests: one about a group must not outlive the
            // call, see `ffi`.
            Err(raw) if outcome_unknown(kind(raw.code)) => {
                native.context().doubt();
                self.discard(native);
            }
            // The client would keep looking for the coordinator of a group that it may not
            // describe.
            Err(raw) if raw.code == GROUP_NOT_AUTHORIZED => self.discard(native),
            Ok(_) | Err(_) => native.context().answered(),
        }
        answer
    }

    /// The text of an error about a connection that broke. The last cause in the log may be another broker's.
    fn broken(&self, cause: Cause) -> String {
        if cause.is_lasting() {
            return unreached(Some(cause), &self.connection, REACH_LIMIT).text;
        }
        format!("a connection to the brokers broke ({})", cause.text)
    }

    /// Runs a call about a group, and repeats it while the group's coordinator is being found.
    ///
    /// librdkafka caches a group's coordinator, and keeps it even when that broker answers that it
    /// is not the coordinator (2.12.1: the admin API never evicts an entry, and each use keeps it
    /// alive). Only a new client asks again.
    pub fn with_coordinator<T>(
        &self,
        group: &str,
        ask: impl Fn(&Native) -> Result<T, RawError>,
        is_settled: impl Fn(&T) -> bool,
    ) -> Result<T, RawError> {
        let (mut attempt, begin) = (1, Instant::now());
        loop {
            let native = self.native(Some(group))?;
            let answer = self.ask_on(&native, &ask);
            let settled = match &answer {
                Ok(value) => is_settled(value),
                Err(raw) => !is_coordinator(raw),
            };
            if settled || attempt >= COORDINATOR_ATTEMPTS || begin.elapsed() >= COORDINATOR_LIMIT {
                return answer;
            }
            if attempt % ATTEMPTS_PER_CLIENT == 1 {
                self.discard(&native);
            }
            attempt += 1;
            std::thread::sleep(COORDINATOR_PAUSE);
        }
    }

    /// The token to authenticate with; `None` when the connection authenticates without tokens.
    ///
    /// # Errors
    /// When the token endpoint gives none.
    pub async fn token(&self) -> Result<Option<Arc<Token>>, RawError> {
        match &self.tokens {
            Some(tokens) => tokens.fresh().await.map(Some),
            None => Ok(None),
        }
    }

    /// Gives the current token to a client. Before each call, and not when librdkafka requests a
    /// token: so the call itself reports an error of the token endpoint, and an unused client
    /// requests no tokens.
    fn authorize(&self, native: &Native) -> Result<Option<Arc<Token>>, RawError> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let token = Runtime::current().block_on(tokens.fresh())?;
        native.context().set_token(&token, || {
            ffi::set_token(
                Handle::new(native.client().native_ptr()),
                token.reveal(),
                token.expires,
                tokens.principal(),
                tokens.extensions(),
            )
        })?;
        Ok(Some(token))
    }

    /// Checks whether any broker answers. One check runs at a time; calls that waited for it share
    /// its result.
    fn reach(&self, native: &Native) -> Result<(), RawError> {
        let asked = Instant::now();
        let mut last = self.unreached.lock();
        if native.context().health().answers {
            return Ok(());
        }
        if let Some((_, raw)) = last.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(raw.clone());
        }
        let found = reach(native, &self.connection);
        *last = found.as_ref().err().map(|raw| (Instant::now(), raw.clone()));
        found
    }

    /// Drops a token that the brokers did not accept; the next call uses another one.
    pub async fn refused(&self, token: &Arc<Token>) {
        if let Some(tokens) = &self.tokens {
            tokens.refused(token).await;
        }
    }
}

/// Checks that there is a bootstrap server: without one, librdkafka creates a client that waits
/// forever. And that there are not too many.
///
/// # Errors
/// When there is none, or too many.
pub(in crate::kafka) fn names_brokers(connection: &Connection) -> Result<(), RawError> {
    let brokers = &connection.bootstrap_servers;
    if brokers.iter().next().is_none() || brokers.iter().any(|broker| broker.as_str().contains('\0')) {
        return Err(RawError::invalid("there is no bootstrap server"));
    }
    let count = brokers.iter().count();
    if count > MAX_BOOTSTRAP_SERVERS {
        let problem = format!(
            "there are {count} bootstrap servers, more than the {MAX_BOOTSTRAP_SERVERS} that are allowed. Name a few: they report all \
             others of their cluster"
        );
        return Err(RawError::invalid(problem));
    }
    Ok(())
}

/// The error of a client that could not start a thread for each broker: without it, requests to
/// that broker would only time out.
fn without_threads(connection: &Connection) -> RawError {
    let text = format!(
        "the Kafka client for {} cannot start a thread for each broker of its cluster: the operator's pod has too little memory, or too \
         few processes are allowed in it (podPidsLimit of the kubelet, pids.max of the container)",
        connection.bootstrap_servers
    );
    RawError { code: ALL_BROKERS_DOWN, text }
}

/// A token that expired before a broker checked it shows nothing about the credentials: the next call gets a new token.
fn expired(raw: &RawError) -> RawError {
    RawError { code: ALL_BROKERS_DOWN, text: format!("the token expired before the brokers had accepted it: {}", raw.text) }
}

/// Checks within seconds whether any broker answers; the error gives the cause why not.
fn reach(native: &Native, connection: &Connection) -> Result<(), RawError> {
    let begin = Instant::now();
    loop {
        if ffi::topic_leaders(Handle::new(native.client().native_ptr()), &[PROBED_TOPIC], REACH_ATTEMPT).is_ok() {
            native.context().answered();
            return Ok(());
        }
        drain_events(native);
        let health = native.context().health();
        if health.rejected {
            let why = health.cause.map_or_else(|| "the credentials were not accepted".into(), |cause| cause.text);
            return Err(RawError { code: NOT_AUTHENTICATED, text: why });
        }
        // A few attempts get over a broker's restart; with a known cause a shorter wait is enough.
        let limit = if health.cause.is_some() { REACH_LIMIT_WITH_CAUSE } else { REACH_LIMIT };
        if begin.elapsed() >= limit || health.cause.as_ref().is_some_and(Cause::is_lasting) {
            return Err(unreached(health.cause, connection, limit));
        }
    }
}

/// Passes librdkafka's queued events to the client's context: only they report why a connection
/// failed, and unread events pile up.
fn drain_events(native: &Native) {
    // With a timeout of zero, poll returns nothing; with a millisecond, it returns the queued
    // events.
    while native.poll(Duration::from_millis(1)).is_some() {}
}
