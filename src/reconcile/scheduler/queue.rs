//! PURE: the order in which waiting passes get a slot.

use std::collections::{BTreeMap, VecDeque};

/// How urgent a pass is, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::reconcile) enum Rank {
    /// The reset may hold a workload at zero, or commit.
    Holding,
    /// Its last pass made progress, and it holds nothing yet. It goes before new resets.
    Begun,
    /// It had no pass yet.
    New,
    /// It waits or fails: its last pass made no progress.
    Again,
    /// Its spec is invalid.
    Refused,
}

/// The waiting passes.
pub(in crate::reconcile) struct Queue<W> {
    /// By rank, and within a rank by namespace; the namespace that is next comes first.
    ranks: BTreeMap<Rank, VecDeque<NamespaceQueue<W>>>,
    /// The number of passes that have arrived, and of those that were served and hold nothing.
    arrived: u64,
    served: u64,
}

/// The waiting passes of one namespace, in the order of their arrival.
struct NamespaceQueue<W> {
    namespace: String,
    waiting: VecDeque<(u64, Waiting<W>)>,
}

/// A waiting pass.
pub(in crate::reconcile) struct Waiting<W> {
    /// It has not begun; otherwise it waits for a slot a second time.
    pub is_new: bool,
    /// The channel that wakes it.
    pub wake: W,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { ranks: BTreeMap::new(), arrived: 0, served: 0 }
    }
}

impl<W> Queue<W> {
    /// Adds a waiting pass.
    pub fn push(&mut self, rank: Rank, namespace: &str, waiting: Waiting<W>) {
        let lines = self.ranks.entry(rank).or_default();
        let number = self.arrived;
        self.arrived += 1;
        match lines.iter_mut().find(|line| line.namespace == namespace) {
            Some(line) => line.waiting.push_back((number, waiting)),
            None => lines.push_back(NamespaceQueue { namespace: namespace.to_owned(), waiting: [(number, waiting)].into() }),
        }
    }

    /// The next pass of rank `Holding`: in the order of arrival, the namespaces in turn.
    pub fn next_holding(&mut self) -> Option<W> {
        self.take_at(Rank::Holding, 0, false)
    }

    /// The next of the other passes: the oldest of the best rank, the namespaces in turn. But one in four is the oldest of all,
    /// so that none starves; and one in four is the youngest where the best rank is `New`, so that a reset that arrives after
    /// a flood need not wait for all of it.
    pub fn next_other(&mut self) -> Option<W> {
        let best = self.ranks.keys().copied().find(|rank| *rank != Rank::Holding)?;
        let next = match self.served % 4 {
            0 => self.take_at(best, 0, best == Rank::New),
            1 | 2 => self.take_at(best, 0, false),
            _ => self.oldest(),
        };
        self.served += 1;
        next
    }

    /// Whether any of the other passes waits.
    pub fn has_others(&self) -> bool {
        self.ranks.keys().any(|rank| *rank != Rank::Holding)
    }

    /// Removes the passes that have not begun.
    pub fn take_new(&mut self) -> Vec<W> {
        let mut taken = vec![];
        for lines in self.ranks.values_mut() {
            for line in lines.iter_mut() {
                let (new, others) = std::mem::take(&mut line.waiting).into_iter().partition(|(_, waiting)| waiting.is_new);
                line.waiting = others;
                let new: VecDeque<(u64, Waiting<W>)> = new;
                taken.extend(new.into_iter().map(|(_, waiting)| waiting.wake));
            }
            lines.retain(|line| !line.waiting.is_empty());
        }
        self.ranks.retain(|_, lines| !lines.is_empty());
        taken
    }

    fn oldest(&mut self) -> Option<W> {
        let mut heads = vec![];
        for (rank, lines) in self.ranks.iter().filter(|(rank, _)| **rank != Rank::Holding) {
            heads.extend(lines.iter().enumerate().filter_map(|(at, line)| Some((line.waiting.front()?.0, *rank, at))));
        }
        let (_, rank, at) = heads.into_iter().min()?;
        self.take_at(rank, at, false)
    }

    fn take_at(&mut self, rank: Rank, at: usize, youngest: bool) -> Option<W> {
        let lines = self.ranks.get_mut(&rank)?;
        let mut line = lines.remove(at)?;
        let taken = if youngest { line.waiting.pop_back() } else { line.waiting.pop_front() };
        // The namespace goes to the end.
        if !line.waiting.is_empty() {
            lines.push_back(line);
        }
        if lines.is_empty() {
            self.ranks.remove(&rank);
        }
        taken.map(|(_, waiting)| waiting.wake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(arrivals: &[(Rank, &str, &'static str)]) -> Queue<&'static str> {
        let mut queue = Queue::default();
        for (rank, namespace, name) in arrivals {
            queue.push(*rank, namespace, Waiting { is_new: true, wake: *name });
        }
        queue
    }

    fn others(queue: &mut Queue<&'static str>) -> String {
        std::iter::from_fn(|| queue.next_other()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_best_rank_is_next_and_one_in_four_is_the_oldest_of_all() {
        let mut queue = queued(&[
            (Rank::Refused, "a", "refused"),
            (Rank::Again, "a", "again"),
            (Rank::New, "a", "new1"),
            (Rank::New, "a", "new2"),
            (Rank::New, "a", "new3"),
            (Rank::Begun, "a", "begun1"),
            (Rank::Begun, "a", "begun2"),
            (Rank::Holding, "a", "holding"),
        ]);
        assert!(queue.has_others());
        assert_eq!(others(&mut queue), "begun1 begun2 new1 refused new3 new2 again");
        assert!(!queue.has_others());
        assert_eq!((queue.next_holding(), queue.next_holding()), (Some("holding"), None));
    }

    #[test]
    fn of_many_new_ones_one_in_four_is_the_youngest() {
        let names = ["1", "2", "3", "4", "5", "6", "7"];
        let mut queue = queued(&names.map(|name| (Rank::New, "a", name)));
        assert_eq!(others(&mut queue), "7 1 2 3 6 4 5");
    }

    #[test]
    fn a_namespace_with_many_does_not_block_the_others() {
        let mut all = vec![(Rank::Begun, "many", "m"); 6];
        all.extend([(Rank::Begun, "few", "f"), (Rank::Begun, "one", "o")]);
        assert_eq!(others(&mut queued(&all)), "m f o m m m m m");
    }

    #[test]
    fn passes_that_have_begun_stay_when_the_others_are_removed() {
        let mut queue = queued(&[(Rank::New, "a", "new"), (Rank::Holding, "a", "holding")]);
        queue.push(Rank::Begun, "a", Waiting { is_new: false, wake: "begun" });
        let mut away = queue.take_new();
        away.sort_unstable();
        assert_eq!(away, ["holding", "new"]);
        assert_eq!(others(&mut queue), "begun");
        assert_eq!(queue.next_holding(), None);
    }
}
