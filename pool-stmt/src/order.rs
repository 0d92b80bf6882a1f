//! A list through the slots of a table, by index, most recent first.
//!
//! Owns the links between slots. Must not know what a slot holds.
//! Invariant: a slot is in at most one list, and `length` is the number of slots reachable from `first`.

/// No neighbour.
const NONE: u32 = u32::MAX;

/// The neighbours of a slot in its list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links {
    newer: u32,
    older: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { newer: NONE, older: NONE }
    }
}

/// Gives access to the links within a slot.
pub(crate) trait Linked {
    fn links(&mut self) -> &mut Links;
}

/// A list through the slots of a table.
#[derive(Debug)]
pub(crate) struct Order {
    first: u32,
    last: u32,
    length: usize,
}

impl Order {
    pub(crate) const fn new() -> Self {
        Self { first: NONE, last: NONE, length: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    /// The slot which is longest in the list.
    pub(crate) const fn oldest(&self) -> Option<u32> {
        if self.last == NONE { None } else { Some(self.last) }
    }

    pub(crate) fn push(&mut self, slots: &mut [impl Linked], at: u32) {
        *slots[at as usize].links() = Links { newer: NONE, older: self.first };
        match self.first {
            NONE => self.last = at,
            first => slots[first as usize].links().newer = at,
        }
        self.first = at;
        self.length += 1;
    }

    pub(crate) fn remove(&mut self, slots: &mut [impl Linked], at: u32) {
        let Links { newer, older } = std::mem::take(slots[at as usize].links());
        match newer {
            NONE => self.first = older,
            newer => slots[newer as usize].links().older = older,
        }
        match older {
            NONE => self.last = newer,
            older => slots[older as usize].links().newer = newer,
        }
        self.length -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(order: &Order) -> (u32, u32, usize) {
        (order.first, order.last, order.length)
    }

    impl Linked for Links {
        fn links(&mut self) -> &mut Links {
            self
        }
    }

    #[test]
    fn removal_at_either_end_and_in_the_middle_keeps_the_order() {
        let mut slots = [Links::default(); 4];
        let mut order = Order::new();
        for at in 0..4 {
            order.push(&mut slots, at);
        }
        order.remove(&mut slots, 1);
        assert_eq!(ends(&order), (3, 0, 3));
        order.remove(&mut slots, 0);
        assert_eq!(ends(&order), (3, 2, 2));
        order.remove(&mut slots, 3);
        order.remove(&mut slots, 2);
        assert_eq!(ends(&order), (NONE, NONE, 0));
        order.push(&mut slots, 1);
        assert_eq!(ends(&order), (1, 1, 1));
    }
}
