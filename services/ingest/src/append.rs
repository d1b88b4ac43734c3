//! The way of a request: admitted, its evidence stored, its records committed, answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balefire_bus::{Bus, GroupCommit, Place, Ticket, Weight};
use balefire_event::limits::EVENT_BYTES_MAX;
use balefire_event::{BarrierId, Groups, Timestamp, Timing};
use balefire_ingest_core::{self as core, Provenance, Reason, Violation};
use balefire_kit::clock;
use balefire_wire::encoded_len;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::budget::Budget;
use crate::config::Config;
use crate::control::Applied;
use crate::convert;
use crate::evidence;
use crate::item::{InFlight, Item};
use crate::lag::Lags;
use crate::memory::Memory;
use crate::metrics::{self, Counters};
use crate::outcome::{Outcome, Refusal};
use crate::plan::{Plan, Planner, Slot};
pub use crate::request::{Records, Request};
use crate::target::Targets;

/// A request that names no deadline waits this long for the log.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Bulk comes back after this time when its owners are behind: they are looked at once a second.
const BEHIND_RETRY: Duration = Duration::from_secs(1);
/// Source of requests that name none.
const SOURCE_DEFAULT: &str = "native";

/// The door itself.
pub struct Door {
    config: Config,
    targets: Targets,
    lags: Lags,
    streams: Vec<Arc<str>>,
    commit: GroupCommit<Item>,
    evidence: evidence::Writer,
    memory: Memory,
    budget: Budget,
    shutdown: CancellationToken,
    /// What is known of the control log.
    pub control: Arc<Applied>,
    /// What was counted.
    pub counters: Counters,
    naming: Mutex<Groups>,
}

impl Door {
    /// In front of a log.
    pub fn new(
        config: &Config,
        bus: &Bus,
        (targets, lags): (Targets, Lags),
        commit: GroupCommit<Item>,
        control: Arc<Applied>,
        shutdown: &CancellationToken,
    ) -> Self {
        let streams = targets.all().into_iter().map(|target| target.stream.into());
        Self {
            budget: Budget::new(config.in_flight_bytes_max),
            streams: streams.collect(),
            evidence: evidence::Writer::new(bus),
            memory: Memory::default(),
            counters: Counters::default(),
            naming: Mutex::default(),
            shutdown: shutdown.clone(),
            config: config.clone(),
            targets,
            lags,
            commit,
            control,
        }
    }

