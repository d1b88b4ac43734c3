//! [`Watch`]: what is wrong with the platform itself, as this notifier can see it, and when people
//! are told of it again. Pure: it is asked every few seconds with the time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use balefire_event::Timestamp;
use balefire_event::time::{HOUR, MINUTE, SECOND};

use crate::pulse::Out;

/// A receiver, or every receiver of a tenant, that has not answered for so long is told of,
/// nanoseconds.
pub const UNANSWERED_MAX: i64 = MINUTE;
/// Dead letters that may become open in [`GROWTH_IN`].
pub const GROWTH_MAX: u64 = 10;
/// The stretch in which their growth is looked at, nanoseconds.
pub const GROWTH_IN: i64 = 5 * MINUTE;
/// A dead letter may be open for so long, nanoseconds.
pub const AGE_MAX: i64 = 24 * HOUR;
/// Heartbeats in a row that took too long.
pub const LATE_MAX: u32 = 3;
/// What goes on is told again so often, nanoseconds.
pub const AGAIN: i64 = 15 * MINUTE;
/// Looks remembered for growth: one each second of [`GROWTH_IN`], and some.
const LOOKS_MAX: usize = 512;

/// What people are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No heartbeat came out.
    Silent,
    /// Heartbeats come out late.
    Late,
    /// Receivers do not answer.
    Unanswered,
    /// A tenant's escalations reach nobody.
    Shut,
    /// Dead letters grow.
    Growing,
    /// A dead letter is open for a long time.
    Old,
}

/// What is seen at one moment.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// For how long no heartbeat came out, and how long that may be, nanoseconds; `None`: none is
    /// awaited.
    pub silent: Option<(i64, i64)>,
    /// Receivers whose breaker is not closed.
    pub unanswering: Vec<Arc<str>>,
    /// Tenants of whose receivers none answers.
    pub shut: Vec<String>,
    /// Dead letters that are open.
    pub open: u64,
    /// When the oldest of them last failed.
    pub oldest: Option<Timestamp>,
}

/// Since when something is so, by name.
#[derive(Debug, Clone, Default)]
struct Since(BTreeMap<Arc<str>, Timestamp>);

impl Since {
    /// It is so of these now; the names of those of which it was for long, nothing where there are
    /// none.
    fn look<N: AsRef<str>>(&mut self, names: &[N], now: Timestamp) -> Option<String> {
        let is_named = |name: &str| names.iter().any(|one| one.as_ref() == name);
        self.0.retain(|name, _| is_named(name));
        for name in names {
            self.0.entry(name.as_ref().into()).or_insert(now);
        }
        let long = self.0.iter();
        let names: Vec<&str> = long
            .filter(|(_, since)| now.since(**since) > UNANSWERED_MAX)
            .map(|(name, _)| &**name)
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// What was seen before.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    told: BTreeMap<Trouble, Timestamp>,
    unanswering: Since,
    shut: Since,
    open: VecDeque<(Timestamp, u64)>,
    late: u32,
}

impl Watch {
    /// A heartbeat came out; it may take `late_after`, nanoseconds.
    pub fn out(&mut self, out: Out, late_after: i64) {
        if out.took() > late_after {
            self.late = self.late.saturating_add(1);
        } else {
            self.late = 0;
        }
    }

    /// What people shall be told now, each with what was found.
    pub fn look(&mut self, seen: &Seen, now: Timestamp) -> Vec<(Trouble, String)> {
        let mut found = BTreeMap::new();
        if let Some((silent, max)) = seen.silent
            && silent > max
        {
            let text = format!("no heartbeat came out for {} s", silent / SECOND);
            found.insert(Trouble::Silent, text);
        }
        if self.late >= LATE_MAX {
            let text = format!("{} heartbeats in a row took too long", self.late);
            found.insert(Trouble::Late, text);
        }
        if let Some(names) = self.unanswering.look(&seen.unanswering, now) {
            let text = format!("receivers that do not answer: {names}");
            found.insert(Trouble::Unanswered, text);
        }
        if let Some(names) = self.shut.look(&seen.shut, now) {
            let text = format!("no receiver answers of tenant {names}");
            found.insert(Trouble::Shut, text);
        }
        if let Some(text) = self.growth(seen.open, now) {
            found.insert(Trouble::Growing, text);
        }
        if let Some(oldest) = seen.oldest
            && now.since(oldest) > AGE_MAX
        {
            let hours = now.since(oldest) / HOUR;
            let text = format!("{} are open, the oldest for {hours} hours", seen.open);
            found.insert(Trouble::Old, text);
        }
        self.told.retain(|trouble, _| found.contains_key(trouble));
        found.retain(|trouble, _| {
            let told = self.told.get(trouble);
            told.is_none_or(|at| !(0..AGAIN).contains(&now.since(*at)))
        });
        for trouble in found.keys() {
            self.told.insert(*trouble, now);
        }
        found.into_iter().collect()
    }

