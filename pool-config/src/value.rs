//! Values of settings: the typed form, its text, and how Rust types turn into it and back.
//!
//! Owns representation; it must not know keys, ranges or origins.
//! Invariant: the text a value displays reads back as the same value (see `quantity`).

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::quantity::{ShownDuration, ShownSize};

/// The value of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Value {
    /// On or off.
    Flag(bool),
    /// How many of something.
    Count(usize),
    /// How many bytes.
    Size(u64),
    /// How long.
    Time(Duration),
    /// No limit in time.
    Never,
    /// How hard a commit is pushed to disk.
    Synchronous(Synchronous),
}

/// Displays the value as text that configuration files accept, such as `10`, `30s`, `64 MiB`, `never` or `normal`.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Flag(flag) => write!(formatter, "{flag}"),
            Value::Count(count) => write!(formatter, "{count}"),
            Value::Size(bytes) => write!(formatter, "{}", ShownSize(bytes)),
            Value::Time(duration) => write!(formatter, "{}", ShownDuration(duration)),
            Value::Never => formatter.write_str("never"),
            Value::Synchronous(choice) => write!(formatter, "{choice}"),
        }
    }
}

/// Serializes as a number where a number is exact (times in milliseconds, sizes in bytes), else as text.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Value::Flag(flag) => serializer.serialize_bool(flag),
            Value::Count(count) => serializer.serialize_u64(count as u64),
            Value::Size(bytes) => serializer.serialize_u64(bytes),
            Value::Time(duration) => match whole_millis(duration) {
                Some(millis) => serializer.serialize_u64(millis),
                None => serializer.collect_str(&ShownDuration(duration)),
            },
            Value::Never | Value::Synchronous(_) => serializer.collect_str(self),
        }
    }
}

impl Value {
    /// Names what the value is, with its article.
    pub(crate) const fn article(self) -> &'static str {
        match self {
            Value::Flag(_) => "a truth value",
            Value::Count(_) => "a count",
            Value::Size(_) => "a size",
            Value::Time(_) => "a duration",
            Value::Never => "never",
            Value::Synchronous(_) => "a synchronous mode",
        }
    }
}

/// The milliseconds of a duration that is a whole number of them.
pub(crate) fn whole_millis(duration: Duration) -> Option<u64> {
    let whole = duration.subsec_nanos().is_multiple_of(1_000_000);
    u64::try_from(duration.as_millis()).ok().filter(|_| whole)
}

/// How hard SQLite makes sure that a commit reached the disk, from fastest to safest.
///
/// Source: <https://www.sqlite.org/pragma.html#pragma_synchronous>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Leaves it to the operating system: a power cut can corrupt the database.
    Off,
    /// Syncs at checkpoints in WAL mode: a power cut can lose the last commits, never the database.
    Normal,
    /// Syncs at every commit.
    Full,
    /// Syncs the directory, too, in rollback-journal modes.
    Extra,
}

impl Synchronous {
    /// Every choice, from fastest to safest.
    pub const ALL: &'static [Synchronous] =
        &[Synchronous::Off, Synchronous::Normal, Synchronous::Full, Synchronous::Extra];

    /// Returns the name in lower case, as SQLite's pragma takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Synchronous::Off => "off",
            Synchronous::Normal => "normal",
            Synchronous::Full => "full",
            Synchronous::Extra => "extra",
        }
    }

    pub(crate) fn find(name: &str) -> Option<Synchronous> {
        Synchronous::ALL.iter().copied().find(|choice| choice.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Synchronous {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A Rust type that settings of one kind have.
pub(crate) trait Typed: Sized {
    fn into_value(self) -> Value;
    fn from_value(value: Value) -> Option<Self>;
}

/// One row a type: the variant that carries it.
macro_rules! typed_by_variant {
    ($($type:ty: $variant:ident;)+) => {
        $(impl Typed for $type {
            fn into_value(self) -> Value {
                Value::$variant(self)
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$variant(typed) => Some(typed),
                    _ => None,
                }
            }
        })+
    };
}

typed_by_variant! {
    bool: Flag;
    usize: Count;
    u64: Size;
    Duration: Time;
    Synchronous: Synchronous;
}

impl Typed for Option<Duration> {
    fn into_value(self) -> Value {
        self.map_or(Value::Never, Value::Time)
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Time(duration) => Some(Some(duration)),
            Value::Never => Some(None),
            _ => None,
        }
    }
}
