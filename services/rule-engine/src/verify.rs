//! Holds what was stored and published against the log: every partition is read again, by an
//! engine that forgets nothing, and the first thing that differs is named.
//!
//! Reads only. It runs beside the owners as well as without them: what was published is read
//! before the end of the inputs is looked up, so that everything published must be given by them;
//! what lacks is waited for.

mod checkpoints;
mod live;
mod published;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use balefire_bus::{Bus, Log, StreamInfo, Topology};
use balefire_driver::{Input, Plan};
use balefire_event::{EscalationId, Timestamp, stamp};
use balefire_rule_engine_core::{Comparison, Facts, Fault, Part, compare};
use balefire_store::Store;
use balefire_wire::BatchView;
use balefire_wire::escalation::v1::PartitionState;

use crate::control::{ControlLog, Known};
use crate::stage::{Given, Reading};
use crate::{Error, wiring};
use published::{MatchId, Matches, Place, Published};

/// How long what lacks is waited for between two looks.
const POLL: Duration = Duration::from_millis(100);
/// Messages between two reports of how far it is.
const PROGRESS_EVERY: u64 = 512;

/// Told how far a partition is: its name, messages read, messages to read.
pub type Progress<'p> = &'p (dyn Fn(&str, u64, u64) + Sync);

/// What is verified.
pub struct Subject<'s> {
    /// Connected with a credential that reads everything.
    pub bus: &'s Bus,
    /// Names of the streams.
    pub topology: Topology,
    /// Stored states, each with a name for people. An owner's that runs is not among them.
    pub checkpoints: Vec<(String, Store)>,
    /// What owners said that they hold, each with a name for people.
    pub live: Vec<(String, PartitionState)>,
    /// How long escalations that lack may still come: zero where nobody runs.
    pub patience: Duration,
    /// Hears how far it is.
    pub progress: Progress<'s>,
}

/// What was found in one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// `rule-engine 3`: the partition of EVENTS; `rule-engine-rekeyed 3`: that of REKEYED.
    pub name: String,
    /// Batches read.
    pub inputs: u64,
    /// Escalation ids that were published and are right.
    pub escalations: u64,
    /// Checkpoints that are right.
    pub checkpoints: u64,
    /// States in memory that are right.
    pub live: u64,
    /// What is no fault but worth knowing.
    pub notes: Vec<String>,
    /// What is wrong; the first of its kind each.
    pub faults: Vec<String>,
}

/// Verifies every partition, one after the other.
///
/// # Errors
/// Where the log cannot be read, or holds rules that this version cannot compile.
pub async fn verify(
    subject: &Subject<'_>,
    mut told: impl FnMut(&Verdict),
) -> Result<Vec<Verdict>, Error> {
    let sources = subject.topology.partitions;
    let mut verdicts = Vec::new();
    let mut matches = Matches::default();
    for part in [Part::Events, Part::Rekeyed { sources }] {
        for partition in 0..sources {
            let plan = wiring::plan(&subject.topology, part, partition, [0; 16]);
            let one = Partition {
                subject,
                part,
                name: format!("{} {partition}", plan.stage),
                plan,
            };
            let verdict = one.verify(&mut matches).await?;
            told(&verdict);
            verdicts.push(verdict);
        }
    }
    Ok(verdicts)
}

struct Partition<'s> {
    subject: &'s Subject<'s>,
    part: Part,
    name: String,
    plan: Plan,
}

/// What the log gives.
#[derive(Default)]
struct Derived {
    ids: BTreeMap<EscalationId, Facts>,
    /// Whether each must have been sent on.
    matches: BTreeMap<MatchId, bool>,
    /// Of inputs that no published step names yet.
    later: BTreeSet<EscalationId>,
}

