//! Medians and quartiles: what is said of several rounds.

use serde::Serialize;

/// Where the middle of some numbers is, and where the middle half of them lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// A quarter of the numbers is below.
    pub lower: f64,
    /// Half of them is below.
    pub median: f64,
    /// Three quarters of them are below.
    pub upper: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// That of some numbers; `None`: there is none. What is not a number is left out.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<_> = numbers.into_iter().filter(|number| number.is_finite()).collect();
        numbers.sort_by(f64::total_cmp);
        Some(Self {
            lower: quantile(&numbers, 0.25)?,
            median: quantile(&numbers, 0.5)?,
            upper: quantile(&numbers, 0.75)?,
            count: numbers.len(),
        })
    }
}

/// The number below which a share of the sorted numbers lies: between two of them, as far as the share is.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = float(last) * share;
    let below = index(at);
    let (low, high) = (*sorted.get(below)?, *sorted.get((below + 1).min(last))?);
    Some(low + (high - low) * (at - float(below)))
}

/// The number of nanoseconds that a share of the times stays below. Sorts them only as far as it must.
pub(super) fn percentile(times: &mut [u32], share: f64) -> Option<u32> {
    let last = times.len().checked_sub(1)?;
    let (_, found, _) = times.select_nth_unstable(index(float(last) * share));
    Some(*found)
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts of what is measured are far below 2^52")]
pub(super) const fn float(count: usize) -> f64 {
    count as f64
}

/// The place below a position among sorted numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a list: small, and not negative"
)]
const fn index(position: f64) -> usize {
    position as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_numbers() {
        let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        let of = |lower, median, upper, count| Some(Spread { lower, median, upper, count });
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN]), None);
        assert_eq!(spread(&[7.0]), of(7.0, 7.0, 7.0, 1));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), of(1.75, 2.5, 3.25, 4));
        assert_eq!(spread(&[5.0, 1.0, 3.0, f64::INFINITY, 2.0, 4.0]), of(2.0, 3.0, 4.0, 5));
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut times: Vec<u32> = (1..=1000).rev().collect();
        assert_eq!(percentile(&mut times, 0.5), Some(500));
        assert_eq!(percentile(&mut times, 0.99), Some(990));
        assert_eq!(percentile(&mut [], 0.5), None);
        assert_eq!(percentile(&mut [3], 0.99), Some(3));
    }
}
