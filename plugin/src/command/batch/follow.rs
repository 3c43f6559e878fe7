//! The OffsetResets of a batch, as they change.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use futures::{Stream, StreamExt};
use kube::{
    ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Config, Event},
    },
};
use offset_reset_operator::{api::OffsetReset, kubernetes::chain};

use crate::{
    cluster::{Cluster, selector_of},
    command::watch::{Operator, operator},
    exit::Outcome,
    print::errln,
    view::{Line, WARN},
};

/// The OffsetResets of a batch by their names.
pub type Seen = BTreeMap<String, OffsetReset>;

/// A watch of a batch.
pub struct Followed {
    changes: Pin<Box<dyn Stream<Item = Result<Event<OffsetReset>, watcher::Error>>>>,
    operator: Operator,
    next: Seen,
    seen: Seen,
    trouble: String,
}

impl Followed {
    /// Begins to watch, and waits for the first whole list.
    pub async fn start(cluster: &Cluster, batch: &str) -> Self {
        let config = Config::default().labels(&selector_of(batch));
        let changes = Box::pin(watcher::watcher(cluster.resets(), config).default_backoff());
        let operator = operator(cluster);
        let (next, seen) = (Seen::new(), Seen::new());
        let mut followed = Self { changes, operator, next, seen, trouble: String::new() };
        followed.change().await;
        followed
    }

    /// The newest state.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Waits until something has changed.
    pub async fn change(&mut self) {
        loop {
            let change = tokio::select! {
                change = self.changes.next() => change,
                news = self.operator.news() => {
                    news.iter().for_each(errln);
                    continue;
                }
            };
            // The stream tries again for ever.
            let Some(change) = change else { std::future::pending().await };
            match change {
                Ok(event) => {
                    self.operator.works();
                    self.trouble.clear();
                    if self.apply(event) {
                        return;
                    }
                }
                Err(error) => {
                    let why = chain(&error);
                    if why != self.trouble {
                        errln(&Line::styled(WARN, "cannot watch; trying again: ").and(&why));
                        self.trouble = why;
                    }
                }
            }
        }
    }

    /// Whether the state is a newer whole one.
    fn apply(&mut self, event: Event<OffsetReset>) -> bool {
        match event {
            Event::Init => self.next.clear(),
            Event::InitApply(reset) => {
                self.next.insert(reset.name_any(), reset);
            }
            Event::InitDone => {
                self.seen = std::mem::take(&mut self.next);
                return true;
            }
            Event::Apply(reset) => {
                self.seen.insert(reset.name_any(), reset);
                return true;
            }
            Event::Delete(reset) => {
                self.seen.remove(&reset.name_any());
                return true;
            }
        }
        false
    }

    /// Waits until the state is as wished; false when the time is over.
    pub async fn until(&mut self, timeout: Option<Duration>, mut wished: impl FnMut(&Seen) -> bool) -> bool {
        let waiting = async {
            while !wished(&self.seen) {
                self.change().await;
            }
        };
        match timeout {
            None => {
                waiting.await;
                true
            }
            Some(timeout) => tokio::time::timeout(timeout, waiting).await.is_ok(),
        }
    }
}

/// The OffsetResets of a batch now.
pub async fn now(cluster: &Cluster, batch: &str) -> Outcome<Seen> {
    let found = crate::command::look::labelled(cluster, false, Some(&selector_of(batch))).await?;
    Ok(found.into_iter().filter_map(|(_, reset)| reset).map(|reset| (reset.name_any(), reset)).collect())
}
