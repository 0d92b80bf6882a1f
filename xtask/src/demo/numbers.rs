//! Numbers as people read them, and names as terminals may. Pure; knows no figure's meaning.

use std::time::Duration;

/// A whole number with its thousands marked: `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut marked = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            marked.push(',');
        }
        marked.push(digit);
    }
    marked
}

/// How many a second.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { thousands((count as f64 / seconds).round() as u64) } else { "–".into() }
}

/// A span of time with three digits and the unit that fits: `850 ns`, `8.10 µs`, `1.23 ms`, `2.50 s`.
pub(crate) fn time(span: Duration) -> String {
    let nanos = span.as_nanos();
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// How much of the whole, in percent; `–` where there is no whole. Never rounds up to a perfect score.
pub(crate) fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".into(),
        _ if part == whole => "100 %".into(),
        // Rounded down, so that one miss in a million still shows.
        _ => {
            let hundredths = (u128::from(part) * 10_000 / u128::from(whole)) as u64;
            if hundredths > 9_990 {
                format!("{}.{:02} %", hundredths / 100, hundredths % 100)
            } else {
                format!("{}.{} %", hundredths / 100, hundredths % 100 / 10)
            }
        }
    }
}

/// A size: `512 bytes`, `4.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{} bytes", thousands(bytes)),
        10_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A count with its noun: `1 table`, `2 tables`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number as u64), if number == 1 { one } else { many })
}

/// A name from somewhere, with nothing in it that a terminal would obey.
pub(crate) fn printable(name: &str) -> String {
    let harmless = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    name.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_marked_from_the_right() {
        let marked: Vec<_> = [0, 12, 999, 1_000, 34_006, 1_234_567].into_iter().map(thousands).collect();
        assert_eq!(marked, ["0", "12", "999", "1,000", "34,006", "1,234,567"]);
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let spans: Vec<_> = [850, 8_100, 123_400, 1_234_000, 2_500_000_000]
            .into_iter()
            .map(|ns| time(Duration::from_nanos(ns)))
            .collect();
        assert_eq!(spans, ["850 ns", "8.10 µs", "123 µs", "1.23 ms", "2.50 s"]);
    }

    #[test]
    fn a_share_is_perfect_only_when_nothing_is_missing() {
        let shares: Vec<_> = [(0, 0), (0, 5), (1, 3), (999_999, 1_000_000), (7, 7)]
            .into_iter()
            .map(|(part, whole)| share(part, whole))
            .collect();
        assert_eq!(shares, ["–", "0.0 %", "33.3 %", "99.99 %", "100 %"]);
    }

    #[test]
    fn a_name_gives_the_terminal_no_orders() {
        assert_eq!(printable("\u{1b}[2Jclear, \"ключ\"\n"), "\\u{1b}[2Jclear, \"ключ\"\\n");
    }
}
