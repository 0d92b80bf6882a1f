//! Kinds of settings: reading a raw value as its kind, checking its range, saying what is allowed.
//!
//! Owns the difference between a good and a bad value; it must not know where a value came from.
//! Invariant: a value that `read` returns passes `check` of the same kind.

use std::fmt;
use std::time::Duration;

use figment::value::Value as Raw;

use crate::choice::{ExternalWriters, Synchronous, WorkPlacement};
use crate::quantity::{Malformed, ShownDuration, ShownSize, parse_duration, parse_size};
use crate::value::{Value, whole_millis};

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Flag,
    Count { unit: &'static str, min: usize, max: usize, unlimited: bool },
    Size { min: u64, max: u64, unlimited: bool },
    PowerOfTwo { min: u64, max: u64 },
    Share,
    Time { min: Duration, max: Duration, never: bool },
    Synchronous,
    ExternalWriters,
    WorkPlacement,
}

// The constructors carry the names that the rows of the key table use.

pub(crate) const fn flag() -> Kind {
    Kind::Flag
}

pub(crate) const fn count(unit: &'static str, min: usize, max: usize) -> Kind {
    Kind::Count { unit, min, max, unlimited: false }
}

/// A count that may be `unlimited`.
pub(crate) const fn limit(unit: &'static str, min: usize, max: usize) -> Kind {
    Kind::Count { unit, min, max, unlimited: true }
}

pub(crate) const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max, unlimited: false }
}

/// A size that may be `unlimited`.
pub(crate) const fn bound(min: u64, max: u64) -> Kind {
    Kind::Size { min, max, unlimited: true }
}

pub(crate) const fn power_of_two(min: u64, max: u64) -> Kind {
    Kind::PowerOfTwo { min, max }
}

pub(crate) const fn share() -> Kind {
    Kind::Share
}

pub(crate) const fn time(min: Duration, max: Duration) -> Kind {
    Kind::Time { min, max, never: false }
}

/// A time that may be `never`.
pub(crate) const fn lasting(min: Duration, max: Duration) -> Kind {
    Kind::Time { min, max, never: true }
}

pub(crate) const fn synchronous() -> Kind {
    Kind::Synchronous
}

pub(crate) const fn external_writers() -> Kind {
    Kind::ExternalWriters
}

pub(crate) const fn work_placement() -> Kind {
    Kind::WorkPlacement
}

/// What is wrong with a value. Displays as the rest of a sentence that begins with the value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Zero where something is needed.
    Zero,
    /// Below zero.
    Negative,
    /// Above zero and below the least that is allowed.
    TooSmall,
    /// Above the most that is allowed, or too large for any number here.
    TooLarge,
    /// Of another type than the key takes.
    WrongType {
        /// The type that was found, with its article.
        found: &'static str,
    },
    /// Text without a number.
    NotANumber,
    /// Text that is empty.
    Empty,
    /// Text with a number but without its unit.
    NoUnit,
    /// Text with a unit that does not exist here.
    UnknownUnit {
        /// The unit as written.
        unit: String,
    },
    /// Text whose units do not get smaller from left to right.
    UnitsOutOfOrder,
    /// Text that is none of the choices.
    UnknownChoice,
    /// A size that is no power of two.
    NotAPowerOfTwo,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Zero => formatter.write_str("is zero"),
            Fault::Negative => formatter.write_str("is negative"),
            Fault::TooSmall => formatter.write_str("is too small"),
            Fault::TooLarge => formatter.write_str("is too large"),
            Fault::WrongType { found } => write!(formatter, "is {found}"),
            Fault::NotANumber => formatter.write_str("cannot be read"),
            Fault::Empty => formatter.write_str("is empty"),
            Fault::NoUnit => formatter.write_str("has no unit"),
            Fault::UnknownUnit { unit } => write!(formatter, "has the unknown unit {unit:?}"),
            Fault::UnitsOutOfOrder => formatter.write_str("has units that do not get smaller"),
            Fault::UnknownChoice => formatter.write_str("is no known choice"),
            Fault::NotAPowerOfTwo => formatter.write_str("is no power of two"),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(why: Malformed) -> Fault {
        match why {
            Malformed::Empty => Fault::Empty,
            Malformed::Negative => Fault::Negative,
            Malformed::TooLarge => Fault::TooLarge,
            Malformed::NoUnit => Fault::NoUnit,
            Malformed::UnknownUnit(unit) => Fault::UnknownUnit { unit },
            Malformed::UnitsOutOfOrder => Fault::UnitsOutOfOrder,
            Malformed::NotANumber => Fault::NotANumber,
        }
    }
}

