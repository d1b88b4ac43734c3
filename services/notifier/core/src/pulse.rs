//! [`Pulse`]: whether heartbeats come out. One is out when every partition of ESCALATIONS showed it
//! twice, straight and through REKEYED, and DELIVERIES covers both places: then every stage of every
//! partition did its work behind all that was in front of it.

use std::collections::BTreeMap;

use balefire_event::{BarrierId, Timestamp};

/// Heartbeats on their way that are told apart; beyond it the oldest is forgotten.
pub const BEATS_MAX: usize = 64;

/// A heartbeat that came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Out {
    /// When ingest placed it.
    pub placed: Timestamp,
    /// When it was out.
    pub at: Timestamp,
}

impl Out {
    /// How long it took, nanoseconds. The clocks of ingest and notifier may differ by 5 seconds.
    #[must_use]
    pub const fn took(&self) -> i64 {
        self.at.since(self.placed)
    }
}

#[derive(Debug, Clone)]
struct Beat {
    placed: Timestamp,
    /// By partition and whether through REKEYED: its sequence in ESCALATIONS.
    seen: BTreeMap<(u32, bool), u64>,
}

/// The heartbeats of the last minutes.
#[derive(Debug, Clone)]
pub struct Pulse {
    partitions: u32,
    beats: BTreeMap<BarrierId, Beat>,
    covered: BTreeMap<u32, u64>,
    last: Option<Out>,
    since: Timestamp,
}

impl Pulse {
    /// Of so many partitions, awaited since then.
    #[must_use]
    pub const fn new(partitions: u32, since: Timestamp) -> Self {
        Self {
            partitions,
            beats: BTreeMap::new(),
            covered: BTreeMap::new(),
            last: None,
            since,
        }
    }

    /// A heartbeat was read in a partition of ESCALATIONS.
    pub fn read(
        &mut self,
        (partition, rekeyed): (u32, bool),
        sequence: u64,
        (id, placed): (BarrierId, Timestamp),
        now: Timestamp,
    ) -> Option<Out> {
        let seen = BTreeMap::new;
        let beat = self.beats.entry(id).or_insert_with(|| Beat {
            placed,
            seen: seen(),
        });
        beat.seen.entry((partition, rekeyed)).or_insert(sequence);
        while self.beats.len() > BEATS_MAX {
            let oldest = self.beats.iter().min_by_key(|(_, beat)| beat.placed);
            let Some(id) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.beats.remove(&id);
        }
        self.look(now)
    }

    /// DELIVERIES of a partition covers its ESCALATIONS up to there.
    pub fn covered(&mut self, partition: u32, sequence: u64, now: Timestamp) -> Option<Out> {
        let known = self.covered.entry(partition).or_default();
        *known = sequence.max(*known);
        self.look(now)
    }

    /// The newest that is out now and was not before; those placed before it are forgotten.
    fn look(&mut self, now: Timestamp) -> Option<Out> {
        let whole = self.beats.values().filter(|beat| self.is_out(beat));
        let placed = whole.map(|beat| beat.placed).max()?;
        self.beats.retain(|_, beat| beat.placed > placed);
        let out = Out { placed, at: now };
        self.last = Some(out);
        Some(out)
    }

    fn is_out(&self, beat: &Beat) -> bool {
        (0..self.partitions).all(|partition| {
            [false, true].iter().all(|rekeyed| {
                let seen = beat.seen.get(&(partition, *rekeyed));
                seen.is_some_and(|sequence| self.reached(partition) >= *sequence)
            })
        })
    }

    fn reached(&self, partition: u32) -> u64 {
        self.covered.get(&partition).copied().unwrap_or_default()
    }

    /// The last that came out.
    #[must_use]
    pub const fn last(&self) -> Option<Out> {
        self.last
    }

    /// For how long none came out, nanoseconds.
    #[must_use]
    pub fn silent(&self, now: Timestamp) -> i64 {
        let last = self.last.map_or(self.since, |out| out.at);
        now.since(last)
    }

    /// Where heartbeats are stuck, in words.
    #[must_use]
    pub fn stuck(&self) -> String {
        let Some(oldest) = self.beats.values().min_by_key(|beat| beat.placed) else {
            return "none reached any partition of ESCALATIONS: look at ingest, the correlator and \
                    the rule engine"
                .into();
        };
        let (mut missing, mut undelivered) = (Vec::new(), Vec::new());
        for partition in 0..self.partitions {
            let places = [(false, ""), (true, " through REKEYED")];
            for (rekeyed, way) in places {
                match oldest.seen.get(&(partition, rekeyed)) {
                    None => missing.push(format!("{partition}{way}")),
                    Some(sequence) if self.reached(partition) < *sequence => {
                        undelivered.push(partition.to_string());
                    }
                    Some(_) => {}
                }
            }
        }
        undelivered.dedup();
        let mut said = Vec::new();
        if !missing.is_empty() {
            let all = missing.join(", ");
            said.push(format!(
                "the one of {} did not come out of partition {all}: correlator or rule engine",
                oldest.placed
            ));
        }
        if !undelivered.is_empty() {
            let all = undelivered.join(", ");
            said.push(format!(
                "partition {all} came out and no notifier has taken it in"
            ));
        }
        said.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> BarrierId {
        BarrierId::heartbeat([n; 12])
    }

    #[test]
    fn a_heartbeat_is_out_when_every_partition_told_it_twice_and_it_is_covered() {
        let mut pulse = Pulse::new(2, Timestamp(0));
        let beat = (id(1), Timestamp(10));
        let places = [(0, false), (0, true), (1, false)];
        for (sequence, place) in (5..).zip(places) {
            assert_eq!(pulse.read(place, sequence, beat, Timestamp(20)), None);
        }
        assert_eq!(pulse.covered(0, 6, Timestamp(21)), None);
        assert_eq!(pulse.covered(1, 7, Timestamp(22)), None);
        assert!(pulse.stuck().contains("partition 1 through REKEYED"));
        assert_eq!(pulse.read((1, true), 8, beat, Timestamp(23)), None);
        assert!(pulse.stuck().contains("no notifier has taken it in"));
        assert_eq!(pulse.silent(Timestamp(30)), 30);
        let out = pulse.covered(1, 8, Timestamp(24)).unwrap();
        assert_eq!(out.took(), 14);
        assert_eq!(pulse.last(), Some(out));
        assert_eq!(pulse.silent(Timestamp(30)), 6);
        assert!(pulse.stuck().contains("none reached"));
    }

    #[test]
    fn a_later_one_makes_up_for_one_that_was_lost() {
        let mut pulse = Pulse::new(1, Timestamp(0));
        pulse.read((0, false), 1, (id(1), Timestamp(10)), Timestamp(11));
        pulse.covered(0, 9, Timestamp(12));
        let later = (id(2), Timestamp(20));
        assert_eq!(pulse.read((0, true), 3, later, Timestamp(21)), None);
        let out = pulse.read((0, false), 2, later, Timestamp(22));
        assert_eq!(out.map(|out| out.placed), Some(Timestamp(20)));
        assert!(pulse.beats.is_empty());
    }

    #[test]
    fn what_never_comes_out_is_bounded() {
        let mut pulse = Pulse::new(1, Timestamp(0));
        for n in 0..100 {
            let beat = (id(n), Timestamp(i64::from(n)));
            pulse.read((0, false), u64::from(n), beat, Timestamp(200));
        }
        assert_eq!(pulse.beats.len(), BEATS_MAX);
        assert!(pulse.beats.contains_key(&id(99)));
    }
}
