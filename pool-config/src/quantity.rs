//! Text of durations and sizes: `"1m 30s"`, `"64 MiB"`.
//!
//! Owns both directions; it must not know keys or ranges.
//! Invariant: what is displayed is exact and reads back as the same quantity.

use std::fmt;
use std::time::Duration;

/// Units of time in nanoseconds, longest first; the first name of a row is the one displayed.
const TIME_UNITS: &[(u128, &[&str])] = &[
    (86_400_000_000_000, &["d", "day", "days"]),
    (3_600_000_000_000, &["h", "hour", "hours"]),
    (60_000_000_000, &["m", "min", "minute", "minutes"]),
    (1_000_000_000, &["s", "sec", "second", "seconds"]),
    (1_000_000, &["ms", "millisecond", "milliseconds"]),
    (1_000, &["us", "µs", "microsecond", "microseconds"]),
    (1, &["ns", "nanosecond", "nanoseconds"]),
];

/// Units of size in bytes, largest first; decimal units are read, binary ones displayed.
const SIZE_UNITS: &[(u128, &[&str])] = &[
    (1 << 40, &["TiB"]),
    (1 << 30, &["GiB"]),
    (1 << 20, &["MiB"]),
    (1 << 10, &["KiB"]),
    (1_000_000_000_000, &["TB"]),
    (1_000_000_000, &["GB"]),
    (1_000_000, &["MB"]),
    (1_000, &["kB", "KB"]),
    (1, &["B", "byte", "bytes"]),
];

/// Why text is no quantity. Displays as the rest of a sentence that begins with the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Malformed {
    Empty,
    Negative,
    TooLarge,
    NoUnit,
    UnknownUnit(String),
    UnitsOutOfOrder,
    NotANumber,
}

/// Reads one or more numbers with units, largest unit first: `10s`, `1m 30s`, `1h30m`, `1.5s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Malformed> {
    let nanos = parse(text, TIME_UNITS, str::eq)?;
    let secs = u64::try_from(nanos / 1_000_000_000).map_err(|_| Malformed::TooLarge)?;
    Ok(Duration::new(secs, (nanos % 1_000_000_000) as u32))
}

/// Reads a number of bytes with its unit: `64 MiB`, `1.5 GiB`, `4096 B`.
pub(crate) fn parse_size(text: &str) -> Result<u64, Malformed> {
    u64::try_from(parse(text, SIZE_UNITS, str::eq_ignore_ascii_case)?).map_err(|_| Malformed::TooLarge)
}

/// Sums up `number unit` pairs whose units get smaller.
fn parse(text: &str, units: &[(u128, &[&str])], same: fn(&str, &str) -> bool) -> Result<u128, Malformed> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(Malformed::Empty);
    }
    if rest.starts_with('-') {
        return Err(Malformed::Negative);
    }
    let mut total: u128 = 0;
    let mut above = u128::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(Malformed::NotANumber);
        }
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            return Err(if after.is_empty() { Malformed::NoUnit } else { Malformed::NotANumber });
        }
        let scale = units
            .iter()
            .find(|(_, names)| names.iter().any(|name| same(name, unit)))
            .map(|(scale, _)| *scale)
            .ok_or_else(|| Malformed::UnknownUnit(unit.to_owned()))?;
        if scale >= above {
            return Err(Malformed::UnitsOutOfOrder);
        }
        above = scale;
        total = total.checked_add(scaled(number, scale)?).ok_or(Malformed::TooLarge)?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// Multiplies a decimal number by a scale, exactly: what is finer than the smallest unit is refused, not rounded.
fn scaled(number: &str, scale: u128) -> Result<u128, Malformed> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(Malformed::NotANumber);
    }
    let whole: u128 = whole.parse().map_err(|_| Malformed::TooLarge)?;
    let whole = whole.checked_mul(scale).ok_or(Malformed::TooLarge)?;
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        return Ok(whole);
    }
    // A fraction of more digits than the largest scale has zeros or halvings can never come out whole.
    if fraction.len() > 20 {
        return Err(Malformed::NotANumber);
    }
    let tenths = 10u128.pow(fraction.len() as u32);
    let part: u128 = fraction.parse().map_err(|_| Malformed::NotANumber)?;
    let part = part.checked_mul(scale).filter(|part| part.is_multiple_of(tenths)).ok_or(Malformed::NotANumber)?;
    whole.checked_add(part / tenths).ok_or(Malformed::TooLarge)
}

/// Returns the regular expression (ECMA-262) of the text of durations.
#[cfg(feature = "json")]
pub(crate) fn time_pattern() -> String {
    pattern(TIME_UNITS, |unit| unit.to_owned())
}

/// Returns the regular expression (ECMA-262) of the text of sizes.
#[cfg(feature = "json")]
pub(crate) fn size_pattern() -> String {
    // Units that are scaled alike stand in the table in groups; what is written must get smaller.
    let mut units = SIZE_UNITS.to_vec();
    units.sort_by_key(|(scale, _)| std::cmp::Reverse(*scale));
    pattern(&units, in_any_case)
}

