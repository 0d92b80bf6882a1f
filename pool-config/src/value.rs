//! Values of settings: the typed form, its text, and how Rust types turn into it and back.
//!
//! Owns representation; it must not know keys, ranges or origins.
//! Invariant: the text a value displays reads back as the same value (see `quantity`).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::choice::{ExternalWriters, Synchronous, WorkPlacement};
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
    /// No limit in number or size.
    Unlimited,
    /// Which part of a whole.
    Share(Share),
    /// How hard a commit is pushed to disk.
    Synchronous(Synchronous),
    /// When commits of other processes are looked for.
    ExternalWriters(ExternalWriters),
    /// Where queries run.
    WorkPlacement(WorkPlacement),
}

/// Displays the value as text that configuration files accept, such as `10`, `30s`, `64 MiB`, `0.1`, `never` or `normal`.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Flag(flag) => write!(formatter, "{flag}"),
            Value::Count(count) => write!(formatter, "{count}"),
            Value::Size(bytes) => write!(formatter, "{}", ShownSize(bytes)),
            Value::Time(duration) => write!(formatter, "{}", ShownDuration(duration)),
            Value::Never => formatter.write_str("never"),
            Value::Unlimited => formatter.write_str("unlimited"),
            Value::Share(share) => write!(formatter, "{}", share.as_f64()),
            Value::Synchronous(choice) => write!(formatter, "{choice}"),
            Value::ExternalWriters(choice) => write!(formatter, "{choice}"),
            Value::WorkPlacement(choice) => write!(formatter, "{choice}"),
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
            Value::Share(share) => serializer.serialize_f64(share.as_f64()),
            Value::Never
            | Value::Unlimited
            | Value::Synchronous(_)
            | Value::ExternalWriters(_)
            | Value::WorkPlacement(_) => serializer.collect_str(self),
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
            Value::Unlimited => "unlimited",
            Value::Share(_) => "a share",
            Value::Synchronous(_) => "a synchronous mode",
            Value::ExternalWriters(_) => "a choice about other writers",
            Value::WorkPlacement(_) => "a work placement",
        }
    }
}

/// The milliseconds of a duration that is a whole number of them.
pub(crate) fn whole_millis(duration: Duration) -> Option<u64> {
    let whole = duration.subsec_nanos().is_multiple_of(1_000_000);
    u64::try_from(duration.as_millis()).ok().filter(|_| whole)
}

/// A share of a whole, meant to be from 0 to 1; whether it is, is checked when a configuration is built.
///
/// Two shares are equal when they are the same number to the last bit.
#[derive(Debug, Clone, Copy)]
pub struct Share(f64);

impl Share {
    /// Returns the share as a number.
    #[must_use]
    pub const fn as_f64(self) -> f64 {
        self.0
    }
}

impl From<f64> for Share {
    fn from(share: f64) -> Share {
        // Zero has two signs, and nobody means a difference.
        Share(if share == 0.0 { 0.0 } else { share })
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Share) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Share {}

impl Hash for Share {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
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
    ExternalWriters: ExternalWriters;
    WorkPlacement: WorkPlacement;
}

impl Typed for f64 {
    fn into_value(self) -> Value {
        Value::Share(self.into())
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Share(share) => Some(share.as_f64()),
            _ => None,
        }
    }
}

/// One row a type that may be without limit: the variant of the limit, the variant of none.
macro_rules! typed_or_none {
    ($($type:ty: $variant:ident or $none:ident;)+) => {
        $(impl Typed for Option<$type> {
            fn into_value(self) -> Value {
                self.map_or(Value::$none, Value::$variant)
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$variant(typed) => Some(Some(typed)),
                    Value::$none => Some(None),
                    _ => None,
                }
            }
        })+
    };
}

typed_or_none! {
    Duration: Time or Never;
    usize: Count or Unlimited;
    u64: Size or Unlimited;
}