impl Kind {
    /// Says in words what values are allowed.
    pub(crate) fn allowed(self) -> String {
        let or = |also: bool, word: &str| if also { format!(", or \"{word}\"") } else { String::new() };
        match self {
            Kind::Flag => "true or false".to_owned(),
            Kind::Count { unit, min, max, unlimited } => {
                format!("a whole number of {unit} from {min} to {max}{}", or(unlimited, UNLIMITED))
            }
            Kind::Size { min, max, unlimited } => {
                let (min, max, or) = (ShownSize(min), ShownSize(max), or(unlimited, UNLIMITED));
                format!("from {min} to {max}, as a whole number of bytes or text like \"64 MiB\"{or}")
            }
            Kind::PowerOfTwo { min, max } => {
                let (min, max) = (ShownSize(min), ShownSize(max));
                format!("a power of two from {min} to {max}, as a whole number of bytes or text like \"4 KiB\"")
            }
            Kind::Share => "a number from 0 to 1, such as 0.1".to_owned(),
            Kind::Time { min, max, never } => {
                let (min, max, or) = (ShownDuration(min), ShownDuration(max), or(never, NEVER));
                format!("from {min} to {max}, as a whole number of milliseconds or text like \"10s\"{or}")
            }
            Kind::Synchronous => listed(Synchronous::WORDS),
            Kind::ExternalWriters => listed(ExternalWriters::WORDS),
            Kind::WorkPlacement => listed(WorkPlacement::WORDS),
        }
    }

    pub(crate) fn unit(self) -> Option<&'static str> {
        match self {
            Kind::Count { unit, .. } => Some(unit),
            Kind::Size { .. } | Kind::PowerOfTwo { .. } => Some("bytes"),
            Kind::Time { .. } => Some("milliseconds"),
            Kind::Flag | Kind::Share | Kind::Synchronous | Kind::ExternalWriters | Kind::WorkPlacement => None,
        }
    }

    /// Reads a raw value as this kind and checks its range.
    pub(crate) fn read(self, raw: &Raw) -> Result<Value, Fault> {
        let value = match (self, raw) {
            (_, Raw::String(_, text)) if text.trim().is_empty() => return Err(Fault::Empty),
            (Kind::Flag, Raw::Bool(_, flag)) => Value::Flag(*flag),
            (Kind::Count { .. }, Raw::Num(..)) => {
                Value::Count(usize::try_from(whole(raw)?).map_err(|_| Fault::TooLarge)?)
            }
            (Kind::Count { unlimited: true, .. } | Kind::Size { unlimited: true, .. }, Raw::String(_, text))
                if is_unlimited(text) =>
            {
                Value::Unlimited
            }
            (Kind::Size { .. } | Kind::PowerOfTwo { .. }, Raw::Num(..)) => Value::Size(whole(raw)?),
            (Kind::Size { .. } | Kind::PowerOfTwo { .. }, Raw::String(_, text)) => Value::Size(parse_size(text)?),
            (Kind::Share, Raw::Num(..)) => Value::Share(number(raw).into()),
            (Kind::Time { .. }, Raw::Num(..)) => Value::Time(Duration::from_millis(whole(raw)?)),
            (Kind::Time { never: true, .. }, Raw::String(_, text)) if is_never(text) => Value::Never,
            (Kind::Time { .. }, Raw::String(_, text)) => Value::Time(parse_duration(text)?),
            (Kind::Synchronous, Raw::String(_, text)) => {
                Value::Synchronous(Synchronous::find(text.trim()).ok_or(Fault::UnknownChoice)?)
            }
            (Kind::ExternalWriters, Raw::String(_, text)) => {
                Value::ExternalWriters(ExternalWriters::find(text.trim()).ok_or(Fault::UnknownChoice)?)
            }
            (Kind::WorkPlacement, Raw::String(_, text)) => {
                Value::WorkPlacement(WorkPlacement::find(text.trim()).ok_or(Fault::UnknownChoice)?)
            }
            _ => return Err(Fault::WrongType { found: type_of(raw) }),
        };
        self.check(value).map(|()| value)
    }

    /// Checks the range of a value of this kind.
    pub(crate) fn check(self, value: Value) -> Result<(), Fault> {
        match (self, value) {
            (Kind::Flag, Value::Flag(_))
            | (Kind::Synchronous, Value::Synchronous(_))
            | (Kind::ExternalWriters, Value::ExternalWriters(_))
            | (Kind::WorkPlacement, Value::WorkPlacement(_))
            | (Kind::Time { never: true, .. }, Value::Never)
            | (Kind::Count { unlimited: true, .. } | Kind::Size { unlimited: true, .. }, Value::Unlimited) => Ok(()),
            (Kind::Count { min, max, .. }, Value::Count(count)) => within(count, 0, min, max),
            (Kind::Size { min, max, .. }, Value::Size(bytes)) => within(bytes, 0, min, max),
            (Kind::PowerOfTwo { min, max }, Value::Size(bytes)) => {
                within(bytes, 0, min, max)?;
                if bytes.is_power_of_two() { Ok(()) } else { Err(Fault::NotAPowerOfTwo) }
            }
            (Kind::Share, Value::Share(share)) => match share.as_f64() {
                share if share.is_nan() => Err(Fault::NotANumber),
                share if share < 0.0 => Err(Fault::Negative),
                share => within(share, 0.0, 0.0, 1.0),
            },
            (Kind::Time { min, max, .. }, Value::Time(time)) => within(time, Duration::ZERO, min, max),
            (_, other) => Err(Fault::WrongType { found: other.article() }),
        }
    }
}