impl Partition<'_> {
    async fn verify(&self, matches: &mut Matches) -> Result<Verdict, Error> {
        let mut verdict = Verdict {
            name: self.name.clone(),
            ..Verdict::default()
        };
        let (bus, log) = (self.subject.bus, Log::new(self.subject.bus));
        let mut published = Published::new(&self.subject.topology, &self.plan);
        published.read_on(&log, &mut verdict).await?;
        if self.part == Part::Events {
            matches.read_on(&log, &self.subject.topology).await?;
        }
        let mut ends = Vec::new();
        for source in &self.plan.sources {
            ends.push(bus.stream_info(&source.stream).await?);
        }
        let known = ControlLog::open(bus, None, "").await?.known();
        let since = reach(&ends);
        if since > Timestamp::MIN {
            let note = format!("the log begins later: what lies before {since} is not judged");
            verdict.notes.push(note);
        }
        self.states(&ends, &known, since, &mut verdict).await?;
        self.live(&ends, &known, since, &mut verdict).await?;
        let derived = self.derive(&published, &ends, &known, &mut verdict).await?;
        self.escalations(&log, &mut published, &derived, since, &mut verdict)
            .await?;
        if self.part == Part::Events {
            self.matches(&log, matches, &derived, since, &mut verdict)
                .await?;
        }
        Ok(verdict)
    }

    /// Reads the whole partition: first what published steps name, then the rest.
    async fn derive(
        &self,
        published: &Published,
        ends: &[StreamInfo],
        known: &Known,
        verdict: &mut Verdict,
    ) -> Result<Derived, Error> {
        let total = ends
            .iter()
            .map(|end| (end.last_sequence + 1).saturating_sub(end.first_sequence.max(1)))
            .sum();
        let mut reading = self.reading(known)?;
        let mut derived = Derived::default();
        let starts: Vec<u64> = ends.iter().map(|end| end.first_sequence.max(1)).collect();
        let named: Vec<u64> = published
            .covered
            .iter()
            .zip(ends)
            .map(|(covered, end)| (*covered).min(end.last_sequence))
            .collect();
        let behind: Vec<u64> = named
            .iter()
            .zip(&starts)
            .map(|(named, start)| (named + 1).max(*start))
            .collect();
        let lasts: Vec<u64> = ends.iter().map(|end| end.last_sequence).collect();
        for (from, to, late) in [(&starts, &named, false), (&behind, &lasts, true)] {
            let mut given = |given: Given| match given {
                Given::Escalation(one) if published::names_an_id(one.kind) => {
                    let id = one.escalation_id;
                    if derived.ids.insert(id, Facts::of(&one)).is_none() && late {
                        derived.later.insert(id);
                    }
                }
                Given::Escalation(_) => {}
                Given::Match(to, found) => {
                    // What came before its rule was in force is sent on as far as it is needed.
                    let due = found.event.control_revision >= found.generation;
                    let id = MatchId::of(to, &found);
                    *derived.matches.entry(id).or_default() |= due;
                }
            };
            verdict.inputs += self
                .feed(
                    &mut reading,
                    (from, to),
                    (verdict.inputs, total),
                    &mut given,
                )
                .await?;
        }
        Ok(derived)
    }

    fn reading(&self, known: &Known) -> Result<Reading, Error> {
        let partitions = self.subject.topology.partitions;
        Reading::new(self.part, self.plan.partition, partitions, known)
    }

    /// Reads each source from and to the given sequences; how many batches that were.
    async fn feed(
        &self,
        reading: &mut Reading,
        (from, to): (&[u64], &[u64]),
        (mut done, total): (u64, u64),
        given: &mut impl FnMut(Given),
    ) -> Result<u64, Error> {
        let (log, mut read) = (Log::new(self.subject.bus), 0);
        for (index, source) in self.plan.sources.iter().enumerate() {
            let (Some(from), Some(to)) = (from.get(index), to.get(index)) else {
                continue;
            };
            if from > to {
                continue;
            }
            let mut tail = log.read_all(&source.stream, *from).await?;
            while let Some(message) = tail.next().await?.filter(|m| m.sequence <= *to) {
                // What cannot be read is a dead letter.
                if let Ok(batch) = BatchView::parse(&message.payload) {
                    let input = Input {
                        source: index,
                        lane: source.lane,
                        sequence: message.sequence,
                        stored_at: message.stored_at,
                        subject: &message.subject,
                        batch: &batch,
                    };
                    reading.take(&input).into_iter().for_each(&mut *given);
                }
                (read, done) = (read + 1, done + 1);
                if done.is_multiple_of(PROGRESS_EVERY) {
                    (self.subject.progress)(&self.name, done, total);
                }
                if message.sequence == *to {
                    break;
                }
            }
        }
        Ok(read)
    }

    async fn escalations(
        &self,
        log: &Log,
        published: &mut Published,
        derived: &Derived,
        since: Timestamp,
        verdict: &mut Verdict,
    ) -> Result<(), Error> {
        // What is published from now on may be of inputs behind those that were read.
        let first = published.records.len();
        let give_up = tokio::time::Instant::now() + self.subject.patience;
        let comparison = loop {
            let (judged, since_then) = published.records.split_at(first);
            let known = since_then
                .iter()
                .filter(|(_, id, _)| derived.ids.contains_key(id));
            let records: Vec<_> = judged.iter().chain(known).cloned().collect();
            let comparison = compare(&derived.ids, &records, since);
            if comparison.missing == 0 || tokio::time::Instant::now() >= give_up {
                break comparison;
            }
            tokio::time::sleep(POLL).await;
            published.read_on(log, verdict).await?;
        };
        verdict.escalations = comparison.same;
        if comparison.repeated > 0 {
            let repeated = comparison.repeated;
            let note = format!("{repeated} escalation ids stand more than once; readers drop them");
            verdict.notes.push(note);
        }
        if comparison.not_judged > 0 {
            let count = comparison.not_judged;
            let note = format!(
                "{count} escalations are older than the log or were decided at close: not judged"
            );
            verdict.notes.push(note);
        }
        verdict.faults.extend(said(&comparison, derived));
        Ok(())
    }

    /// Matches that were sent on, against those that the log gives.
    async fn matches(
        &self,
        log: &Log,
        matches: &mut Matches,
        derived: &Derived,
        since: Timestamp,
        verdict: &mut Verdict,
    ) -> Result<(), Error> {
        let own = self.plan.partition;
        // An event that has left the log may have been sent on.
        if since == Timestamp::MIN
            && let Some((id, at)) = matches.unexpected(own, &derived.matches)
        {
            let fault = format!("{at}: a match of {id} that no event of the log gives");
            verdict.faults.push(fault);
        }
        let give_up = tokio::time::Instant::now() + self.subject.patience;
        loop {
            let Some(id) = matches.missing(own, &derived.matches) else {
                return Ok(());
            };
            if tokio::time::Instant::now() >= give_up {
                verdict
                    .faults
                    .push(format!("a match lacks in REKEYED: {id}"));
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
            matches.read_on(log, &self.subject.topology).await?;
        }
    }
}

