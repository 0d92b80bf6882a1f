//! What a query is given besides its text, as values that outlive the call.
//!
//! Owns the forms in which parameters may be passed, and writing them down: in one piece that is part of a key and is read back when the
//! query runs. It must not know who asks. Invariant: no two lists of parameters are written as the same bytes, and each reads back as
//! the values that were passed.

use pool_stmt::rusqlite::CachedStatement;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Rows, ToSql};

use crate::error::Result;

/// Parameters of a query whose text and values outlive the call: of [`query_cached`](crate::DatabaseManager::query_cached) and
/// [`read_stream`](crate::DatabaseManager::read_stream).
///
/// It is implemented for what [`rusqlite::Params`] is, but for `params_from_iter`: a `Vec` of values is passed as it is. (rusqlite's own trait
/// can bind to a statement only, and where a result is cached there is none.)
///
/// * none: `()`, `[]`, `&[]`;
/// * by position: [`params!`](rusqlite::params), `&[&dyn ToSql]`, tuples up to 16, arrays up to 32, a `Vec`, a slice of [`Value`];
/// * by name: [`named_params!`](rusqlite::named_params), `&[(":name", value)]`. What is not named is NULL.
///
/// Parameters passed by value (tuples, arrays, a `Vec`) are gone when the call returns its future. Those behind a reference may live as long as
/// the expression they stand in, so where a future has to be `Send` it is made first and awaited in a statement of its own.
///
/// ```
/// use pool_manager::rusqlite::{named_params, params};
///
/// # let db = pool_manager::DatabaseManager::open(":memory:")?;
/// let sum = |row: &pool_manager::rusqlite::Row<'_>| row.get::<_, i64>(0);
/// assert_eq!(*db.blocking().query_cached("SELECT 1", (), sum)?, [1]);
/// assert_eq!(*db.blocking().query_cached("SELECT ?1 + ?2", (1, 2), sum)?, [3]);
/// assert_eq!(*db.blocking().query_cached("SELECT ?1 + ?2", params![1, 2], sum)?, [3]);
/// assert_eq!(*db.blocking().query_cached("SELECT :a + :b", named_params! { ":a": 1, ":b": 2 }, sum)?, [3]);
/// assert_eq!(*db.blocking().query_cached("SELECT ? + ? + ?", vec![1, 2, 3], sum)?, [6]);
/// # Ok::<(), pool_manager::Error>(())
/// ```
///
/// A type of the program's own can list itself:
///
/// ```
/// use pool_manager::{ParameterList, Parameters, rusqlite};
///
/// struct Between(i64, i64);
///
/// impl Parameters for Between {
///     fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
///         list.push_named(":from", &self.0)?;
///         list.push_named(":to", &self.1)
///     }
/// }
/// # let db = pool_manager::DatabaseManager::open(":memory:")?;
/// # db.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), (5), (9)")?))?;
///
/// let sql = "SELECT a FROM t WHERE a BETWEEN :from AND :to";
/// assert_eq!(*db.blocking().query_cached(sql, Between(2, 8), |row| row.get::<_, i64>(0))?, [5]);
/// # Ok::<(), pool_manager::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the parameters of a query that outlives the call",
    note = "pass a tuple, an array, `params![..]`, `named_params! {{..}}`, `()`, or a `Vec` instead of `params_from_iter`"
)]
pub trait Parameters {
    /// Adds the parameters to a list, in order.
    ///
    /// # Errors
    ///
    /// When one can't be turned into a value.
    fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()>;
}

/// Parameters as they are written down; filled by [`Parameters::list`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParameterList {
    bytes: Vec<u8>,
}

/// How many bytes a number takes.
const MOST_OF_A_NUMBER: usize = 9;

/// What stands before a name; before values there is the number of their type.
const NAME: u8 = 5;