/// Takes at most one number of each unit, largest first, as [`parse`] does.
#[cfg(feature = "json")]
fn pattern(units: &[(u128, &[&str])], spelled: fn(&str) -> String) -> String {
    let part = |(_, names): &(u128, &[&str])| {
        let names: Vec<String> = names.iter().map(|name| spelled(name)).collect();
        format!("(?:[0-9]+(?:\\.[0-9]+)?\\s*(?:{})\\s*)?", names.join("|"))
    };
    format!("^\\s*{}$", units.iter().map(part).collect::<String>())
}

/// Returns the pattern of a word in upper and lower case.
#[cfg(feature = "json")]
pub(crate) fn in_any_case(word: &str) -> String {
    let letter = |c: char| format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase());
    word.chars().map(letter).collect()
}

/// Displays a duration exactly, as `1m 30s`.
pub(crate) struct ShownDuration(pub(crate) Duration);

impl fmt::Display for ShownDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return formatter.write_str("0ms");
        }
        let mut gap = "";
        for (scale, names) in TIME_UNITS {
            let count = rest / scale;
            rest %= scale;
            if count > 0 {
                write!(formatter, "{gap}{count}{}", names[0])?;
                gap = " ";
            }
        }
        Ok(())
    }
}

/// Displays a size exactly, in the largest binary unit that divides it, as `64 MiB`.
pub(crate) struct ShownSize(pub(crate) u64);

impl fmt::Display for ShownSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = u128::from(self.0);
        let binary = SIZE_UNITS.iter().take(4).find(|(scale, _)| bytes > 0 && bytes.is_multiple_of(*scale));
        match binary {
            Some((scale, names)) => write!(formatter, "{} {}", bytes / scale, names[0]),
            None => write!(formatter, "{bytes} B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_written() {
        for (text, nanos) in [
            ("10s", 10_000_000_000),
            ("1m 30s", 90_000_000_000),
            ("1m30s", 90_000_000_000),
            (" 1 h  5 min ", 3_900_000_000_000),
            ("1.5s", 1_500_000_000),
            ("2.50 seconds", 2_500_000_000),
            ("0s", 0),
            ("250ms", 250_000_000),
            ("7µs 3ns", 7_003),
            ("1d", 86_400_000_000_000),
        ] {
            assert_eq!(parse_duration(text).map(|duration| duration.as_nanos()), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn sizes_read_as_written() {
        for (text, bytes) in [
            ("64 MiB", 64 << 20),
            ("64mib", 64 << 20),
            ("1.5 KiB", 1_536),
            ("2 GB", 2_000_000_000),
            ("10 kB", 10_000),
            ("4096 B", 4_096),
            ("1 GiB 1 MiB", (1 << 30) + (1 << 20)),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_quantity_says_why() {
        for (text, why) in [
            ("", Malformed::Empty),
            ("  ", Malformed::Empty),
            ("-5s", Malformed::Negative),
            ("10", Malformed::NoUnit),
            ("1m 30", Malformed::NoUnit),
            ("10 parsecs", Malformed::UnknownUnit("parsecs".to_owned())),
            ("10M", Malformed::UnknownUnit("M".to_owned())),
            ("30s 1m", Malformed::UnitsOutOfOrder),
            ("1s 1s", Malformed::UnitsOutOfOrder),
            ("soon", Malformed::NotANumber),
            ("1,5s", Malformed::NotANumber),
            ("1.2.3s", Malformed::NotANumber),
            (".5s", Malformed::NotANumber),
            ("0.1ns", Malformed::NotANumber),
            ("1\0s", Malformed::NotANumber),
            ("99999999999999999999999999d", Malformed::TooLarge),
            ("340282366920938463463374607431768211455d", Malformed::TooLarge),
            ("9999999999999999999999999999999999999999999999999s", Malformed::TooLarge),
            ("600000000000000d", Malformed::TooLarge),
        ] {
            assert_eq!(parse_duration(text), Err(why), "{text:?}");
        }
        assert_eq!(parse_size("16777216 TiB"), Err(Malformed::TooLarge));
        assert_eq!(parse_size("0.3 B"), Err(Malformed::NotANumber));
    }

    #[test]
    fn quantities_display_in_their_largest_units() {
        assert_eq!(ShownDuration(Duration::from_millis(90_500)).to_string(), "1m 30s 500ms");
        assert_eq!(ShownDuration(Duration::ZERO).to_string(), "0ms");
        assert_eq!(ShownSize(64 << 20).to_string(), "64 MiB");
        assert_eq!(ShownSize(0x7fff_0000).to_string(), "2097088 KiB");
        assert_eq!(ShownSize(1_000).to_string(), "1000 B");
        assert_eq!(ShownSize(0).to_string(), "0 B");
    }

    proptest! {
        #[test]
        fn every_duration_reads_back_as_displayed(secs: u64, nanos in 0u32..1_000_000_000) {
            let duration = Duration::new(secs, nanos);
            prop_assert_eq!(parse_duration(&ShownDuration(duration).to_string()), Ok(duration));
        }

        #[test]
        fn every_size_reads_back_as_displayed(bytes: u64) {
            prop_assert_eq!(parse_size(&ShownSize(bytes).to_string()), Ok(bytes));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,40}|[-0-9. dhmsunMiBTG]{0,40}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
