//! Slots for the passes that run at the same time: a reset with consumers at zero never waits for one that has none, and a
//! flood of resets that cannot succeed does not block the others.

use std::{collections::HashMap, future::Future, pin::pin, sync::Arc, time::Duration};

use futures::FutureExt;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use super::queue::{Queue, Rank, Waiting};
use crate::api::OffsetReset;

/// By namespace and name, because the UID of a deleted object is unknown.
type Object = ObjectRef<OffsetReset>;

/// For every 4 slots there is one for passes that hold nothing; for every 32, while any reset holds workloads. Few slots are
/// enough to keep an API server busy, and the resets with consumers at zero use the same one.
const SLOTS_PER_IDLE: usize = 4;
const SLOTS_PER_IDLE_BESIDE_HOLDS: usize = 32;

/// While one in this many slots of rank `Holding` is taken by a pass that does not wait for Kafka, the other passes wait: they would
/// stop more consumers than the API server can restore soon.
const SLOTS_PER_BUSY_HOLD: usize = 16;

/// But one of them gets a slot so long after the last one, because the API server may answer some requests very late.
const IDLE_AT_LEAST_EVERY: Duration = Duration::from_millis(250);

/// The slots for passes.
pub struct Slots {
    shared: Arc<Mutex<Shared>>,
    /// The rank of each object after its last pass.
    ranks: Mutex<HashMap<Object, Rank>>,
}

struct Shared {
    queue: Queue<oneshot::Sender<Permit>>,
    /// The number of slots for passes of rank `Holding`.
    most: usize,
    /// The number of taken slots: of rank `Holding`, and of the others.
    taken: [usize; 2],
    /// The number of passes that keep a slot of rank `Holding` while they wait for Kafka.
    at_kafka: usize,
    /// The number of objects whose last rank was `Holding`.
    holding: usize,
    /// When a pass of another rank got a slot for the last time.
    last_other: Option<Instant>,
    /// A timer runs that gives the next of them its slot.
    timed: bool,
    closed: bool,
}

/// The slot of a pass, until it is dropped.
pub(in crate::reconcile) struct Slot<'a> {
    slots: &'a Slots,
    rank: Rank,
    namespace: String,
    permit: Option<Permit>,
}

/// A pass that waits for Kafka with its slot, until this is dropped.
pub(in crate::reconcile) struct AtKafka(Arc<Mutex<Shared>>);

/// Returns its slot when it is dropped, even when that happens in the channel to a pass that does not wait any more.
struct Permit {
    shared: Arc<Mutex<Shared>>,
    lane: usize,
}

impl Slots {
    /// This many slots for passes of rank `Holding`, and a fraction of it for the others.
    #[must_use]
    pub fn new(concurrency: u16) -> Self {
        let (most, queue) = (concurrency.into(), Queue::default());
        let shared =
            Shared { queue, most, taken: [0, 0], at_kafka: 0, holding: 0, last_other: None, timed: false, closed: false };
        Self { shared: Arc::new(Mutex::new(shared)), ranks: Mutex::default() }
    }

    /// Dismisses the passes that have not begun, and begins no new ones. Passes in progress continue.
    pub fn close(&self) {
        let dismissed = {
            let mut shared = self.shared.lock();
            shared.closed = true;
            shared.queue.take_new()
        };
        drop(dismissed);
    }

    /// Waits for a slot. `None` when the slots are closed.
    pub(in crate::reconcile) async fn acquire(&self, rank: Rank, namespace: &str) -> Option<Slot<'_>> {
        let permit = self.permit(rank, namespace, true).await?;
        Some(Slot { slots: self, rank, namespace: namespace.to_owned(), permit: Some(permit) })
    }

    async fn permit(&self, rank: Rank, namespace: &str, is_new: bool) -> Option<Permit> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut shared = self.shared.lock();
            if shared.closed && is_new {
                return None;
            }
            shared.queue.push(rank, namespace, Waiting { is_new, wake: sender });
        }
        grant(&self.shared);
        receiver.await.ok()
    }

    /// The rank of an object after its last pass, if it had one.
    pub(in crate::reconcile) fn rank(&self, object: &Object) -> Option<Rank> {
        self.ranks.lock().get(object).copied()
    }

    /// Records the rank of an object after a pass.
    pub(in crate::reconcile) fn remember(&self, object: &Object, rank: Rank) {
        self.change(object, |_| Some(rank));
    }

    /// Records a failed pass: the object goes behind the others, unless it may hold something.
    pub(in crate::reconcile) fn has_failed(&self, object: &Object) {
        self.change(object, |known| Some(if known == Some(Rank::Holding) { Rank::Holding } else { Rank::Again }));
    }

    /// Drops the rank of an object that is finished or gone.
    pub fn forget(&self, object: &Object) {
        self.change(object, |_| None);
    }

    fn change(&self, object: &Object, change: impl FnOnce(Option<Rank>) -> Option<Rank>) {
        let mut ranks = self.ranks.lock();
        let known = ranks.get(object).copied();
        let rank = change(known);
        match rank {
            Some(rank) => ranks.insert(object.clone(), rank),
            None => ranks.remove(object),
        };
        let [held, holds] = [known, rank].map(|rank| usize::from(rank == Some(Rank::Holding)));
        let mut shared = self.shared.lock();
        shared.holding = shared.holding + holds - held;
        drop(shared);
        drop(ranks);
        // There may be more slots now.
        grant(&self.shared);
    }
}

