//! Which passes are made at once, and which first: whoever has consumers at zero never waits for those that have none, and a flood of
//! specs that lead nowhere keeps nobody else from being served.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::oneshot;

use super::queue::{Lines, Rank, Waiting};
use crate::api::OffsetReset;

/// By its namespace and name: what is gone has no UID any more.
type Object = ObjectRef<OffsetReset>;

/// Of so many places, one is for those that hold nothing, while nobody holds anything, and while somebody does. Few are enough to keep an API
/// server busy, and whoever has consumers at zero asks the same one.
const HOLDING_NOTHING: usize = 4;
const HOLDING_NOTHING_BESIDE: usize = 32;

/// Hands out places.
pub struct Places {
    shared: Arc<Mutex<Shared>>,
    /// What is known of each object from its last pass.
    ranks: Mutex<HashMap<Object, Rank>>,
}

struct Shared {
    lines: Lines<oneshot::Sender<Permit>>,
    /// How many places there are for those that hold something.
    most: usize,
    /// How many are taken, by those that hold something, and by the others.
    taken: [usize; 2],
    /// How many objects are known to hold something.
    holding: usize,
    closed: bool,
}

/// A place, until it is dropped.
pub(in crate::reconcile) struct Place<'a> {
    places: &'a Places,
    rank: Rank,
    namespace: String,
    permit: Option<Permit>,
}

/// What is given back when it is dropped, wherever that is: also on the way to somebody who does not wait any more.
struct Permit {
    shared: Arc<Mutex<Shared>>,
    lane: usize,
}

impl Places {
    /// So many places for those that hold something, and a part of that for the others.
    #[must_use]
    pub fn new(concurrency: u16) -> Self {
        let shared = Shared { lines: Lines::default(), most: concurrency.into(), taken: [0, 0], holding: 0, closed: false };
        Self { shared: Arc::new(Mutex::new(shared)), ranks: Mutex::default() }
    }

    /// Whoever waits for a place, and has not had one in this pass, gets none any more. Passes that are under way go on.
    pub fn close(&self) {
        let dismissed = {
            let mut shared = lock(&self.shared);
            shared.closed = true;
            shared.lines.take_new()
        };
        drop(dismissed);
    }

    /// Waits for a place. `None` when no pass is to begin any more.
    pub(in crate::reconcile) async fn take(&self, rank: Rank, namespace: &str) -> Option<Place<'_>> {
        let permit = self.permit(rank, namespace, true).await?;
        Some(Place { places: self, rank, namespace: namespace.to_owned(), permit: Some(permit) })
    }

    async fn permit(&self, rank: Rank, namespace: &str, is_new: bool) -> Option<Permit> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut shared = lock(&self.shared);
            if shared.closed && is_new {
                return None;
            }
            shared.lines.join(rank, namespace, Waiting { is_new, wake: sender });
        }
        grant(&self.shared);
        receiver.await.ok()
    }

    /// The rank of an object by its last pass, when there has been one.
    pub(in crate::reconcile) fn rank(&self, object: &Object) -> Option<Rank> {
        self.lock_ranks().get(object).copied()
    }

    /// What a pass has shown of an object.
    pub(in crate::reconcile) fn remember(&self, object: &Object, rank: Rank) {
        self.change(object, |_| Some(rank));
    }

    /// A pass of an object has failed: it goes behind the others, unless something may be held for it.
    pub(in crate::reconcile) fn has_failed(&self, object: &Object) {
        self.change(object, |known| Some(if known == Some(Rank::Holding) { Rank::Holding } else { Rank::Again }));
    }

    /// An object is over, or gone.
    pub fn forget(&self, object: &Object) {
        self.change(object, |_| None);
    }

    fn change(&self, object: &Object, change: impl FnOnce(Option<Rank>) -> Option<Rank>) {
        let mut ranks = self.lock_ranks();
        let known = ranks.get(object).copied();
        let rank = change(known);
        match rank {
            Some(rank) => ranks.insert(object.clone(), rank),
            None => ranks.remove(object),
        };
        let [held, holds] = [known, rank].map(|rank| usize::from(rank == Some(Rank::Holding)));
        let mut shared = lock(&self.shared);
        shared.holding = shared.holding + holds - held;
        drop(shared);
        drop(ranks);
        // There may be more places now.
        grant(&self.shared);
    }

    fn lock_ranks(&self) -> MutexGuard<'_, HashMap<Object, Rank>> {
        self.ranks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Awaits something without a place when it is not there at once: a turn, or what Kafka says. So whoever has a place never waits for
    /// somebody who waits for one, and a cluster that does not answer takes no place away.
    pub(in crate::reconcile) async fn outside<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        if let Some(done) = what.as_mut().now_or_never() {
            return done;
        }
        self.permit = None;
        let done = what.await;
        // One that has come that far is before those that have not begun.
        self.permit = self.places.permit(self.rank.min(Rank::Begun), &self.namespace, false).await;
        done
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
        lock(&self.shared).taken[self.lane] -= 1;
    }
}

