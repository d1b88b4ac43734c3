//! Escalations as they are logged: everything a person needs, from the window and the event.

use std::sync::Arc;

use balefire_event::digest::FieldHasher;
use balefire_event::limits::EVIDENCE_ITEMS;
use balefire_event::{
    Approval, Assurance, Escalation, EscalationId, EscalationKind, Event, EvidenceItem, Field,
    RecommendedAction, Timestamp, Timing, stamp,
};
use balefire_stream::sorted::Iter;
use balefire_stream::{Breach, Entry, Window, WindowSpec};

use crate::book::Closing;
use crate::generation::{Contribution, Counting, weakest};
use crate::key::{key_parts, parts_of};
use crate::spec::RuleSpec;

/// A breached slot with what its window held then.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) breach: Breach,
    evidence: Vec<EvidenceItem>,
    records: u64,
    assurance: Option<Assurance>,
    backfill: bool,
}

impl Found {
    /// Reads the evidence of each breach, before anything is trimmed.
    pub(crate) fn all(
        window: &Window<Contribution>,
        spec: &WindowSpec,
        breaches: &[Breach],
    ) -> Vec<Self> {
        breaches
            .iter()
            .map(|breach| {
                let from = breach.at.minus(spec.window());
                Self::of(*breach, window.range(from, breach.at))
            })
            .collect()
    }

    /// Of a slot whose events are not in memory.
    pub(crate) fn nothing(spec: &WindowSpec, slot: i64) -> Self {
        let at = spec.slot_start(slot).plus(spec.rearm()).minus(1);
        let none = Window::default();
        Self::of(Breach { slot, at }, none.range(at, at))
    }

    fn of(breach: Breach, entries: Iter<'_, Entry<Contribution>>) -> Self {
        // An event that meets several steps is several entries, side by side, and one event.
        let mut before = None;
        let events = entries
            .clone()
            .filter(move |entry| before.replace(entry.dedup_id) != Some(entry.dedup_id));
        let count = events.clone().count();
        let head = events.clone().take(EVIDENCE_ITEMS);
        let behind = count.saturating_sub(EVIDENCE_ITEMS);
        let tail = events.clone().skip(behind.max(EVIDENCE_ITEMS));
        Self {
            breach,
            evidence: head.chain(tail).map(item).collect(),
            records: events.map(|entry| u64::from(entry.records)).sum(),
            assurance: entries
                .clone()
                .fold(None, |sum, entry| weakest(sum, entry.payload.assurance)),
            backfill: entries.len() > 0 && entries.clone().all(|entry| entry.payload.backfill),
        }
    }
}

fn item(entry: &Entry<Contribution>) -> EvidenceItem {
    EvidenceItem {
        event_id: entry.payload.event_id.to_string(),
        dedup_id: entry.dedup_id,
        t: entry.t,
    }
}

/// Of a breached slot. Kind and episode are the fold's to say.
pub(crate) fn windowed(
    spec: &RuleSpec,
    window: &WindowSpec,
    tenant: &Arc<str>,
    key: &[u8],
    event: &Event<'_>,
    found: &Found,
) -> Escalation {
    let slot_start = window.slot_start(found.breach.slot);
    let id = EscalationId::windowed(tenant, &spec.id, key, window.rearm(), slot_start);
    let late = event.received_at.since(found.breach.at) > stamp::LATE_ESCALATION;
    let timing = if late { Timing::Late } else { Timing::OnTime };
    let base = base(spec, tenant, event, id, timing, found.assurance);
    Escalation {
        // History asks nothing of anybody.
        recommended_actions: if found.backfill {
            Vec::new()
        } else {
            base.recommended_actions
        },
        slot_start,
        rearm: window.rearm(),
        breach_at: found.breach.at,
        evidence: found.evidence.clone(),
        event_count: found.records,
        backfill: found.backfill,
        window: window.window(),
        threshold: window.condition().threshold(),
        ..base
    }
}

/// What the last W of a slot held; `None`: none of its events is in memory.
pub(crate) fn held(counting: &Counting, window: &Window<Contribution>, slot: i64) -> Option<Found> {
    let shape = &counting.window;
    let start = shape.slot_start(slot);
    let last = start.plus(shape.rearm()).minus(1);
    let from = if counting.is_at_close() {
        start.minus(shape.window())
    } else {
        start.min(last.minus(shape.window()))
    };
    let at = window.range(from, last).last()?.t;
    Some(Found::of(Breach { slot, at }, window.range(from, last)))
}

/// Of an escalated slot that gets no more breaches.
pub(crate) fn closed(
    spec: &RuleSpec,
    counting: &Counting,
    closing: &Closing,
    found: Found,
    low: Timestamp,
) -> Escalation {
    let (tenant, shape) = (&closing.tenant, &counting.window);
    let start = shape.slot_start(closing.emitted.slot);
    let canonical = &closing.canonical;
    let id = EscalationId::windowed(tenant, &spec.id, canonical, shape.rearm(), start);
    let nobody = Event::default();
    Escalation {
        episode_id: closing.emitted.episode_id,
        kind: EscalationKind::Closed,
        revision: 1,
        key: parts_of(canonical, &counting.group_by),
        slot_start: start,
        rearm: shape.rearm(),
        breach_at: found.breach.at,
        evidence: found.evidence,
        event_count: found.records,
        // Nothing is left to do.
        recommended_actions: Vec::new(),
        trigger: None,
        received_at: low,
        backfill: found.backfill,
        window: shape.window(),
        threshold: shape.condition().threshold(),
        at_close: counting.is_at_close(),
        ..base(spec, tenant, &nobody, id, Timing::OnTime, found.assurance)
    }
}

