//! When events are meant to be sent: nanoseconds after the start, on a grid of milliseconds, so
//! that events of one millisecond can share a frame.

use serde::{Deserialize, Serialize};

use crate::MILLISECOND;
use crate::chance::Chance;

/// How the rate runs over the time of a plan. The mean is the plan's rate for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// The same all the time.
    Constant,
    /// The same on average, each arrival independent of the others.
    Poisson,
    /// Half of each second's events in its first 50 ms.
    Burst,
    /// One day: from a fifth of the mean to nine fifths and back.
    Diurnal,
    /// From nothing to twice the mean.
    Ramp,
}

/// Milliseconds of a second's burst.
const BURST_MS: u32 = 50;

impl Arrival {
    /// Share of the mean rate in millisecond `at` of `all`.
    fn intensity(self, at: u32, all: u32) -> f64 {
        let x = f64::from(at) / f64::from(all);
        match self {
            Self::Constant | Self::Poisson => 1.0,
            Self::Burst if at % 1000 < BURST_MS => 0.5 * 1000.0 / f64::from(BURST_MS),
            Self::Burst => 0.5 * 1000.0 / f64::from(1000 - BURST_MS),
            Self::Diurnal => 1.0 - 0.8 * (x * std::f64::consts::TAU).cos(),
            Self::Ramp => 2.0 * x,
        }
    }

    /// Intended times of `rate` events a second for `seconds`, ascending.
    #[must_use]
    pub fn times(self, rate: u32, seconds: u32, chance: &mut Chance) -> Vec<u64> {
        let all = seconds.saturating_mul(1000);
        let mut times = Vec::new();
        // What is due but not yet sent, in thousandths of an event; the half rounds to the middle.
        let mut due = 0.5;
        let mut next = 1.0;
        for at in 0..all {
            due += f64::from(rate) / 1000.0 * self.intensity(at, all);
            while due >= next {
                times.push(u64::from(at) * MILLISECOND);
                due -= next;
                next = match self {
                    Self::Poisson => -(1.0 - chance.unit()).ln(),
                    Self::Constant | Self::Burst | Self::Diurnal | Self::Ramp => 1.0,
                };
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrival: Arrival) -> Vec<u64> {
        arrival.times(1000, 10, &mut Chance::new(3))
    }

    #[test]
    fn every_arrival_keeps_the_mean_rate_and_ascends() {
        for arrival in [
            Arrival::Constant,
            Arrival::Poisson,
            Arrival::Burst,
            Arrival::Diurnal,
            Arrival::Ramp,
        ] {
            let times = times(arrival);
            assert!((9_700..=10_300).contains(&times.len()), "{arrival:?}");
            assert!(times.is_sorted());
            assert!(times.iter().all(|at| at % MILLISECOND == 0));
        }
    }

    #[test]
    fn constant_sends_one_a_millisecond_and_poisson_does_not() {
        let gaps = |times: &[u64]| times.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(gaps(&times(Arrival::Constant)), 0);
        assert!(gaps(&times(Arrival::Poisson)) > 2_000);
    }

    #[test]
    fn half_of_a_burst_comes_in_its_first_fifty_milliseconds() {
        let times = times(Arrival::Burst);
        let early = times
            .iter()
            .filter(|at| *at % crate::SECOND < 50 * MILLISECOND);
        assert!(early.count().abs_diff(times.len() / 2) < 20);
    }
}