/// Hands out what is free.
fn grant(shared: &Arc<Mutex<Shared>>) {
    loop {
        // Not in a `while let`, which would hold the lock for the whole of its body.
        let next = lock(shared).next();
        let Some((lane, wake)) = next else { return };
        if let Err(unwanted) = wake.send(Permit { shared: Arc::clone(shared), lane }) {
            unwanted.give_back();
            // Its place goes to the next one here, and not from within its drop: many may have gone away at once.
            std::mem::forget(unwanted);
        }
    }
}

impl Shared {
    fn next(&mut self) -> Option<(usize, oneshot::Sender<Permit>)> {
        for lane in [0, 1] {
            let most = match (lane, self.holding) {
                (0, _) => self.most,
                (_, 0) => self.most.div_ceil(HOLDING_NOTHING),
                _ => self.most.div_ceil(HOLDING_NOTHING_BESIDE),
            };
            let wake = if self.taken[lane] >= most {
                None
            } else if lane == 0 {
                self.lines.next_holding()
            } else {
                self.lines.next_other()
            };
            if let Some(wake) = wake {
                self.taken[lane] += 1;
                return Some((lane, wake));
            }
        }
        None
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polled once.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        future.now_or_never()
    }

    #[tokio::test]
    async fn those_that_hold_nothing_have_places_of_their_own_and_whoever_goes_away_gives_his_back() {
        let places = Places::new(4);
        let first = places.take(Rank::New, "a").await.expect("it is open");
        assert!(now(places.take(Rank::New, "a")).is_none(), "there is one place for such");
        let holding: Vec<_> = (0..4).map(|_| now(places.take(Rank::Holding, "a")).flatten().expect("these are others")).collect();
        assert!(now(places.take(Rank::Holding, "a")).is_none(), "there are four");
        drop((first, holding));
        // Those that asked in vain have gone away meanwhile.
        assert!(now(places.take(Rank::Again, "a")).flatten().is_some());
        assert!(now(places.take(Rank::Holding, "a")).flatten().is_some());
    }

    #[tokio::test]
    async fn while_somebody_holds_something_the_others_have_fewer_places() {
        let (places, object) = (Places::new(32), ObjectRef::new("a").within("b"));
        places.remember(&object, Rank::Holding);
        places.remember(&object, Rank::Holding);
        let mut taken: Vec<_> = (0..8).map_while(|_| now(places.take(Rank::New, "a")).flatten()).collect();
        assert_eq!(taken.len(), 1);
        let mut waiting = Box::pin(places.take(Rank::New, "a"));
        assert!(now(&mut waiting).is_none());
        places.forget(&object);
        taken.push(now(&mut waiting).flatten().expect("nobody holds anything any more"));
        taken.extend((0..8).map_while(|_| now(places.take(Rank::New, "a")).flatten()));
        assert_eq!(taken.len(), 8);
    }

    #[tokio::test]
    async fn one_that_was_given_a_place_and_goes_away_before_it_knows_gives_it_back() {
        let places = Places::new(1);
        let first = places.take(Rank::New, "a").await;
        let mut waiting = Box::pin(places.take(Rank::New, "a"));
        assert!(now(&mut waiting).is_none());
        drop(first);
        drop(waiting);
        assert!(now(places.take(Rank::New, "a")).flatten().is_some());
    }

    #[tokio::test]
    async fn what_takes_time_is_awaited_without_a_place_and_what_does_not_with_it() {
        let places = Places::new(1);
        let mut place = places.take(Rank::New, "a").await.expect("it is open");
        let (done, waits) = oneshot::channel::<()>();
        assert_eq!(place.outside(std::future::ready(7)).await, 7);
        assert!(now(places.take(Rank::New, "a")).is_none(), "it still has its place");
        {
            let mut outside = Box::pin(place.outside(waits));
            assert!(now(&mut outside).is_none());
            let other = now(places.take(Rank::New, "a")).flatten().expect("it has left its place");
            done.send(()).expect("it waits");
            assert!(now(&mut outside).is_none(), "somebody else has the place");
            drop(other);
            outside.await.expect("it was told");
        }
        assert!(now(places.take(Rank::New, "a")).is_none(), "it has its place again");
    }

    #[tokio::test]
    async fn when_the_operator_ends_those_under_way_go_on_and_no_other_begins() {
        let places = Places::new(1);
        let mut place = places.take(Rank::New, "a").await.expect("it is open");
        let mut waiting = Box::pin(places.take(Rank::Holding, "a"));
        let first = now(&mut waiting).flatten().expect("that is another place");
        let mut second = Box::pin(places.take(Rank::Holding, "a"));
        assert!(now(&mut second).is_none());
        places.close();
        assert!(now(&mut second).expect("it is told").is_none());
        assert!(places.take(Rank::New, "a").await.is_none());
        place.outside(tokio::task::yield_now()).await;
        drop((first, place));
    }

    #[test]
    fn a_failure_puts_behind_the_others_whoever_holds_nothing() {
        let (places, object) = (Places::new(1), ObjectRef::new("a").within("b"));
        places.has_failed(&object);
        assert_eq!(places.rank(&object), Some(Rank::Again));
        places.remember(&object, Rank::Holding);
        places.has_failed(&object);
        assert_eq!(places.rank(&object), Some(Rank::Holding));
        places.forget(&object);
        assert_eq!(places.rank(&object), None);
    }
}
