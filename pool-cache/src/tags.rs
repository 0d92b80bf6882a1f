//! The tag index of one shard: which entries carry a tag, oldest first.
//!
//! Owns the names and the memberships; must not know keys, values or time. Invariant: an entry is listed once under
//! each of its tags, in the order of insertion, and a name without entries is forgotten.

use std::collections::HashMap;
use std::sync::Arc;

use crate::slab::{Linked, Links, List, NIL, Slab};

const MEMBERS: usize = 0;

#[derive(Debug)]
struct Member {
    tag: u32,
    /// The entry's slot in the shard, and the number of its insertion.
    entry: u32,
    serial: u64,
    /// The next membership of the same entry, or [`NIL`].
    sibling: u32,
    links: Links,
}

impl Linked<MEMBERS> for Member {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

#[derive(Debug)]
struct Tag {
    name: Arc<str>,
    members: List<MEMBERS>,
}

#[derive(Debug)]
pub(crate) struct TagIndex {
    names: HashMap<Arc<str>, u32, foldhash::fast::RandomState>,
    tags: Slab<Tag>,
    members: Slab<Member>,
}

impl TagIndex {
    pub(crate) fn new() -> Self {
        TagIndex { names: HashMap::default(), tags: Slab::new(), members: Slab::new() }
    }

    /// Lists `entry`, the insertion of this number, under each name; gives its first membership, which [`detach`](Self::detach) wants back.
    pub(crate) fn attach(&mut self, entry: u32, serial: u64, names: &[Arc<str>]) -> u32 {
        let mut first = NIL;
        for name in names {
            let tag = match self.names.get(&**name) {
                Some(&tag) => tag,
                None => {
                    let tag = self.tags.insert(Tag { name: name.clone(), members: List::EMPTY });
                    self.names.insert(name.clone(), tag);
                    tag
                }
            };
            // Whose name was given before is the last of that list.
            if self.tags[tag].members.back(&self.members).is_some_and(|at| self.members[at].serial == serial) {
                continue;
            }
            let at = self.members.insert(Member { tag, entry, serial, sibling: first, links: Links::LOOSE });
            self.tags[tag].members.push_back(&mut self.members, at);
            first = at;
        }
        first
    }

    /// Ends all memberships of an entry.
    pub(crate) fn detach(&mut self, first: u32) {
        let mut at = first;
        while at != NIL {
            let Member { tag, sibling, .. } = self.members[at];
            let members = &mut self.tags[tag].members;
            members.unlink(&mut self.members, at);
            if members.is_empty() {
                let Tag { name, .. } = self.tags.remove(tag);
                self.names.remove(&*name);
            }
            self.members.remove(at);
            at = sibling;
        }
    }

    /// The slot of the entry that carries this tag for longest, and the number of its insertion.
    pub(crate) fn front(&self, name: &str) -> Option<(u32, u64)> {
        let tag = *self.names.get(name)?;
        self.tags[tag].members.front().map(|at| (self.members[at].entry, self.members[at].serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_entries_are_forgotten() {
        let mut index = TagIndex::new();
        let names: Vec<Arc<str>> = ["a", "b", "a"].map(Arc::from).to_vec();
        let first = index.attach(7, 1, &names);
        let second = index.attach(8, 2, &names[..1]);
        assert_eq!((index.members.len(), index.front("a"), index.front("b")), (3, Some((7, 1)), Some((7, 1))));
        index.detach(first);
        assert_eq!((index.front("a"), index.front("b")), (Some((8, 2)), None));
        index.detach(second);
        assert_eq!((index.names.len(), index.tags.len(), index.members.len()), (0, 0, 0));
    }

    #[test]
    fn names_of_one_entry_are_not_compared_with_each_other() {
        let mut index = TagIndex::new();
        let names: Vec<Arc<str>> = (0..100_000).chain(0..100_000).map(|i| Arc::from(format!("{i}"))).collect();
        let first = index.attach(1, 1, &names);
        assert_eq!((index.names.len(), index.members.len()), (100_000, 100_000), "or this takes minutes");
        index.detach(first);
        assert_eq!(index.members.len(), 0);
    }
}
