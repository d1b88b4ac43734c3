//! Standstills: stretches in which nothing came back although something was waiting. Percentiles
//! hide when they happened and that they come again; this names it.

use serde::{Deserialize, Serialize};

use crate::statistics::{median, millis, real};
use crate::{MILLISECOND, SECOND};

/// Shorter ones are not listed, nanoseconds.
pub const STANDSTILL_MIN_NS: u64 = 100 * MILLISECOND;

/// With fewer waiting at its end it is somebody's latency, not a standstill.
pub const WAITING_MIN: usize = 5;

/// One stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standstill {
    /// When it began, nanoseconds after the start.
    pub from_ns: u64,
    /// How long nothing came back, nanoseconds.
    pub length_ns: u64,
    /// How many were waiting at its end.
    pub waiting: usize,
}

/// Finds them in (meant to be sent, came back) times, nanoseconds after the start.
#[must_use]
pub fn standstills(mut spans: Vec<(u64, u64)>) -> Vec<Standstill> {
    spans.sort_by_key(|(start, end)| (*end, *start));
    // The earliest start of everything that came back from here on.
    let mut earliest = Vec::with_capacity(spans.len());
    let mut least = u64::MAX;
    for (start, _) in spans.iter().rev() {
        least = least.min(*start);
        earliest.push(least);
    }
    earliest.reverse();
    let mut found = Vec::new();
    let mut last = 0;
    for (place, ((_, end), oldest)) in spans.iter().zip(&earliest).enumerate() {
        let from_ns = last.max(*oldest);
        let length_ns = end.saturating_sub(from_ns);
        if length_ns >= STANDSTILL_MIN_NS {
            let rest = spans.iter().skip(place);
            let waiting = rest.filter(|(start, _)| start < end).count();
            found.extend((waiting >= WAITING_MIN).then_some(Standstill {
                from_ns,
                length_ns,
                waiting,
            }));
        }
        last = *end;
    }
    found
}

/// Their part of a time, between 0 and 1.
#[must_use]
pub fn share(found: &[Standstill], seconds: u32) -> f64 {
    let all: u64 = found.iter().map(|one| one.length_ns).sum();
    real(all) / real(u64::from(seconds.max(1)) * SECOND)
}

/// All of them in one line: how many, how long, and how far apart.
#[must_use]
pub fn summary(found: &[Standstill]) -> String {
    let lengths = found.iter().map(|one| millis(one.length_ns)).collect();
    let Some(length) = median(lengths) else {
        return "none".to_owned();
    };
    let starts = found.iter().zip(found.iter().skip(1));
    let gaps = starts.map(|(one, next)| millis(next.from_ns.saturating_sub(one.from_ns)));
    let every = median(gaps.collect())
        .map_or_else(String::new, |gap| format!(", one every {:.2} s", gap / 1e3));
    format!("{} of about {length:.0} ms{every}", found.len())
}

/// One as a line of a report.
#[must_use]
pub fn line(one: &Standstill) -> String {
    format!(
        "{:.3} s: nothing for {:.0} ms, {} waited",
        millis(one.from_ns) / 1e3,
        millis(one.length_ns),
        one.waiting
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One a millisecond; what is due in the first 200 ms of a second comes back at their end.
    fn stalled(seconds: u64) -> Vec<(u64, u64)> {
        (0..seconds * 1_000)
            .map(|number| {
                let start = number * MILLISECOND;
                let into = start % SECOND;
                let stall = 200 * MILLISECOND;
                let end = if into < stall {
                    start - into + stall
                } else {
                    start
                };
                (start, end + MILLISECOND / 2)
            })
            .collect()
    }

    #[test]
    fn a_stall_of_200_ms_each_second_is_named() {
        let found = standstills(stalled(6));
        assert_eq!(found.len(), 6);
        assert!(
            found
                .iter()
                .all(|one| one.length_ns.abs_diff(200 * MILLISECOND) < 2 * MILLISECOND)
        );
        assert_eq!(found[3].waiting, 201);
        assert_eq!(summary(&found), "6 of about 200 ms, one every 1.00 s");
        assert!((share(&found, 6) - 0.2).abs() < 0.01);
        assert!(line(&found[3]).starts_with("2.999 s") || line(&found[3]).starts_with("3.000 s"));
    }

    #[test]
    fn a_pause_of_the_sender_is_none() {
        let spans = vec![(0, MILLISECOND), (2 * SECOND, 2 * SECOND + MILLISECOND)];
        assert!(standstills(spans).is_empty());
        // Four slow ones are slow; five are held up.
        let held = |count| standstills(vec![(0, 200 * MILLISECOND); count]).len();
        assert_eq!((held(4), held(5)), (0, 1));
        assert_eq!(summary(&[]), "none");
    }

    #[test]
    fn a_slow_one_among_quick_ones_is_none() {
        let mut spans: Vec<_> = (0..1_000u64)
            .map(|number| (number * MILLISECOND, (number + 1) * MILLISECOND))
            .collect();
        spans.push((0, 900 * MILLISECOND));
        assert!(standstills(spans).is_empty());
    }
}
