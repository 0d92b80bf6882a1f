//! The order in which those who wait are served when some are more urgent than others.
//!
//! Owns who goes before whom, and for how long that is borne. It must not know what waits. Invariants: those of one priority are served
//! in the order they came; nobody is overtaken more than [`Priority::MOST_OVERTAKEN`] times.

use std::collections::VecDeque;

/// How urgent a write is among those that wait in the write queue.
///
/// One of a higher priority goes before those of lower ones that wait already. So that nobody starves, each lets at most
/// [`MOST_OVERTAKEN`](Self::MOST_OVERTAKEN) others past; what comes later then stays behind it, whatever its priority. Among
/// those of one priority who came first is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Priority {
    /// After the others: work in the background.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before the others: somebody sits and waits.
    High,
}

impl Priority {
    /// How many others a waiting write lets past at most: 32.
    pub const MOST_OVERTAKEN: u32 = 32;
}

/// A place in the line.
#[derive(Debug)]
pub(crate) struct Place<E> {
    pub(crate) entry: E,
    priority: Priority,
    overtaken: u32,
}

impl<E> Place<E> {
    /// For one whom nobody has overtaken yet.
    pub(crate) fn new(entry: E, priority: Priority) -> Self {
        Self { entry, priority, overtaken: 0 }
    }

    /// The place of what this one's entry stands for.
    pub(crate) fn map<T>(self, of: impl FnOnce(E) -> T) -> Place<T> {
        Place { entry: of(self.entry), priority: self.priority, overtaken: self.overtaken }
    }
}

/// Those who wait, the next one first.
pub(crate) struct Line<E>(VecDeque<Place<E>>);

impl<E> Default for Line<E> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<E> Line<E> {
    /// Lets one join, as far in front as its priority brings it.
    #[inline]
    pub(crate) fn join(&mut self, entry: E, priority: Priority) {
        let place = Place::new(entry, priority);
        match self.0.back() {
            Some(last) if last.priority < priority => self.overtake(place),
            _ => self.0.push_back(place),
        }
    }

    /// Puts a place before all others, for it was there before them. Who overtook it before still counts.
    pub(crate) fn put_first(&mut self, place: Place<E>) {
        self.0.push_front(place);
    }

    #[cold]
    fn overtake(&mut self, place: Place<E>) {
        let gives_way =
            |other: &Place<E>| other.priority < place.priority && other.overtaken < Priority::MOST_OVERTAKEN;
        let at = self.0.iter().rposition(|other| !gives_way(other)).map_or(0, |last| last + 1);
        self.0.iter_mut().skip(at).for_each(|other| other.overtaken += 1);
        self.0.insert(at, place);
    }

    pub(crate) fn front(&self) -> Option<&E> {
        self.0.front().map(|place| &place.entry)
    }

    pub(crate) fn pop_front(&mut self) -> Option<Place<E>> {
        self.0.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in their order.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = E> {
        self.0.into_iter().map(|place| place.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(of: &[(u32, Priority)]) -> Vec<u32> {
        let mut line = Line::default();
        for (name, priority) in of {
            line.join(*name, *priority);
        }
        line.into_entries().collect()
    }

    #[test]
    fn the_more_urgent_go_first_and_equals_in_the_order_they_came() {
        use Priority::{High, Low, Normal};
        let came = [(1, Low), (2, Normal), (3, High), (4, Low), (5, High), (6, Normal), (7, High), (8, Normal)];
        assert_eq!(order(&came), [3, 5, 7, 2, 6, 8, 1, 4]);
        assert_eq!(order(&[(1, Normal), (2, Normal), (3, Normal)]), [1, 2, 3]);
        assert_eq!(Priority::default(), Normal);
    }

    #[test]
    fn nobody_is_overtaken_more_often_than_is_promised() {
        let most = Priority::MOST_OVERTAKEN;
        let mut line = Line::default();
        line.join(0, Priority::Low);
        line.join(1, Priority::Normal);
        for name in 2..2 + 2 * most {
            line.join(name, Priority::High);
        }
        let served: Vec<u32> = line.into_entries().collect();
        // The first was passed by the second, too, and so gives way to one less; behind it the line goes by who came first.
        let before = 2..1 + most;
        let after = 1 + most..2 + 2 * most;
        assert_eq!(served, before.chain([1, 0]).chain(after).collect::<Vec<_>>());
    }
    #[test]
    fn who_is_put_back_is_not_overtaken_anew() {
        let most = Priority::MOST_OVERTAKEN;
        let mut line = Line::default();
        line.join(0, Priority::Low);
        for name in 1..=most {
            line.join(name, Priority::High);
        }
        for name in 1..=most {
            assert_eq!(line.pop_front().expect("somebody").entry, name);
        }
        let low = line.pop_front().expect("somebody");
        line.put_first(low);
        line.join(most + 1, Priority::High);
        assert_eq!(line.into_entries().collect::<Vec<_>>(), [0, most + 1]);
    }
}