impl Slot<'_> {
    /// Gives the pass the rank `Holding`, from its next wait on: it has found that an earlier run may hold workloads.
    pub(in crate::reconcile) fn raise(&mut self) {
        self.rank = Rank::Holding;
    }

    /// Records that the pass waits for Kafka and keeps its slot, as long as the result lives: meanwhile it does not keep the API server
    /// busy. `None` for a pass of another rank.
    pub(in crate::reconcile) fn waits_for_kafka(&self) -> Option<AtKafka> {
        let permit = self.permit.as_ref().filter(|permit| permit.lane == 0)?;
        permit.shared.lock().at_kafka += 1;
        grant(&permit.shared);
        Some(AtKafka(Arc::clone(&permit.shared)))
    }

    /// Awaits a future with the slot released, unless it is ready at once; then acquires a slot again. So a pass with a slot never
    /// waits for a pass without one, and a Kafka cluster that does not answer occupies no slot.
    pub(in crate::reconcile) async fn released_while<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        if let Some(done) = future.as_mut().now_or_never() {
            return done;
        }
        self.permit = None;
        let done = future.await;
        // A pass in progress goes before those that have not begun.
        self.permit = self.slots.permit(self.rank.min(Rank::Begun), &self.namespace, false).await;
        done
    }
}

impl Drop for AtKafka {
    fn drop(&mut self) {
        self.0.lock().at_kafka -= 1;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back();
        grant(&self.shared);
    }
}

impl Permit {
    fn give_back(&self) {
        self.shared.lock().taken[self.lane] -= 1;
    }
}

/// Gives the available slots to the waiting passes.
fn grant(shared: &Arc<Mutex<Shared>>) {
    loop {
        let now = Instant::now();
        // Not in a `while let`, which would hold the lock during its body.
        let next = shared.lock().next(now);
        let Some((lane, wake)) = next else { return wake_later(shared, now) };
        if let Err(unwanted) = wake.send(Permit { shared: Arc::clone(shared), lane }) {
            unwanted.give_back();
            if lane == 1 {
                // The next one has its turn.
                shared.lock().last_other = None;
            }
            // The loop gives its slot to the next pass, not its drop, which would recurse: many may have gone away at once.
            std::mem::forget(unwanted);
        }
    }
}

/// Starts the timer for passes that at this time wait for those that hold something.
fn wake_later(shared: &Arc<Mutex<Shared>>, now: Instant) {
    // Without a runtime nothing waits.
    let Ok(runtime) = Handle::try_current() else { return };
    let Some(until) = shared.lock().timer_is_due(now) else { return };
    let shared = Arc::clone(shared);
    runtime.spawn(async move {
        tokio::time::sleep_until(until).await;
        shared.lock().timed = false;
        grant(&shared);
    });
}

impl Shared {
    fn next(&mut self, now: Instant) -> Option<(usize, oneshot::Sender<Permit>)> {
        if self.taken[0] < self.most
            && let Some(wake) = self.queue.next_holding()
        {
            self.taken[0] += 1;
            return Some((0, wake));
        }
        let slots = if self.holding == 0 { SLOTS_PER_IDLE } else { SLOTS_PER_IDLE_BESIDE_HOLDS };
        if self.taken[1] >= self.most.div_ceil(slots) || self.others_wait(now) {
            return None;
        }
        let wake = self.queue.next_other()?;
        self.last_other = Some(now);
        self.taken[1] += 1;
        Some((1, wake))
    }