impl ParameterList {
    /// Begins an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the parameter that is next in order.
    ///
    /// # Errors
    ///
    /// When it can't be turned into a value, or is not one that can be kept: a text that is not UTF-8, a BLOB of zeros known by its length
    /// only.
    #[inline]
    pub fn push(&mut self, value: &(impl ToSql + ?Sized)) -> rusqlite::Result<()> {
        match value.to_sql()? {
            ToSqlOutput::Borrowed(value) => {
                if let ValueRef::Text(_) = value {
                    // Else it could not be read back.
                    value.as_str()?;
                }
                self.write(value);
            }
            ToSqlOutput::Owned(value) => self.write((&value).into()),
            _ => return Err(rusqlite::Error::ToSqlConversionFailure("a parameter must be a plain value".into())),
        }
        Ok(())
    }

    /// Adds the parameter of a name, which begins with `:`, `@` or `$` as in the query. In one list all are named, or none.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn push_named(&mut self, name: &str, value: &(impl ToSql + ?Sized)) -> rusqlite::Result<()> {
        self.bytes.push(NAME);
        self.write_content(name.as_bytes());
        self.push(value)
    }

    /// The list of what a caller passes.
    ///
    /// # Errors
    ///
    /// When one can't be turned into a value.
    pub(crate) fn of(parameters: &(impl Parameters + ?Sized)) -> rusqlite::Result<Self> {
        let mut list = Self::new();
        parameters.list(&mut list)?;
        Ok(list)
    }

    /// What tells it from others.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its values.
    pub(crate) fn values(&self) -> Values {
        Values::from_bytes(&self.bytes).unwrap_or_else(|| panic!("BUG: what was written down can't be read back"))
    }

    #[inline]
    fn write(&mut self, value: ValueRef<'_>) {
        let (kind, content): (u8, &[u8]) = match value {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(number) => (1, &number.to_le_bytes()),
            ValueRef::Real(number) => (2, &number.to_bits().to_le_bytes()),
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(blob) => (4, blob),
        };
        self.bytes.push(kind);
        if kind > 2 { self.write_content(content) } else { self.bytes.extend(content) }
    }

    #[inline]
    fn write_content(&mut self, content: &[u8]) {
        self.bytes.extend((content.len() as u64).to_le_bytes());
        self.bytes.extend(content);
    }
}

/// Parameters read back.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Values {
    /// One for each value, or none.
    pub(crate) names: Vec<String>,
    pub(crate) values: Vec<Value>,
}

impl Values {
    /// Reads what a list has written; `None` where it is none.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut read = Self::default();
        while let Some((kind, rest)) = bytes.split_first() {
            bytes = rest;
            let mut take = |length: usize| {
                let (content, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Some(content)
            };
            let mut number = || take(8)?.try_into().ok().map(u64::from_le_bytes);
            let value = match kind {
                0 => Value::Null,
                1 => Value::Integer(number()?.cast_signed()),
                2 => Value::Real(f64::from_bits(number()?)),
                _ => {
                    let length = usize::try_from(number()?).ok()?;
                    let content = take(length)?.to_vec();
                    match *kind {
                        3 => Value::Text(String::from_utf8(content).ok()?),
                        NAME => {
                            read.names.push(String::from_utf8(content).ok()?);
                            continue;
                        }
                        _ => Value::Blob(content),
                    }
                }
            };
            read.values.push(value);
        }
        Some(read)
    }

    /// Begins a query with these.
    pub(crate) fn query<'s>(self, statement: &'s mut CachedStatement<'_>) -> Result<Rows<'s>> {
        if self.names.is_empty() {
            return Ok(statement.query(rusqlite::params_from_iter(self.values))?);
        }
        if self.names.len() != self.values.len() {
            let mixed = "in a list of parameters all are named, or none";
            return Err(rusqlite::Error::ToSqlConversionFailure(mixed.into()).into());
        }
        let named: Vec<_> = self.names.iter().map(String::as_str).zip(&self.values).collect();
        Ok(statement.query(named.as_slice())?)
    }
}

impl Parameters for ParameterList {
    fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
        list.bytes.extend(&self.bytes);
        Ok(())
    }
}

