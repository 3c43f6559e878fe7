//! A connection's client: made when needed, replaced when it is stuck, looked after before each call.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::runtime::Handle as Runtime;

use super::properties::{self, Context};
use crate::kafka::{
    auth::oauth::{Token, Tokens},
    connection::{Authentication, Connection},
    diagnostics::{
        error_codes::{self, NOT_AUTHENTICATED, is_coordinator, is_silence},
        log_causes::Cause,
        unreachable::unreached,
    },
    ffi::{self, Fault, Handle},
};

/// How long it may take until any broker answers at all, and how long when it is known why none does.
const REACH_LIMIT: Duration = Duration::from_secs(5);
const REACH_LIMIT_WITH_CAUSE: Duration = Duration::from_secs(2);
const REACH_ATTEMPT: Duration = Duration::from_secs(1);

/// A topic that every cluster may have and nobody is surprised to see asked for. It does not matter whether it exists.
const PROBED_TOPIC: &str = "__consumer_offsets";

/// A group's coordinator may be moving, or be created for the first time. Tried again this often, each time after a pause.
const COORDINATOR_ATTEMPTS: u32 = 20;
const COORDINATOR_PAUSE: Duration = Duration::from_millis(250);

/// But not begun again after that long: the coordinator may take seconds to say that it cannot write (15, when too few of its replicas
/// are in sync), and whoever waits may have consumers at zero.
const COORDINATOR_LIMIT: Duration = Duration::from_secs(20);

/// Every so many of these attempts begin with a new client, see [`Session::with_coordinator`].
const ATTEMPTS_PER_CLIENT: u32 = 4;

/// `GROUP_AUTHORIZATION_FAILED`.
const GROUP_NOT_AUTHORIZED: i32 = 30;

pub(super) type Native = BaseConsumer<Context>;

/// What stands behind a port: at most one client at a time. All methods block.
pub(super) struct Session {
    connection: Connection,
    tokens: Option<Tokens>,
    current: Mutex<Option<Current>>,
    /// How the last look whether any broker answers has failed, and when. Held while somebody looks.
    unreached: Mutex<Option<(Instant, Fault)>>,
}

struct Current {
    native: Arc<Native>,
    has_group: bool,
}

impl Session {
    /// Makes the client, without any call over the network.
    ///
    /// # Errors
    /// When the connection's properties make no client.
    pub fn open(connection: &Connection) -> Result<Self, Fault> {
        names_brokers(connection)?;
        let tokens = match &connection.authentication {
            Some(Authentication::Token(credentials)) => Some(Tokens::new(credentials.clone())),
            Some(Authentication::Certificate { .. } | Authentication::Password { .. }) | None => None,
        };
        let (current, unreached) = (Mutex::default(), Mutex::default());
        let session = Self { connection: connection.clone(), tokens, current, unreached };
        session.native(None)?;
        Ok(session)
    }

    /// The client, with a group when `group` is given.
    fn native(&self, group: Option<&str>) -> Result<Arc<Native>, Fault> {
        let mut current = self.lock();
        if let Some(current) = &*current
            && (current.has_group || group.is_none())
        {
            return Ok(Arc::clone(&current.native));
        }
        let native = properties::client(&self.connection, group).map_err(|error| error_codes::of_rdkafka(&error))?;
        let native = Arc::new(native);
        let replaced = current.replace(Current { native: Arc::clone(&native), has_group: group.is_some() });
        // Closing takes its time, and calls that still use the old client end first.
        drop(current);
        drop(replaced);
        Ok(native)
    }

    /// Lets go of a client; the next call makes another.
    fn discard(&self, native: &Arc<Native>) {
        let discarded = self.lock().take_if(|current| Arc::ptr_eq(&current.native, native));
        drop(discarded);
    }

    /// Runs a call on the client, after a look whether any broker answers when that is not known.
    pub fn ask<T>(&self, group: Option<&str>, call: impl FnOnce(&Native) -> Result<T, Fault>) -> Result<T, Fault> {
        let native = self.native(group)?;
        self.ask_on(&native, call)
    }

    fn ask_on<T>(&self, native: &Arc<Native>, call: impl FnOnce(&Native) -> Result<T, Fault>) -> Result<T, Fault> {
        let token = self.authorize(native)?;
        hear(native);
        if !native.context().health().answers
            && let Err(fault) = self.reach(native)
        {
            let Some(token) = token.filter(|_| fault.code == NOT_AUTHENTICATED) else { return Err(fault) };
            Runtime::current().block_on(self.refused(&token));
            self.discard(native);
            let why = format!("the brokers did not accept the token that the token endpoint has given: {}", fault.text);
            return Err(Fault { text: why, ..fault });
        }
        let answer = call(native);
        if let (Some(token), Err(Fault { code: NOT_AUTHENTICATED, .. })) = (&token, &answer) {
            Runtime::current().block_on(self.refused(token));
        }
        match &answer {
            // What librdkafka still waits for goes with the client: a question about a group must not outlive it, see `ffi`.
            Err(fault) if is_silence(fault.code) => {
                native.context().doubt();
                self.discard(native);
            }
            // The client would go on looking for the coordinator of a group that it may not see.
            Err(fault) if fault.code == GROUP_NOT_AUTHORIZED => self.discard(native),
            Ok(_) | Err(_) => native.context().answered(),
        }
        answer
    }