/// From where on the log has everything: [`Timestamp::MIN`] where nothing has left it.
fn reach(ends: &[StreamInfo]) -> Timestamp {
    let trimmed = ends.iter().filter(|end| end.first_sequence > 1);
    let from = trimmed.map(|end| end.first_at);
    from.max().map_or(Timestamp::MIN, |at| {
        at.plus(stamp::AHEAD + stamp::SKEW + stamp::UNTRUSTED_MEMORY)
    })
}

fn said(comparison: &Comparison<Place>, derived: &Derived) -> Vec<String> {
    let Comparison { missing, wrong, .. } = comparison;
    let lines = comparison.first.iter().map(|fault| match fault {
        Fault::Missing { id, facts } if derived.later.contains(id) => format!(
            "{missing} escalation(s) are not published yet, the first one {id}: {facts}; its inputs lie behind the last published step: is the rule-engine running?"
        ),
        Fault::Missing { id, facts } => {
            format!("{missing} escalation(s) lack, the first one {id}: {facts}")
        }
        Fault::Unexpected { at, id, facts } => format!(
            "{at}: {wrong} escalation(s) are not what the log gives, the first one {id}: {facts}"
        ),
        Fault::Altered {
            at,
            id,
            field,
            published,
            derived,
        } => format!(
            "{at}: {wrong} escalation(s) are not what the log gives, the first one {id}: {field} is {published}, the log gives {derived}"
        ),
    });
    lines.collect()
}
