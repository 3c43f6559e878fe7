//! PURE: who is next of those that wait for a place.

use std::collections::{BTreeMap, VecDeque};

/// What a pass is for; whoever stands first here is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::reconcile) enum Rank {
    /// Something may be held for it, or be committed by it.
    Holding,
    /// It has come further in its last pass, and holds nothing yet: what was begun is finished first.
    Begun,
    /// Nobody has looked at it so far.
    New,
    /// It waits, or fails: its last pass has not brought it further.
    Again,
    /// What it asks for makes no sense.
    Refused,
}

/// Those that wait.
pub(in crate::reconcile) struct Lines<W> {
    /// By rank; within a rank by namespace, the one that is next first.
    ranks: BTreeMap<Rank, VecDeque<Line<W>>>,
    /// How many have come, and how many that hold nothing have been served.
    come: u64,
    served: u64,
}

/// Those of one namespace, in the order in which they came.
struct Line<W> {
    namespace: String,
    waiting: VecDeque<(u64, Waiting<W>)>,
}

/// Somebody who waits.
pub(in crate::reconcile) struct Waiting<W> {
    /// Its pass has not begun.
    pub is_new: bool,
    /// By which it is told.
    pub wake: W,
}

impl<W> Default for Lines<W> {
    fn default() -> Self {
        Self { ranks: BTreeMap::new(), come: 0, served: 0 }
    }
}

impl<W> Lines<W> {
    /// Somebody comes.
    pub fn join(&mut self, rank: Rank, namespace: &str, waiting: Waiting<W>) {
        let lines = self.ranks.entry(rank).or_default();
        let number = self.come;
        self.come += 1;
        match lines.iter_mut().find(|line| line.namespace == namespace) {
            Some(line) => line.waiting.push_back((number, waiting)),
            None => lines.push_back(Line { namespace: namespace.to_owned(), waiting: [(number, waiting)].into() }),
        }
    }

    /// The next of those for whom something may be held: in the order in which they came, the namespaces in turns.
    pub fn next_holding(&mut self) -> Option<W> {
        self.take_at(Rank::Holding, 0, false)
    }

    /// The next of the others: of the best rank the oldest, the namespaces in turns. But of four one is the oldest of all, so that nobody
    /// waits for ever, and one is the youngest where the best are new ones, so that who comes after a flood need not wait for all of it.
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

    /// Takes away those whose pass has not begun.
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
        // Its namespace is last now.
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

    fn lines(come: &[(Rank, &str, &'static str)]) -> Lines<&'static str> {
        let mut lines = Lines::default();
        for (rank, namespace, name) in come {
            lines.join(*rank, namespace, Waiting { is_new: true, wake: *name });
        }
        lines
    }

    fn others(lines: &mut Lines<&'static str>) -> String {
        std::iter::from_fn(|| lines.next_other()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_best_rank_is_next_and_each_fourth_is_the_oldest_of_all() {
        let mut lines = lines(&[
            (Rank::Refused, "a", "refused"),
            (Rank::Again, "a", "again"),
            (Rank::New, "a", "new1"),
            (Rank::New, "a", "new2"),
            (Rank::New, "a", "new3"),
            (Rank::Begun, "a", "begun1"),
            (Rank::Begun, "a", "begun2"),
            (Rank::Holding, "a", "holding"),
        ]);
        assert_eq!(others(&mut lines), "begun1 begun2 new1 refused new3 new2 again");
        assert_eq!((lines.next_holding(), lines.next_holding()), (Some("holding"), None));
    }

    #[test]
    fn of_many_new_ones_each_fourth_is_the_youngest() {
        let names = ["1", "2", "3", "4", "5", "6", "7"];
        let mut lines = lines(&names.map(|name| (Rank::New, "a", name)));
        assert_eq!(others(&mut lines), "7 1 2 3 6 4 5");
    }

    #[test]
    fn a_namespace_with_many_keeps_no_other_waiting() {
        let mut all = vec![(Rank::Begun, "many", "m"); 6];
        all.extend([(Rank::Begun, "few", "f"), (Rank::Begun, "one", "o")]);
        assert_eq!(others(&mut lines(&all)), "m f o m m m m m");
    }

    #[test]
    fn those_that_have_begun_stay_when_the_others_are_sent_away() {
        let mut lines = lines(&[(Rank::New, "a", "new"), (Rank::Holding, "a", "holding")]);
        lines.join(Rank::Begun, "a", Waiting { is_new: false, wake: "begun" });
        let mut away = lines.take_new();
        away.sort_unstable();
        assert_eq!(away, ["holding", "new"]);
        assert_eq!(others(&mut lines), "begun");
        assert_eq!(lines.next_holding(), None);
    }
}
