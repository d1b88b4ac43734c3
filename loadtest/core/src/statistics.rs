//! Figures: percentiles, what a waiting generator would have seen, how sure a share is.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Percentiles above p99 are only told from so many samples up.
pub const P999_SAMPLES_MIN: u64 = 10_000;
/// Largest value kept, nanoseconds: one hour.
const VALUE_MAX_NS: u64 = 3_600_000_000_000;
/// Significant digits kept.
const DIGITS: u8 = 3;
/// Points of a curve for each half of what is left.
const CURVE_POINTS_PER_HALF: u32 = 5;
/// Two-sided 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Percentiles of one set of times, milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Samples.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile; from [`P999_SAMPLES_MIN`] samples up.
    pub p999_ms: Option<f64>,
    /// Largest.
    pub max_ms: f64,
}

/// A count as a real number.
#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people; 53 bits are enough"
)]
#[must_use]
pub const fn real(value: u64) -> f64 {
    value as f64
}

/// Nanoseconds as milliseconds.
#[must_use]
pub const fn millis(ns: u64) -> f64 {
    real(ns) / 1e6
}

/// A histogram of times, nanoseconds, three significant digits.
#[must_use]
pub fn histogram(values_ns: impl IntoIterator<Item = u64>) -> Option<Histogram<u64>> {
    let mut histogram = Histogram::new_with_bounds(1, VALUE_MAX_NS, DIGITS).ok()?;
    for value in values_ns {
        histogram.saturating_record(value.max(1));
    }
    Some(histogram)
}

impl Summary {
    /// Of a histogram; `None` without samples.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: (histogram.len() >= P999_SAMPLES_MIN).then(|| at(0.999)),
            max_ms: millis(histogram.max()),
        })
    }

    /// Of times in nanoseconds; `None` without any.
    #[must_use]
    pub fn of_values(values_ns: impl IntoIterator<Item = u64>) -> Option<Self> {
        histogram(values_ns).and_then(|histogram| Self::of(&histogram))
    }
}

/// Percentile (0 to 100) and milliseconds, closer together towards the end.
#[must_use]
pub fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let values = histogram.iter_quantiles(CURVE_POINTS_PER_HALF);
    let points = values.map(|value| (value.percentile(), millis(value.value_iterated_to())));
    // The last one has no place on a scale of the rest.
    points
        .filter(|(percentile, _)| *percentile < 100.0)
        .collect()
}

/// What a generator that waits for each answer before it sends the next would have measured: of
/// (start, end) in nanoseconds it takes only those that start when the one before has ended. The
/// difference to all of them is what such a generator leaves out.
#[must_use]
pub fn waiting(mut spans: Vec<(u64, u64)>) -> Vec<u64> {
    spans.sort_unstable();
    let mut free = 0;
    let mut seen = Vec::new();
    for (start, end) in spans {
        if start >= free {
            seen.push(end.saturating_sub(start));
            free = end;
        }
    }
    seen
}

/// Lower bound of the 95 % Wilson interval of a share; 0 without trials.
#[must_use]
pub fn wilson_lower(successes: u64, trials: u64) -> f64 {
    if trials == 0 {
        return 0.0;
    }
    let n = real(trials);
    let p = real(successes) / n;
    let z2 = Z * Z;
    let spread = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((p + z2 / (2.0 * n) - spread) / (1.0 + z2 / n)).max(0.0)
}

/// The middle value, or the mean of the two in the middle; `None` without any.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = values.get(half).copied()?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = half.checked_sub(1).and_then(|at| values.get(at)).copied()?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MILLISECOND, SECOND};

    #[test]
    fn wilson_agrees_with_published_values() {
        // Newcombe 1998, table I: 81 of 263 gives 0.2553; 0 of 20 gives 0; 15 of 148 gives 0.0624.
        for (successes, trials, want) in [(81, 263, 0.2553), (0, 20, 0.0), (15, 148, 0.0624)] {
            let bound = wilson_lower(successes, trials);
            assert!((bound - want).abs() < 5e-5, "{successes}/{trials}: {bound}");
        }
        assert!((wilson_lower(50, 50) - 0.9287).abs() < 1e-4);
        assert!(wilson_lower(0, 0) < 1e-12);
    }

    #[test]
    fn a_second_of_standstill_in_ten_shows_only_to_those_who_do_not_wait() {
        // 1,000 a second for 10 s; from 4 s to 5 s nothing is answered.
        let spans: Vec<(u64, u64)> = (0..10_000u64)
            .map(|number| {
                let start = number * MILLISECOND;
                let held = (4 * SECOND..5 * SECOND).contains(&start);
                (start, if held { 5 * SECOND } else { start + 100_000 })
            })
            .collect();
        let all = Summary::of_values(spans.iter().map(|(start, end)| end - start)).unwrap();
        let waited = Summary::of_values(waiting(spans)).unwrap();
        assert!((all.p99_ms - 900.0).abs() < 5.0, "{}", all.p99_ms);
        assert!(waited.p99_ms < 1.0, "{}", waited.p99_ms);
        assert!(waited.max_ms > 990.0);
    }

    #[test]
    fn rare_percentiles_need_samples() {
        assert!(Summary::of_values(1..=9_999).unwrap().p999_ms.is_none());
        assert!(Summary::of_values(1..=10_000).unwrap().p999_ms.is_some());
        assert!(Summary::of_values([]).is_none());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![3.0, 9.0, 1.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }
}
