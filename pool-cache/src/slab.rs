//! Values at stable small indices, and doubly linked lists that run through them.
//!
//! Owns the slots and the arithmetic of links. Must not know what the values mean. Invariant: an index given out by
//! [`Slab::insert`] names the same value until [`Slab::remove`], and a value is in a [`List`] exactly once or not at all.

use std::mem::replace;
use std::ops::{Index, IndexMut};

use crate::processor::prefetch;

/// "No slot": the end of a list, or a value that is in none.
pub(crate) const NIL: u32 = u32::MAX;

/// From how many slots on a slab grows in small steps.
const MANY: usize = 1024;

#[derive(Debug)]
enum Slot<T> {
    Full(T),
    /// Index of the next vacant slot, or [`NIL`].
    Vacant(u32),
}

/// A vector with holes that are filled again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    vacant: u32,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab { slots: Vec::new(), vacant: NIL, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let at = self.vacant;
        let at = if at == NIL {
            let at = u32::try_from(self.slots.len()).ok().filter(|&at| at != NIL);
            let at = at.expect("BUG: more than four billion entries in one shard");
            if self.slots.len() == self.slots.capacity() {
                self.enlarge();
            }
            self.slots.push(Slot::Full(value));
            at
        } else {
            let slot = replace(&mut self.slots[at as usize], Slot::Full(value));
            let Slot::Vacant(next) = slot else { unreachable!("BUG: a slot on the vacant list holds a value") };
            self.vacant = next;
            at
        };
        self.len += 1;
        at
    }

    /// Makes room for more: twice as many while there are few, a quarter more later, since what is not used is paid for as well.
    #[cold]
    fn enlarge(&mut self) {
        let slots = self.slots.len();
        self.slots.reserve_exact(if slots < MANY { slots.max(4) } else { slots / 4 });
    }

    pub(crate) fn remove(&mut self, at: u32) -> T {
        let slot = replace(&mut self.slots[at as usize], Slot::Vacant(self.vacant));
        let Slot::Full(value) = slot else { unreachable!("BUG: removed a vacant slot") };
        self.vacant = at;
        self.len -= 1;
        value
    }

    /// Fetches the beginning of the slot at `at`.
    #[inline]
    pub(crate) fn prefetch(&self, at: u32) {
        if let Some(slot) = self.slots.get(at as usize) {
            prefetch(slot);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Full(value) => Some(value),
            Slot::Vacant(_) => None,
        })
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| match slot {
            Slot::Full(value) => Some(value),
            Slot::Vacant(_) => None,
        })
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, at: u32) -> &T {
        match &self.slots[at as usize] {
            Slot::Full(value) => value,
            Slot::Vacant(_) => unreachable!("BUG: read a vacant slot"),
        }
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut T {
        match &mut self.slots[at as usize] {
            Slot::Full(value) => value,
            Slot::Vacant(_) => unreachable!("BUG: wrote a vacant slot"),
        }
    }
}

/// The neighbours of a value in one list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    pub(crate) const LOOSE: Links = Links { prev: NIL, next: NIL };
}

/// A value that can be in a list; `KIND` tells the lists of one value apart.
pub(crate) trait Linked<const KIND: usize> {
    fn links(&self) -> &Links;
    fn links_mut(&mut self) -> &mut Links;
}

/// A list through the slots of a slab: first in, first out, with removal anywhere. It is a ring, so that moving the first to the back
/// touches no value.
#[derive(Clone, Debug)]
pub(crate) struct List<const KIND: usize> {
    head: u32,
    len: u32,
}

impl<const KIND: usize> List<KIND> {
    pub(crate) const EMPTY: Self = List { head: NIL, len: 0 };

    #[inline]
    pub(crate) fn front(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    pub(crate) fn back<T: Linked<KIND>>(&self, slab: &Slab<T>) -> Option<u32> {
        self.front().map(|at| slab[at].links().prev)
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// The one after `at`, which is in this list; after the last that is the first again.
    #[inline]
    pub(crate) fn after<T: Linked<KIND>>(slab: &Slab<T>, at: u32) -> u32 {
        slab[at].links().next
    }

    pub(crate) fn push_back<T: Linked<KIND>>(&mut self, slab: &mut Slab<T>, at: u32) {
        self.len += 1;
        if self.head == NIL {
            self.head = at;
            *slab[at].links_mut() = Links { prev: at, next: at };
            return;
        }
        let tail = replace(&mut slab[self.head].links_mut().prev, at);
        slab[tail].links_mut().next = at;
        *slab[at].links_mut() = Links { prev: tail, next: self.head };
    }

    pub(crate) fn unlink<T: Linked<KIND>>(&mut self, slab: &mut Slab<T>, at: u32) {
        self.len -= 1;
        let Links { prev, next } = replace(slab[at].links_mut(), Links::LOOSE);
        if next == at {
            self.head = NIL;
            return;
        }
        slab[prev].links_mut().next = next;
        slab[next].links_mut().prev = prev;
        if self.head == at {
            self.head = next;
        }
    }

    /// Moves the first to the back.
    #[inline]
    pub(crate) fn rotate<T: Linked<KIND>>(&mut self, slab: &Slab<T>) {
        if self.head != NIL {
            self.head = slab[self.head].links().next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(u32, Links);

    impl Linked<0> for Item {
        fn links(&self) -> &Links {
            &self.1
        }
        fn links_mut(&mut self) -> &mut Links {
            &mut self.1
        }
    }

    fn walk(list: &List<0>, slab: &Slab<Item>) -> Vec<u32> {
        let mut seen = Vec::new();
        let (mut at, mut backwards) = (list.head, list.head);
        for _ in 0..list.len() {
            seen.push(slab[at].0);
            at = slab[at].1.next;
            backwards = slab[backwards].1.prev;
        }
        assert!(at == list.head && backwards == list.head, "a ring of that length both ways");
        seen
    }

    #[test]
    fn list_keeps_order_when_values_leave_and_move() {
        let mut slab = Slab::new();
        let mut list = List::<0>::EMPTY;
        let at: Vec<u32> = (0..5).map(|i| slab.insert(Item(i, Links::LOOSE))).collect();
        for &at in &at {
            list.push_back(&mut slab, at);
        }
        list.unlink(&mut slab, at[2]);
        list.rotate(&slab);
        assert_eq!(walk(&list, &slab), [1, 3, 4, 0]);
        for i in [0, 1, 3, 4] {
            list.unlink(&mut slab, at[i]);
        }
        assert!(list.is_empty() && list.front().is_none());
        list.rotate(&slab);
        list.push_back(&mut slab, at[3]);
        list.rotate(&slab);
        assert_eq!(walk(&list, &slab), [3]);
    }

    #[test]
    fn vacant_slots_are_used_again() {
        let mut slab = Slab::new();
        let first = slab.insert(Item(1, Links::LOOSE));
        slab.insert(Item(2, Links::LOOSE));
        assert_eq!(slab.remove(first).0, 1);
        assert_eq!(slab.insert(Item(3, Links::LOOSE)), first);
        assert_eq!((slab.len(), slab.iter().map(|i| i.0).sum::<u32>()), (2, 5));
    }
}
