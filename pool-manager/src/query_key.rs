//! What identifies a cached result.
//!
//! Owns the key and looking one up without making it. It must not know results. Invariant: two queries that use the same text by mistake
//! can't get each other's rows: keys differ with the type of the value and with the closure.

use std::any::{Any, TypeId};
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use crate::connection::Connection;
use crate::error::Result;

/// The key of a result as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    text: Box<str>,
    parameters: Box<[u8]>,
    kind: Kind,
}

/// The same, borrowed from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Name<'a> {
    pub(crate) text: &'a str,
    /// Values of parameters, one after the other.
    pub(crate) parameters: &'a [u8],
    pub(crate) kind: Kind,
}

/// Which closure makes which type of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    value: TypeId,
    closure: TypeId,
    /// Which function a function pointer points to: pointers to all functions of a signature are of one type.
    pointer: Option<usize>,
}

/// A function pointer that can be used as a query.
type Pointer<T> = fn(&Connection) -> Result<T>;

impl Kind {
    /// `None` for a boxed closure: all that can be in the box are of one type, so it can't be told which query it is.
    pub(crate) fn of_query<T: 'static, F: 'static>(query: &F) -> Option<Self> {
        let closure = TypeId::of::<F>();
        if is_boxed::<T>(closure) {
            return None;
        }
        let pointer = (query as &dyn Any).downcast_ref::<Pointer<T>>().map(|pointer| *pointer as usize);
        Some(Self { value: TypeId::of::<T>(), closure, pointer })
    }

    /// The kind of rows that are made by a closure which borrows from a row. `None` for a function pointer: what type it has can't
    /// be named here, so it can't be told which function it is.
    pub(crate) fn of_map<T: 'static, F: 'static>() -> Option<Self> {
        let pointer = size_of::<F>() != 0 && std::any::type_name::<F>().contains("fn(");
        let boxed = std::any::type_name::<F>().contains("dyn ");
        (!pointer && !boxed).then(|| Self { value: TypeId::of::<Vec<T>>(), closure: TypeId::of::<F>(), pointer: None })
    }
}

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
    ]
    .contains(&closure)
}

/// Whatever names a result.
pub(crate) trait Names: Send + Sync {
    fn name(&self) -> Name<'_>;
}

impl Key {
    /// The bytes it takes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.parameters.len()
    }
}

impl Names for Key {
    #[inline]
    fn name(&self) -> Name<'_> {
        Name { text: &self.text, parameters: &self.parameters, kind: self.kind }
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
        Key { text: text.into(), parameters: parameters.into(), kind }
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