    /// Whether passes that hold nothing wait for those that do.
    fn others_wait(&self, now: Instant) -> bool {
        self.others_wait_until().is_some_and(|until| now < until)
    }

    /// Until when they wait at the longest, while passes that hold something keep the API server busy.
    fn others_wait_until(&self) -> Option<Instant> {
        let is_busy = self.taken[0].saturating_sub(self.at_kafka) >= self.most.div_ceil(SLOTS_PER_BUSY_HOLD);
        self.last_other.filter(|_| is_busy).map(|last| last + IDLE_AT_LEAST_EVERY)
    }

    /// The end of that time, where a timer has to be started because a pass waits for it.
    fn timer_is_due(&mut self, now: Instant) -> Option<Instant> {
        let until = self.others_wait_until().filter(|until| now < *until && !self.timed && self.queue.has_others())?;
        self.timed = true;
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Polled once.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        future.now_or_never()
    }

    #[tokio::test]
    async fn passes_that_hold_nothing_have_slots_of_their_own_and_dropped_ones_return_theirs() {
        let slots = Slots::new(4);
        let first = slots.acquire(Rank::New, "a").await.expect("it is open");
        assert!(now(slots.acquire(Rank::New, "a")).is_none(), "there is one slot for such a pass");
        let holding: Vec<_> =
            (0..4).map(|_| now(slots.acquire(Rank::Holding, "a")).flatten().expect("these slots are others")).collect();
        assert!(now(slots.acquire(Rank::Holding, "a")).is_none(), "there are four");
        drop((first, holding));
        // The passes that got no slot were dropped.
        assert!(now(slots.acquire(Rank::Again, "a")).flatten().is_some());
        assert!(now(slots.acquire(Rank::Holding, "a")).flatten().is_some());
    }

    #[tokio::test]
    async fn while_a_reset_holds_something_the_others_have_fewer_slots() {
        let (slots, object) = (Slots::new(32), ObjectRef::new("a").within("b"));
        slots.remember(&object, Rank::Holding);
        slots.remember(&object, Rank::Holding);
        let mut taken: Vec<_> = (0..8).map_while(|_| now(slots.acquire(Rank::New, "a")).flatten()).collect();
        assert_eq!(taken.len(), 1);
        let mut waiting = Box::pin(slots.acquire(Rank::New, "a"));
        assert!(now(&mut waiting).is_none());
        slots.forget(&object);
        taken.push(now(&mut waiting).flatten().expect("no reset holds anything any more"));
        taken.extend((0..8).map_while(|_| now(slots.acquire(Rank::New, "a")).flatten()));
        assert_eq!(taken.len(), 8);
    }

    #[rstest]
    #[case::one_holds_something(1, 0, Some(0), false)]
    #[case::two(2, 0, Some(0), true)]
    #[case::many(32, 0, Some(249), true)]
    #[case::many_that_wait_for_kafka(32, 31, Some(0), false)]
    #[case::many_and_some_time_has_passed(32, 0, Some(250), false)]
    #[case::many_and_no_other_has_begun(32, 0, None, false)]
    fn passes_that_hold_nothing_wait_while_several_do(
        #[case] taken: usize,
        #[case] at_kafka: usize,
        #[case] last_ms_ago: Option<u64>,
        #[case] others_wait: bool,
    ) {
        let (slots, last) = (Slots::new(32), Instant::now());
        let now = last + Duration::from_millis(last_ms_ago.unwrap_or(0));
        let mut shared = slots.shared.lock();
        (shared.taken[0], shared.at_kafka, shared.last_other) = (taken, at_kafka, last_ms_ago.map(|_| last));
        assert_eq!(shared.others_wait(now), others_wait);
    }

    #[tokio::test]
    async fn a_pass_that_waits_for_kafka_keeps_no_other_from_beginning() {
        let slots = Slots::new(1);
        let holding = slots.acquire(Rank::Holding, "a").await.expect("it is open");
        drop(slots.acquire(Rank::New, "a").await);
        let mut other = Box::pin(slots.acquire(Rank::New, "a"));
        assert!(now(&mut other).is_none(), "it comes soon after the first one");
        let waits = holding.waits_for_kafka();
        drop(now(&mut other).flatten().expect("the one that holds something waits for Kafka"));
        drop(waits);
        assert!(now(slots.acquire(Rank::New, "a")).is_none(), "it is busy again");
    }