    /// Why nothing is taken now.
    pub fn unready(&self, now: Timestamp) -> Option<&'static str> {
        if self.shutdown.is_cancelled() {
            return Some("shutting down");
        }
        self.control.unready(now)
    }

    /// Waits until the process stops.
    pub fn stopped(&self) -> WaitForCancellationFutureOwned {
        self.shutdown.clone().cancelled_owned()
    }

    /// How far the owner that is furthest behind is, messages.
    pub fn owners_lag(&self) -> u64 {
        self.lags.largest()
    }

    /// Bytes of requests under way.
    pub fn in_flight_bytes(&self) -> u64 {
        self.budget.used_bytes() as u64
    }

    /// Waits until nothing waits for the log.
    pub async fn drained(&self) {
        self.commit.drained().await;
    }

    /// Appends a request's records: an outcome for each, in order.
    ///
    /// # Errors
    /// Where nothing of it counts as accepted: send it again.
    pub async fn append(&self, request: Request<'_>) -> Result<Vec<Outcome>, Refusal> {
        let appended = match self.plan(request) {
            Ok(plan) => self.store(request.tenant, plan).await,
            Err(refusal) => Err(refusal),
        };
        match &appended {
            Ok(outcomes) => self.counters.outcomes(outcomes),
            Err(refusal) => self.counters.refusal(refusal),
        }
        appended
    }

    /// Admits the records, without waiting for anything.
    fn plan(&self, request: Request<'_>) -> Result<Plan, Refusal> {
        let now = clock::now();
        if let Some(reason) = self.unready(now) {
            return Err(Refusal::unavailable(reason));
        }
        let bytes = request.records.bytes();
        request.check(bytes)?;
        let budget = self.budget.take(bytes)?;
        ::metrics::counter!("balefire_ingest_bytes_total").increment(bytes as u64);
        ::metrics::gauge!("balefire_ingest_in_flight_bytes").set(gauge(self.budget.used_bytes()));
        let name = match request.source {
            "" => SOURCE_DEFAULT,
            name => name,
        };
        // Read first: what is stamped with this revision or a later one knows at least so much.
        let revision = self.control.revision();
        let declared = self.control.declared();
        let source = declared.source(request.tenant, self.config.source(name));
        let mut door = core::Door::new(request.tenant, source, self.targets.partitions())
            .knowing(declared.aliases(request.tenant))
            .owning(declared.owned(request.tenant));
        if let Some(span) = request.backfill {
            door = door.backfilling(span);
        }
        #[cfg(feature = "unmasked")]
        {
            door.unmasked = std::env::var_os("BALEFIRE_UNMASKED").is_some();
        }
        let mut planner = Planner::new(&door, &self.targets, &self.memory, now, revision, bytes);
        for index in 0..request.records.len() {
            let fallback_id = match request.idempotency_key {
                "" => String::new(),
                key => format!("{key}#{index}"),
            };
            planner.add(admit(&door, &request.records, index, &fallback_id));
        }
        Ok(planner.finish(InFlight::new(request.records.len(), budget)))
    }

    async fn store(&self, tenant: &str, mut plan: Plan) -> Result<Vec<Outcome>, Refusal> {
        let items = std::mem::take(&mut plan.items);
        let evidence = std::mem::take(&mut plan.evidence);
        self.has_room(&items)?;
        #[cfg(feature = "sabotage")]
        balefire_kit::sabotage::stall().await;
        let stored = async {
            if !evidence.is_empty() {
                self.evidence.store(tenant, evidence).await?;
            }
            self.commit(tenant.into(), items).await
        };
        let places = tokio::time::timeout(DEADLINE, stored)
            .await
            .map_err(|_| Refusal::unavailable("the log did not acknowledge in time"))??;
        let outcomes = self.outcomes(&plan, &places);
        self.remember(&plan);
        Ok(outcomes)
    }

    /// Looks before anything is submitted, so that a full stream does not leave half a request
    /// in the others.
    fn has_room(&self, items: &BTreeMap<usize, Vec<Item>>) -> Result<(), Refusal> {
        if self.lags.sheds(&self.targets, items.keys().copied()) {
            return Err(Refusal::Overloaded {
                message:
                    "whoever works on bulk events is too far behind; what is more urgent is taken"
                        .into(),
                retry_after: BEHIND_RETRY,
            });
        }
        for (&target, items) in items {
            let (_, waiting) = self.commit.waiting(target);
            let bytes: usize = items.iter().map(Weight::weight).sum();
            if waiting > 0 && waiting + bytes > self.config.queue_bytes_max {
                return Err(Refusal::overloaded(
                    "too much waits for a stream of the log",
                ));
            }
        }
        Ok(())
    }

    /// Submits everything, then waits for everything.
    async fn commit(
        &self,
        tenant: Arc<str>,
        items: BTreeMap<usize, Vec<Item>>,
    ) -> Result<BTreeMap<usize, Vec<Place>>, Refusal> {
        let mut tickets: Vec<(usize, Ticket)> = Vec::with_capacity(items.len());
        for (target, items) in items {
            let ticket = self.commit.submit(target, Arc::clone(&tenant), items)?;
            tickets.push((target, ticket));
        }
        let mut places = BTreeMap::new();
        for (target, ticket) in tickets {
            places.insert(target, ticket.places().await?.iter().collect());
        }
        Ok(places)
    }

    fn outcomes(&self, plan: &Plan, places: &BTreeMap<usize, Vec<Place>>) -> Vec<Outcome> {
        let outcome = |(record, slot): (usize, &Slot)| match slot {
            Slot::Done(outcome) => outcome.clone(),
            Slot::Pending {
                target,
                position,
                seen,
                ..
            } => {
                let place = places.get(target).and_then(|places| places.get(*position));
                Outcome::Accepted {
                    stream: self.streams.get(*target).cloned().unwrap_or_default(),
                    place: place.copied().unwrap_or(Place {
                        sequence: 0,
                        index: 0,
                    }),
                    dedup_id: seen.dedup_id,
                    timing: plan.request.timing(record).unwrap_or(Timing::OnTime),
                }
            }
        };
        plan.slots.iter().enumerate().map(outcome).collect()
    }

    /// Whose the events are that went straight to EVENTS.
    pub fn naming(&self) -> MutexGuard<'_, Groups> {
        self.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, plan: &Plan) {
        self.naming().add(&plan.groups);
        metrics::named(&plan.groups);
        let records = plan.slots.iter().enumerate();
        let stored = records.filter_map(|(record, slot)| match slot {
            Slot::Done(_) => None,
            Slot::Pending { id, seen, .. } => {
                let timing = plan.request.timing(record)?;
                Some((*id, crate::memory::Seen { timing, ..*seen }))
            }
        });
        self.memory
            .stored(stored, plan.hints.iter().copied(), clock::now());
    }

    /// Places a barrier in every partition and lane of INTAKE and EVENTS.
    ///
    /// # Errors
    /// Where it is not everywhere.
    pub async fn place_barrier(&self, id: BarrierId) -> Result<u32, Refusal> {
        let at = clock::now();
        if let Some(reason) = self.unready(at) {
            return Err(Refusal::unavailable(reason));
        }
        let items = (0..self.streams.len()).map(|target| (target, vec![Item::Barrier { id, at }]));
        let placed = self.commit("".into(), items.collect());
        tokio::time::timeout(DEADLINE, placed)
            .await
            .map_err(|_| Refusal::unavailable("the log did not acknowledge in time"))??;
        Ok(self.targets.partitions())
    }
}

fn admit<'a>(
    door: &'a core::Door,
    records: &Records<'a>,
    index: usize,
    fallback_id: &str,
) -> Result<core::Admitted<'a>, Violation> {
    let missing = Violation::new("", Reason::Missing, "no such record");
    match records {
        Records::Raw(records, occurrences) => {
            let provenance = Provenance {
                occurrence: occurrences.get(index).copied().unwrap_or_default(),
                fallback_id,
            };
            core::admit_json(door, records.get(index).ok_or(missing)?, provenance)
        }
        Records::Typed(events) => {
            let event = events.get(index).ok_or(missing)?;
            let bodies = event.request.len() + event.response.len();
            if encoded_len(event).saturating_sub(bodies) > EVENT_BYTES_MAX {
                return Err(Violation::new(
                    "",
                    Reason::TooLarge,
                    "an event without its request and response may have 64 KiB",
                ));
            }
            let provenance = Provenance {
                occurrence: 0,
                fallback_id,
            };
            core::admit_native(door, convert::native(event)?, provenance)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn gauge(bytes: usize) -> f64 {
    bytes as f64
}
