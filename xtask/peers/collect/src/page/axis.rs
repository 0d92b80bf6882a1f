//! Where values lie on a plot, and which of them get a line and a number.
//!
//! Must not know what the values are. Invariant: the ticks lie within the range, in rising order.

/// A range of values along the side of a plot.
#[derive(Clone, Copy, Debug)]
pub enum Axis {
    /// From zero to this, with a line at every step.
    Linear { most: f64, step: f64 },
    /// From one power of ten to another.
    Decades { from: i32, to: i32 },
}

impl Axis {
    /// From zero to a round number not below any of these.
    #[must_use]
    pub fn linear(values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0, f64::max);
        if most <= 0.0 {
            return Self::Linear { most: 1.0, step: 0.5 };
        }
        let step = step(most);
        Self::Linear { most: (most / step).ceil() * step, step }
    }

    /// Whole decades around these, of which none is zero or less.
    #[must_use]
    pub fn decades(values: impl Iterator<Item = f64> + Clone) -> Self {
        let decade = |value: f64| value.max(1e-3).log10();
        let from = values.clone().map(decade).fold(f64::INFINITY, f64::min).floor();
        let to = values.map(decade).fold(f64::NEG_INFINITY, f64::max).ceil();
        if from.is_finite() && to.is_finite() {
            Self::Decades { from: from as i32, to: (to as i32).max(from as i32 + 1) }
        } else {
            Self::Decades { from: 0, to: 1 }
        }
    }

    /// Where a value lies, from 0 to 1.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        match *self {
            Self::Linear { most, .. } => value / most,
            Self::Decades { from, to } => (value.max(1e-3).log10() - f64::from(from)) / f64::from(to - from),
        }
    }

    /// The values that get a line.
    #[must_use]
    pub fn ticks(&self) -> Vec<f64> {
        match *self {
            Self::Linear { most, step } => {
                (0..=(most / step).round() as u32).map(|count| f64::from(count) * step).collect()
            }
            Self::Decades { from, to } => (from..=to).map(|decade| 10_f64.powi(decade)).collect(),
        }
    }
}

/// A step of 1, 2 or 5 times a power of ten of which four to eight make up this.
fn step(most: f64) -> f64 {
    let rough = most / 5.0;
    let decade = 10_f64.powf(rough.log10().floor());
    let factor = match rough / decade {
        share if share < 1.5 => 1.0,
        share if share < 3.5 => 2.0,
        share if share < 7.5 => 5.0,
        _ => 10.0,
    };
    factor * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_begin_at_zero_and_end_at_a_round_number() {
        let axis = Axis::linear([3.0, 83.0].into_iter());
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert!((axis.place(83.0) - 0.83).abs() < 1e-9);
        assert_eq!(Axis::linear([1.7].into_iter()).ticks().len(), 10);
        assert_eq!(Axis::linear([].into_iter()).ticks().last(), Some(&1.0));
    }

    #[test]
    fn decades_reach_around_all_values() {
        let axis = Axis::decades([0.4, 120.0].into_iter());
        assert_eq!(axis.ticks(), [0.1, 1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!(axis.place(10.0), 0.5);
    }
}