    /// Runs a call about a group, again while its coordinator is being found.
    ///
    /// librdkafka remembers a group's coordinator, and does not forget it when that broker says that it is not
    /// (2.12.1: nothing in the admin API evicts its cache, and each use keeps the entry alive). Only a new client asks anew.
    pub fn with_coordinator<T>(
        &self,
        group: &str,
        ask: impl Fn(&Native) -> Result<T, Fault>,
        is_settled: impl Fn(&T) -> bool,
    ) -> Result<T, Fault> {
        let (mut attempt, begin) = (1, Instant::now());
        loop {
            let native = self.native(Some(group))?;
            let answer = self.ask_on(&native, &ask);
            let settled = match &answer {
                Ok(value) => is_settled(value),
                Err(fault) => !is_coordinator(fault),
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

    /// The token that is to be shown, where that is how we say who we are.
    ///
    /// # Errors
    /// When there is none.
    pub async fn token(&self) -> Result<Option<Arc<Token>>, Fault> {
        match &self.tokens {
            Some(tokens) => tokens.fresh().await.map(Some),
            None => Ok(None),
        }
    }

    /// Gives a client the token that it shows to the brokers, when it has not got it yet. Before each call, and not when librdkafka asks for
    /// one: so that the call itself ends with what is wrong with it, and a client that nobody uses asks for none.
    fn authorize(&self, native: &Native) -> Result<Option<Arc<Token>>, Fault> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let token = Runtime::current().block_on(tokens.fresh())?;
        native.context().show(&token, || {
            ffi::set_token(Handle::new(native.client().native_ptr()), token.reveal(), token.expires, tokens.principal())
        })?;
        Ok(Some(token))
    }

    /// Whether any broker answers. One looks at a time; those that have waited for it meanwhile take what it has found.
    fn reach(&self, native: &Native) -> Result<(), Fault> {
        let asked = Instant::now();
        let mut last = self.unreached.lock().unwrap_or_else(PoisonError::into_inner);
        if native.context().health().answers {
            return Ok(());
        }
        if let Some((_, fault)) = last.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(fault.clone());
        }
        let found = reach(native, &self.connection);
        *last = found.as_ref().err().map(|fault| (Instant::now(), fault.clone()));
        found
    }

    /// The brokers did not accept it: the next call shows another one.
    pub async fn refused(&self, token: &Arc<Token>) {
        if let Some(tokens) = &self.tokens {
            tokens.refused(token).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// librdkafka makes a client without any broker to ask, and waits.
///
/// # Errors
/// When no bootstrap server is named.
pub(in crate::kafka) fn names_brokers(connection: &Connection) -> Result<(), Fault> {
    let brokers = &connection.bootstrap_servers;
    if brokers.contains('\0') || brokers.split(',').all(|broker| broker.trim().is_empty()) {
        return Err(Fault { code: ffi::INVALID_ARGUMENT, text: "no bootstrap server is named".into() });
    }
    Ok(())
}

/// Whether any broker answers, found out within seconds; the fault says why not.
fn reach(native: &Native, connection: &Connection) -> Result<(), Fault> {
    let begin = Instant::now();
    loop {
        if ffi::topic_leaders(Handle::new(native.client().native_ptr()), PROBED_TOPIC, REACH_ATTEMPT).is_ok() {
            native.context().answered();
            return Ok(());
        }
        hear(native);
        let health = native.context().health();
        if health.rejected {
            let why = health.cause.map_or_else(|| "the credentials were not accepted".into(), |cause| cause.words);
            return Err(Fault { code: NOT_AUTHENTICATED, text: why });
        }
        // A few attempts see a broker that is just being restarted; with a cause there is no point in the whole wait.
        let limit = if health.cause.is_some() { REACH_LIMIT_WITH_CAUSE } else { REACH_LIMIT };
        if begin.elapsed() >= limit || health.cause.as_ref().is_some_and(Cause::is_lasting) {
            return Err(unreached(health.cause, connection, limit));
        }
    }
}

/// Takes what librdkafka has to say out of its queue, to the client's context: causes of failures come no other way,
/// and what nobody takes out piles up.
fn hear(native: &Native) {
    // With no time at all the queue says nothing; with a millisecond it says what it has.
    while native.poll(Duration::from_millis(1)).is_some() {}
}