    fn growth(&mut self, open: u64, now: Timestamp) -> Option<String> {
        self.open.push_back((now, open));
        while self.open.len() > LOOKS_MAX
            || self
                .open
                .front()
                .is_some_and(|(at, _)| now.since(*at) > GROWTH_IN)
        {
            self.open.pop_front();
        }
        let least = self.open.iter().map(|(_, open)| *open).min()?;
        let grown = open.saturating_sub(least);
        (grown >= GROWTH_MAX).then(|| format!("{grown} more within 5 minutes, {open} are open"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_000 * HOUR + seconds * SECOND)
    }

    fn troubles(watch: &mut Watch, seen: &Seen, seconds: i64) -> Vec<Trouble> {
        let found = watch.look(seen, at(seconds));
        found.into_iter().map(|(trouble, _)| trouble).collect()
    }

    #[test]
    fn silence_is_told_once_then_every_quarter_of_an_hour_and_anew_when_it_comes_back() {
        let mut watch = Watch::default();
        let silent = |seconds: i64| Seen {
            silent: Some((seconds * SECOND, 30 * SECOND)),
            ..Seen::default()
        };
        assert_eq!(troubles(&mut watch, &silent(30), 30), []);
        assert_eq!(troubles(&mut watch, &silent(31), 31), [Trouble::Silent]);
        assert_eq!(troubles(&mut watch, &silent(32), 32), []);
        assert_eq!(troubles(&mut watch, &silent(931), 931), [Trouble::Silent]);
        assert_eq!(troubles(&mut watch, &silent(1), 932), []);
        assert_eq!(troubles(&mut watch, &silent(31), 963), [Trouble::Silent]);
        assert_eq!(
            troubles(&mut watch, &silent(31), -9),
            [Trouble::Silent],
            "clock set back"
        );
    }

    #[test]
    fn a_receiver_may_be_away_for_a_minute() {
        let mut watch = Watch::default();
        let away = Seen {
            unanswering: vec!["soc".into()],
            ..Seen::default()
        };
        assert_eq!(troubles(&mut watch, &away, 0), []);
        assert_eq!(troubles(&mut watch, &away, 60), []);
        let found = watch.look(&away, at(61));
        assert!(found[0].1.contains("soc"), "{found:?}");
        assert_eq!(troubles(&mut watch, &Seen::default(), 62), []);
        assert_eq!(troubles(&mut watch, &away, 63), [], "it was back meanwhile");
    }

    #[test]
    fn a_tenant_that_reaches_nobody_for_a_minute_is_named() {
        let mut watch = Watch::default();
        let shut = |names: &[&str]| Seen {
            shut: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Seen::default()
        };
        assert_eq!(troubles(&mut watch, &shut(&["acme"]), 0), []);
        assert_eq!(troubles(&mut watch, &shut(&["acme", "beta"]), 40), []);
        let found = watch.look(&shut(&["acme", "beta"]), at(61));
        assert_eq!(found.len(), 1);
        let (trouble, text) = &found[0];
        assert_eq!(*trouble, Trouble::Shut);
        assert!(text.ends_with("tenant acme"), "{text}");
    }

    #[test]
    fn dead_letters_that_grow_or_grow_old_are_told() {
        let mut watch = Watch::default();
        let open = |open: u64| Seen {
            open,
            ..Seen::default()
        };
        assert_eq!(
            troubles(&mut watch, &open(500), 0),
            [],
            "what was there before"
        );
        assert_eq!(troubles(&mut watch, &open(509), 10), []);
        assert_eq!(troubles(&mut watch, &open(510), 20), [Trouble::Growing]);
        assert_eq!(troubles(&mut watch, &open(510), 400), [], "no longer");
        let old = Seen {
            open: 1,
            oldest: Some(at(-86_401)),
            ..Seen::default()
        };
        assert_eq!(troubles(&mut watch, &old, 401), [Trouble::Old]);
    }

    #[test]
    fn three_late_heartbeats_in_a_row_are_told() {
        let mut watch = Watch::default();
        let out = |took: i64| Out {
            placed: at(0),
            at: at(took),
        };
        for took in [6, 6, 1, 6, 6] {
            watch.out(out(took), 5 * SECOND);
            assert_eq!(troubles(&mut watch, &Seen::default(), 0), []);
        }
        watch.out(out(6), 5 * SECOND);
        assert_eq!(troubles(&mut watch, &Seen::default(), 0), [Trouble::Late]);
    }
}