    #[tokio::test]
    async fn a_pass_that_has_gone_away_takes_no_turn() {
        let slots = Slots::new(1);
        let _holding = slots.acquire(Rank::Holding, "a").await.expect("it is open");
        slots.shared.lock().last_other = Some(Instant::now());
        let mut first = Box::pin(slots.acquire(Rank::Again, "a"));
        let mut second = Box::pin(slots.acquire(Rank::Again, "a"));
        assert!(now(&mut first).is_none() && now(&mut second).is_none(), "they come soon after another one");
        drop(first);
        slots.shared.lock().last_other = None;
        grant(&slots.shared);
        assert!(now(&mut second).flatten().is_some(), "the turn of the first one is its own");
    }

    #[tokio::test]
    async fn while_many_passes_hold_something_another_one_begins_after_a_while() {
        let slots = Slots::new(32);
        let holding: Vec<_> = (0..2).map(|_| now(slots.acquire(Rank::Holding, "a")).flatten()).collect();
        assert!(holding.iter().all(Option::is_some));
        for _ in 0..2 {
            // Nothing but the time wakes the second one.
            let other = tokio::time::timeout(Duration::from_mins(1), slots.acquire(Rank::New, "a")).await;
            assert!(other.expect("it begins").is_some());
        }
    }

    #[tokio::test]
    async fn a_pass_that_turns_out_to_hold_something_waits_no_more_for_those_that_do() {
        let slots = Slots::new(32);
        let mut slot = slots.acquire(Rank::New, "a").await.expect("it is open");
        let holding: Vec<_> = (0..2).map(|_| now(slots.acquire(Rank::Holding, "a")).flatten()).collect();
        assert!(holding.iter().all(Option::is_some));
        slot.raise();
        now(slot.released_while(tokio::task::yield_now())).expect("it has its slot again at once");
    }

    #[tokio::test]
    async fn a_pass_that_is_dropped_with_its_permit_in_the_channel_returns_the_slot() {
        let slots = Slots::new(1);
        let first = slots.acquire(Rank::New, "a").await;
        let mut waiting = Box::pin(slots.acquire(Rank::New, "a"));
        assert!(now(&mut waiting).is_none());
        drop(first);
        drop(waiting);
        assert!(now(slots.acquire(Rank::New, "a")).flatten().is_some());
    }

    #[tokio::test]
    async fn a_slot_is_released_only_while_the_future_is_not_ready() {
        let slots = Slots::new(1);
        let mut slot = slots.acquire(Rank::New, "a").await.expect("it is open");
        let (done, waits) = oneshot::channel::<()>();
        assert_eq!(slot.released_while(std::future::ready(7)).await, 7);
        assert!(now(slots.acquire(Rank::New, "a")).is_none(), "it still has its slot");
        {
            let mut released = Box::pin(slot.released_while(waits));
            assert!(now(&mut released).is_none());
            let other = now(slots.acquire(Rank::New, "a")).flatten().expect("it has released its slot");
            done.send(()).expect("the future waits");
            assert!(now(&mut released).is_none(), "another pass has the slot");
            drop(other);
            released.await.expect("the future is ready");
        }
        assert!(now(slots.acquire(Rank::New, "a")).is_none(), "it has its slot again");
    }

    #[tokio::test]
    async fn after_close_passes_in_progress_continue_and_no_other_begins() {
        let slots = Slots::new(1);
        let mut slot = slots.acquire(Rank::New, "a").await.expect("it is open");
        let mut waiting = Box::pin(slots.acquire(Rank::Holding, "a"));
        let first = now(&mut waiting).flatten().expect("that is another slot");
        let mut second = Box::pin(slots.acquire(Rank::Holding, "a"));
        assert!(now(&mut second).is_none());
        slots.close();
        assert!(now(&mut second).expect("it is dismissed").is_none());
        assert!(slots.acquire(Rank::New, "a").await.is_none());
        slot.released_while(tokio::task::yield_now()).await;
        drop((first, slot));
    }

    #[test]
    fn a_failure_puts_a_pass_that_holds_nothing_behind_the_others() {
        let (slots, object) = (Slots::new(1), ObjectRef::new("a").within("b"));
        slots.has_failed(&object);
        assert_eq!(slots.rank(&object), Some(Rank::Again));
        slots.remember(&object, Rank::Holding);
        slots.has_failed(&object);
        assert_eq!(slots.rank(&object), Some(Rank::Holding));
        slots.forget(&object);
        assert_eq!(slots.rank(&object), None);
    }
}
