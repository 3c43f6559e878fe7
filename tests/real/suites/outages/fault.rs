//! What stands between an operator and everything that it asks: a gate, at which it is held at one place of its way while something is
//! taken away from it.

use std::{fmt, future::Future};

use kube::Api;
use offset_reset_operator::api::{OffsetReset, Phase};
use real_tests::layer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A place on the way of a reset: right before or right after a request of this kind in this phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub phase: Phase,
    pub side: Side,
    pub kind: &'static str,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Broker,
    ApiServer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It is not sent yet; what it relies on is recorded.
    Before,
    /// It was carried out; that it was is not recorded yet.
    After,
}

impl At {
    /// Each phase, and within it each place at which it matters what is done already.
    pub const ALL: [Self; 13] = [
        Self::before(Phase::Planning, "Kafka all_committed"),
        Self::before(Phase::Stopping, SCALE),
        Self::after(Phase::Stopping, SCALE),
        Self::before(Phase::Draining, "Kafka describe_group"),
        Self::before(Phase::Resetting, "Kafka bounds"),
        Self::BEFORE_THE_COMMIT,
        Self::after(Phase::Resetting, COMMIT),
        Self::before(Phase::Canary, SCALE),
        Self::after(Phase::Canary, SCALE),
        Self::before(Phase::Canary, "Kafka committed"),
        Self::before(Phase::Restoring, SCALE),
        Self::after(Phase::Restoring, SCALE),
        Self::before(Phase::Succeeded, "Kafka describe_group"),
    ];

    pub const BEFORE_THE_COMMIT: Self = Self::before(Phase::Resetting, COMMIT);

    const fn before(phase: Phase, kind: &'static str) -> Self {
        Self { phase, side: Side::Before, kind }
    }

    const fn after(phase: Phase, kind: &'static str) -> Self {
        Self { phase, side: Side::After, kind }
    }

    /// Whether the status may still have this phase there: a pass that goes on at once writes its phase with the next effect or wait.
    fn may_be_stored_as(self, stored: Phase) -> bool {
        match self.phase {
            Phase::Draining => matches!(stored, Phase::Stopping | Phase::Draining),
            Phase::Resetting => matches!(stored, Phase::Stopping | Phase::Draining | Phase::Resetting),
            phase => stored == phase,
        }
    }

    /// Whether the offsets are moved even if the reset ends here: its commit is under way, or done.
    pub fn has_committed(self) -> bool {
        self.kind == COMMIT || matches!(self.phase, Phase::Canary | Phase::Restoring | Phase::Succeeded)
    }
}

const SCALE: &str = "update deployments/scale";
const COMMIT: &str = "Kafka commit";

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} {}", self.phase.as_str(), if self.side == Side::Before { "before" } else { "after" }, self.kind)
    }
}

/// Holds the operator at one place, and counts what it asks in vain after that.
pub struct Layer {
    at: At,
    resets: Api<OffsetReset>,
    name: &'static str,
    reached: CancellationToken,
    open: CancellationToken,
    in_vain: watch::Sender<Vec<String>>,
}

impl Layer {
    pub fn new(at: At, resets: Api<OffsetReset>, name: &'static str) -> Self {
        let (reached, open) = (CancellationToken::new(), CancellationToken::new());
        Self { at, resets, name, reached, open, in_vain: watch::Sender::new(vec![]) }
    }

    /// Waits until the operator is held.
    pub async fn reached(&self) {
        self.reached.cancelled().await;
    }

    /// Lets it go on.
    pub fn open(&self) {
        self.open.cancel();
    }

    /// Waits until it has asked a broker, or the API server, in vain since it was let go on.
    pub async fn has_asked_in_vain(&self, whom: Whom) {
        let asked = |kinds: &Vec<String>| kinds.iter().any(|kind| kind.starts_with("Kafka") == (whom == Whom::Broker));
        self.in_vain.subscribe().wait_for(asked).await.unwrap();
    }

    async fn is_here(&self, kind: &str) -> bool {
        if kind != self.at.kind || self.reached.is_cancelled() {
            return false;
        }
        let found = self.resets.get_opt(self.name).await.unwrap();
        found.and_then(|reset| reset.status?.phase).is_some_and(|stored| self.at.may_be_stored_as(stored))
    }

    /// Once it is held, nothing passes: the operator gives up on what takes too long, and asks again.
    async fn pass(&self, is_here: bool) {
        if is_here {
            self.reached.cancel();
        }
        if self.reached.is_cancelled() {
            self.open.cancelled().await;
        }
    }
}

impl layer::Layer for Layer {
    async fn around<T: Send, E: Send>(
        &self,
        kind: &str,
        request: impl Future<Output = Result<T, E>> + Send,
        _lost: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let side = if self.is_here(kind).await { Some(self.at.side) } else { None };
        self.pass(side == Some(Side::Before)).await;
        let mut asked = Asked { layer: self, kind, in_vain: self.open.is_cancelled() };
        let answer = request.await;
        asked.in_vain &= answer.is_err();
        drop(asked);
        self.pass(side == Some(Side::After)).await;
        answer
    }
}

/// A question that was sent: in vain when it fails, and when whoever asked gives up on it.
struct Asked<'a> {
    layer: &'a Layer,
    kind: &'a str,
    in_vain: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.in_vain {
            self.layer.in_vain.send_modify(|kinds| kinds.push(self.kind.to_owned()));
        }
    }
}