impl Parameters for () {
    #[inline]
    fn list(&self, _list: &mut ParameterList) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// The only one for an empty array, so that the type of `[]` is known.
impl Parameters for [&(dyn ToSql + Send + Sync); 0] {
    #[inline]
    fn list(&self, _list: &mut ParameterList) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// The only one for a reference to an empty array, likewise.
impl Parameters for &[&(dyn ToSql + Send + Sync); 0] {
    #[inline]
    fn list(&self, _list: &mut ParameterList) -> rusqlite::Result<()> {
        Ok(())
    }
}

#[inline]
fn list_all<T: ToSql>(values: &[T], list: &mut ParameterList) -> rusqlite::Result<()> {
    list.bytes.reserve(values.len() * MOST_OF_A_NUMBER);
    values.iter().try_for_each(|value| list.push(value))
}

fn list_named<T: ToSql>(values: &[(&str, T)], list: &mut ParameterList) -> rusqlite::Result<()> {
    values.iter().try_for_each(|(name, value)| list.push_named(name, value))
}

impl Parameters for &[&dyn ToSql] {
    #[inline]
    fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
        list_all(self, list)
    }
}

impl Parameters for &[Value] {
    fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
        list_all(self, list)
    }
}

impl<T: ToSql> Parameters for &[(&str, T)] {
    fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
        list_named(self, list)
    }
}

impl<T: ToSql> Parameters for Vec<T> {
    fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
        list_all(self, list)
    }
}

macro_rules! arrays {
    ($($length:literal)+) => {$(
        impl<T: ToSql> Parameters for [T; $length] {
            #[inline]
            fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
                list_all(self, list)
            }
        }

        impl<T: ToSql + ?Sized> Parameters for &[&T; $length] {
            #[inline]
            fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
                list_all(*self, list)
            }
        }

        impl<T: ToSql + ?Sized> Parameters for &[(&str, &T); $length] {
            fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
                list_named(*self, list)
            }
        }
    )+};
}

arrays!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);

macro_rules! tuples {
    ($last:ident $($kind:ident)*) => {
        tuples!($($kind)*);

        impl<$last: ToSql, $($kind: ToSql),*> Parameters for ($last, $($kind,)*) {
            #[inline]
            fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
                #[expect(non_snake_case, reason = "variables are named as their types are")]
                let ($last, $($kind,)*) = self;
                list.push($last)?;
                $(list.push($kind)?;)*
                Ok(())
            }
        }
    };
    () => {};
}

tuples!(A B C D E F G H I J K L M N O P);

#[cfg(test)]
mod tests {
    use rusqlite::{named_params, params};

    use super::*;

    #[test]
    fn values_come_back_from_what_was_written() {
        let values = vec![
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Real(-0.1),
            Value::Text("\u{e9}, and more".to_owned()),
            Value::Text(String::new()),
            Value::Blob(vec![0, 255, 1]),
        ];
        let list = ParameterList::of(&values).unwrap_or_default();
        assert_eq!(list.values(), Values { names: Vec::new(), values });
        assert_eq!(Values::from_bytes(&list.bytes()[..list.bytes().len() - 1]), None);
    }

    #[test]
    fn one_list_is_written_alike_in_whatever_form_it_is_passed() {
        let lists = [
            ParameterList::of(&(1, 2)),
            ParameterList::of(&[1, 2]),
            ParameterList::of(&&[&1, &2]),
            ParameterList::of(&params![1, 2]),
            ParameterList::of(&vec![1, 2]),
            ParameterList::of(&[Value::Integer(1), Value::Integer(2)].as_slice()),
        ]
        .map(Result::ok);
        assert!(lists[0].is_some() && lists.iter().all(|list| *list == lists[0]), "{lists:?}");
        let named = [
            ParameterList::of(&named_params! { ":a": 1, ":b": 2 }),
            ParameterList::of(&&[(":a", &1), (":b", &2)]),
            ParameterList::of(&[(":a", 1), (":b", 2)].as_slice()),
        ]
        .map(Result::ok);
        assert!(named[0].is_some() && named.iter().all(|list| *list == named[0]), "{named:?}");
        let back = named[0].as_ref().map(ParameterList::values).unwrap_or_default();
        assert_eq!((back.names.as_slice(), back.values.len()), (&[":a".to_owned(), ":b".to_owned()][..], 2));
        assert_ne!(named[0], lists[0]);
        for none in [ParameterList::of(&()), ParameterList::of(&[]), ParameterList::of(&&[])] {
            assert_eq!(none.ok(), Some(ParameterList::new()));
        }
    }
}
