//! Numbers with their units, as people say them: 1.2 µs, 340 k/s.
//!
//! Must not know where they stand.

/// A value of this unit.
#[must_use]
pub fn human(value: f64, unit: &str) -> String {
    match unit {
        "ns" => time(value),
        "us" => time(value * 1e3),
        "1/s" => format!("{}/s", scaled(value)),
        "ratio" => digits(value),
        _ => format!("{} {unit}", scaled(value)),
    }
}

fn time(nanos: f64) -> String {
    match nanos.abs() {
        size if size >= 1e9 => format!("{} s", digits(nanos / 1e9)),
        size if size >= 1e6 => format!("{} ms", digits(nanos / 1e6)),
        size if size >= 1e3 => format!("{} µs", digits(nanos / 1e3)),
        _ => format!("{} ns", digits(nanos)),
    }
}

/// With `k` and `M` from ten thousand on.
#[must_use]
pub fn scaled(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{} M", digits(value / 1e6)),
        size if size >= 1e4 => format!("{} k", digits(value / 1e3)),
        _ => digits(value),
    }
}

/// Three digits.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_three_digits_and_a_unit_of_their_size() {
        assert_eq!(human(26.27, "ns"), "26.3 ns");
        assert_eq!(human(43_531.0, "ns"), "43.5 µs");
        assert_eq!(human(1_500.8, "us"), "1.50 ms");
        assert_eq!(human(715_554.0, "1/s"), "716 k/s");
        assert_eq!(human(55.34, "%"), "55.3 %");
        assert_eq!(human(0.961, "ratio"), "0.96");
    }
}