/// The word for no limit in time.
pub(crate) const NEVER: &str = "never";

/// The word for no limit in number or size.
pub(crate) const UNLIMITED: &str = "unlimited";

/// Joins the words of a choice as `off, normal, full or extra`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// A number of any family.
fn number(raw: &Raw) -> f64 {
    let whole = raw.to_i128().map(|number| number as f64).or(raw.to_u128().map(|number| number as f64));
    whole.or(raw.to_f64()).unwrap_or(f64::NAN)
}

fn within<T: PartialOrd>(value: T, zero: T, min: T, max: T) -> Result<(), Fault> {
    if value > max {
        Err(Fault::TooLarge)
    } else if value >= min {
        Ok(())
    } else if value == zero {
        Err(Fault::Zero)
    } else {
        Err(Fault::TooSmall)
    }
}

/// A whole number that is not negative.
fn whole(raw: &Raw) -> Result<u64, Fault> {
    // Unsigned and signed numbers are two families here: each conversion answers for its own only.
    if let Some(number) = raw.to_u128() {
        return u64::try_from(number).map_err(|_| Fault::TooLarge);
    }
    if let Some(number) = raw.to_i128() {
        return if number < 0 { Err(Fault::Negative) } else { u64::try_from(number).map_err(|_| Fault::TooLarge) };
    }
    Err(match raw.to_f64() {
        Some(number) if number >= u64::MAX as f64 => Fault::TooLarge,
        Some(number) if number < 0.0 => Fault::Negative,
        _ => Fault::WrongType { found: type_of(raw) },
    })
}

fn is_never(text: &str) -> bool {
    let text = text.trim();
    text.eq_ignore_ascii_case(NEVER) || text.eq_ignore_ascii_case("off")
}

fn is_unlimited(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case(UNLIMITED)
}

pub(crate) fn type_of(raw: &Raw) -> &'static str {
    match raw {
        Raw::String(..) | Raw::Char(..) => "text",
        Raw::Bool(..) => "a truth value",
        Raw::Num(..) if raw.to_i128().is_some() || raw.to_u128().is_some() => "a number",
        Raw::Num(..) => "a fraction",
        Raw::Empty(..) => "nothing",
        Raw::Dict(..) => "a table",
        Raw::Array(..) => "a list",
    }
}

/// Writes a typed value as the raw value that reads back as it.
pub(crate) fn raw(value: Value) -> Raw {
    match value {
        Value::Flag(flag) => Raw::from(flag),
        Value::Count(count) => Raw::from(count as u64),
        Value::Size(bytes) => Raw::from(bytes),
        Value::Time(duration) => match whole_millis(duration) {
            Some(millis) => Raw::from(millis),
            None => Raw::from(ShownDuration(duration).to_string()),
        },
        Value::Share(share) => Raw::from(share.as_f64()),
        Value::Never
        | Value::Unlimited
        | Value::Synchronous(_)
        | Value::ExternalWriters(_)
        | Value::WorkPlacement(_) => Raw::from(value.to_string()),
    }
}