/// Of a slot that was found breached when it ended. Kind and episode are the fold's to say.
pub(crate) fn decided(
    spec: &RuleSpec,
    counting: &Counting,
    (tenant, canonical): (&Arc<str>, &[u8]),
    found: Found,
    low: Timestamp,
) -> Escalation {
    let shape = &counting.window;
    let start = shape.slot_start(found.breach.slot);
    let id = EscalationId::windowed(tenant, &spec.id, canonical, shape.rearm(), start);
    let late = low.since(found.breach.at) > stamp::LATE_ESCALATION;
    let timing = if late { Timing::Late } else { Timing::OnTime };
    let nobody = Event::default();
    let base = base(spec, tenant, &nobody, id, timing, found.assurance);
    Escalation {
        key: parts_of(canonical, &counting.group_by),
        slot_start: start,
        rearm: shape.rearm(),
        breach_at: found.breach.at,
        evidence: found.evidence,
        event_count: found.records,
        recommended_actions: if found.backfill {
            Vec::new()
        } else {
            base.recommended_actions
        },
        // It was no one event that completed it.
        trigger: None,
        received_at: low,
        backfill: found.backfill,
        window: shape.window(),
        threshold: shape.condition().threshold(),
        at_close: true,
        ..base
    }
}

/// Of one event under a windowless rule.
pub(crate) fn single(spec: &RuleSpec, tenant: &Arc<str>, event: &Event<'_>) -> Escalation {
    let id = EscalationId::single(tenant, &spec.id, &event.dedup_id);
    let old = event.received_at.since(event.t) > stamp::LATE_ESCALATION;
    let timing = match event.timing {
        Timing::OnTime if old => Timing::Late,
        timing @ (Timing::OnTime | Timing::Late | Timing::Future) => timing,
    };
    let mut escalation = base(spec, tenant, event, id, timing, spec.assurance(event));
    if event.backfill {
        escalation.recommended_actions.clear();
    }
    escalation
}

/// What an escalation of a windowless rule says after an amendment, as an id: the same for the same
/// facts. `None`: its event is no amendment.
pub(crate) fn amendment_of(escalation: &Escalation) -> Option<EscalationId> {
    let event = escalation.trigger.as_deref()?;
    let join = event.join.as_ref().filter(|join| join.amendment)?;
    let mut hasher = FieldHasher::new("balefire amendment v1");
    hasher.field(&escalation.escalation_id.0);
    for name in &join.filled {
        let part = event.key_part(&Field::parse(name));
        hasher.field(name.as_bytes());
        hasher.field(part.as_ref().map_or(&[], |part| part.canonical.as_slice()));
    }
    let assurance = event.user.as_ref().map(|user| user.assurance.number());
    hasher.number(assurance.map_or(0, i64::from));
    Some(EscalationId(hasher.id()))
}

/// What both have in common; the window's part is that of a single event.
fn base(
    spec: &RuleSpec,
    tenant: &Arc<str>,
    event: &Event<'_>,
    id: EscalationId,
    timing: Timing,
    assurance: Option<Assurance>,
) -> Escalation {
    let doubt = timing != Timing::OnTime
        || matches!(assurance, Some(Assurance::Claimed | Assurance::Conflicting));
    Escalation {
        escalation_id: id,
        episode_id: id,
        kind: EscalationKind::Raised,
        tenant: tenant.to_string(),
        rule_id: spec.id,
        rule_name: spec.name.clone(),
        title: spec.title.clone(),
        key: key_parts(&spec.key_fields, event),
        slot_start: event.t,
        rearm: 0,
        breach_at: event.t,
        severity: spec.severity,
        timing,
        assurance,
        evidence: vec![EvidenceItem {
            event_id: event.event_id.to_string(),
            dedup_id: event.dedup_id,
            t: event.t,
        }],
        event_count: 1,
        // A rule on trial asks nothing of anybody.
        recommended_actions: if spec.shadow {
            Vec::new()
        } else {
            actions(&spec.actions, doubt)
        },
        audiences: spec.audiences.clone(),
        atlas: spec.atlas.clone(),
        owasp: spec.owasp.clone(),
        trigger: Some(Box::new(event.clone().into_owned())),
        received_at: event.received_at,
        revision: 0,
        backfill: event.backfill,
        window: 0,
        threshold: 0,
        at_close: false,
        condition: spec.kind.words(),
        shadow: spec.shadow,
    }
}

/// The rule's actions; in doubt those that affect a user wait for a human.
fn actions(actions: &[RecommendedAction], doubt: bool) -> Vec<RecommendedAction> {
    actions
        .iter()
        .cloned()
        .map(|mut action| {
            if doubt && action.affects_user() {
                action.approval = Approval::HumanDoubt;
            }
            action
        })
        .collect()
}
