//! What identifies a cached result.
//!
//! Owns the key and looking one up without making it. It must not know results. Invariant: two queries that use the same text by mistake
//! can't get each other's rows: keys differ with the type of the value and with the closure.

use std::any::{Any, TypeId};
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use rusqlite::Row;

use crate::connection::Connection;
use crate::error::Result;
use crate::parameters::Values;

/// The key of a result as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    text: Box<str>,
    parameters: Box<[u8]>,
    kind: Kind,
}

/// The same, borrowed from the caller. In this order: what is compared fastest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    /// Borrowed: it would be copied in one piece just after it was written in several, which the processor can't do at once.
    pub(crate) kind: &'a Kind,
    /// A list of parameters, as it is written down.
    pub(crate) parameters: &'a [u8],
    pub(crate) text: &'a str,
}

impl PartialEq for Name<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && are_same(self.parameters, other.parameters)
            && are_same(self.text.as_bytes(), other.text.as_bytes())
    }
}

impl Eq for Name<'_> {}

/// Compares bytes. An empty slice points to no memory, and the C library's `memcmp` reads from there all the same, under a mask: that
/// the processor suppresses the fault costs more than the whole rest of a hit (70 of 145 ns, on an AMD EPYC with AVX-512).
#[inline]
fn are_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// Without the marks that keep lists of several strings apart: no two names differ in where one ends alone, or hardly ever.
impl Hash for Name<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.text.as_bytes());
        if !self.parameters.is_empty() {
            state.write(self.parameters);
        }
        self.kind.hash(state);
    }
}

/// Which closure makes which type of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    value: TypeId,
    closure: TypeId,
    /// Which function a function pointer points to, zero for what is no function pointer: those to all functions of a signature are of
    /// one type.
    pointer: usize,
    /// Whether the key is the text of a query, with its parameters.
    is_sql: bool,
}

/// The rest hardly ever differs where the closure does not.
impl Hash for Kind {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.closure.hash(state);
        if self.pointer != 0 {
            state.write_usize(self.pointer);
        }
    }
}

/// A function pointer that can be used as a query.
type Pointer<T> = fn(&Connection) -> Result<T>;

impl Kind {
    /// `None` for a boxed closure, or a reference to one: all that can be behind it are of one type, so it can't be told which query it is.
    #[inline]
    pub(crate) fn of_query<T: 'static, F: 'static>(query: &F) -> Option<Self> {
        let closure = TypeId::of::<F>();
        if is_boxed::<T>(closure) {
            return None;
        }
        let pointer = pointer_in::<Pointer<T>, F>(query).map_or(0, |pointer| *pointer as usize);
        Some(Self { value: TypeId::of::<T>(), closure, pointer, is_sql: false })
    }

    /// The kind of rows that `map` makes. `None` as above.
    #[inline]
    pub(crate) fn of_map<T: 'static, F: 'static>(map: &F) -> Option<Self> {
        let closure = TypeId::of::<F>();
        let boxes = [
            TypeId::of::<Box<dyn Fn(&Row<'_>) -> rusqlite::Result<T>>>(),
            TypeId::of::<Box<dyn Fn(&Row<'_>) -> rusqlite::Result<T> + Send>>(),
            TypeId::of::<Box<dyn Fn(&Row<'_>) -> rusqlite::Result<T> + Send + Sync>>(),
            TypeId::of::<&'static dyn Fn(&Row<'_>) -> rusqlite::Result<T>>(),
            TypeId::of::<&'static (dyn Fn(&Row<'_>) -> rusqlite::Result<T> + Sync)>(),
            TypeId::of::<&'static (dyn Fn(&Row<'_>) -> rusqlite::Result<T> + Send + Sync)>(),
        ];
        if boxes.contains(&closure) {
            return None;
        }
        let pointer = pointer_in::<MapPointer<T>, F>(map).map_or(0, |pointer| *pointer as usize);
        Some(Self { value: TypeId::of::<Vec<T>>(), closure, pointer, is_sql: true })
    }
}

/// What a value is if it is of type `P`. Compared first: then nothing is left of this where it is not.
#[inline]
fn pointer_in<P: 'static, F: 'static>(value: &F) -> Option<&P> {
    if TypeId::of::<F>() == TypeId::of::<P>() { (value as &dyn Any).downcast_ref() } else { None }
}

/// A function pointer that can make a value of a row.
type MapPointer<T> = fn(&Row<'_>) -> rusqlite::Result<T>;

#[inline]
fn is_boxed<T: 'static>(closure: TypeId) -> bool {
    [
        TypeId::of::<Box<dyn FnOnce(&Connection) -> Result<T> + Send>>(),
        TypeId::of::<Box<dyn FnMut(&Connection) -> Result<T> + Send>>(),
        TypeId::of::<Box<dyn Fn(&Connection) -> Result<T> + Send>>(),
        TypeId::of::<Box<dyn FnOnce(&Connection) -> Result<T> + Send + Sync>>(),
        TypeId::of::<Box<dyn FnMut(&Connection) -> Result<T> + Send + Sync>>(),
        TypeId::of::<Box<dyn Fn(&Connection) -> Result<T> + Send + Sync>>(),
        TypeId::of::<Box<dyn FnOnce(&Connection) -> Result<T>>>(),
        TypeId::of::<Box<dyn FnMut(&Connection) -> Result<T>>>(),
        TypeId::of::<Box<dyn Fn(&Connection) -> Result<T>>>(),
        TypeId::of::<&'static dyn Fn(&Connection) -> Result<T>>(),
        TypeId::of::<&'static (dyn Fn(&Connection) -> Result<T> + Sync)>(),
        TypeId::of::<&'static (dyn Fn(&Connection) -> Result<T> + Send + Sync)>(),
    ]
    .contains(&closure)
}

impl Name<'_> {
    /// Tells whether this is the name of a key.
    #[inline]
    pub(crate) fn is_of(&self, key: &Key) -> bool {
        *self == key.name()
    }
}

/// Whatever names a result.
pub(crate) trait Names: Send + Sync {
    fn name(&self) -> Name<'_>;
}

impl Key {
    /// Tells whether the key is the text of a query.
    pub(crate) fn is_query(&self) -> bool {
        self.kind.is_sql
    }

    /// The query whose text is the key, and its parameters.
    pub(crate) fn query(&self) -> Option<(&str, Values)> {
        if self.kind.is_sql { Some((&self.text, Values::from_bytes(&self.parameters)?)) } else { None }
    }

    /// The bytes it takes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.parameters.len()
    }
}

impl Names for Key {
    #[inline]
    fn name(&self) -> Name<'_> {
        Name { kind: &self.kind, parameters: &self.parameters, text: &self.text }
    }
}

impl Names for Name<'_> {
    #[inline]
    fn name(&self) -> Name<'_> {
        *self
    }
}

impl<'a> Borrow<dyn Names + 'a> for Key {
    #[inline]
    fn borrow(&self) -> &(dyn Names + 'a) {
        self
    }
}

impl ToOwned for dyn Names + '_ {
    type Owned = Key;

    fn to_owned(&self) -> Key {
        let Name { text, parameters, kind } = self.name();
        Key { text: text.into(), parameters: parameters.into(), kind: *kind }
    }
}

impl Hash for dyn Names + '_ {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl PartialEq for dyn Names + '_ {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Names + '_ {}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Key {}
