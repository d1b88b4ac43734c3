//! Any event, hint, stub and escalation, for property tests.

use std::borrow::Cow;

use balefire_event::{
    Approval, Assurance, Category, CorrelationKey, DedupId, Digest, Escalation, EscalationId,
    EscalationKind, Event, EvidenceItem, EvidenceRef, Extension, Hint, Identity, IdentityKind,
    Join, KeyKind, KeyPart, RecommendedAction, RuleId, Sealed, Severity, Stub, SubjectRef,
    Timestamp, Timing,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

type Owned = Cow<'static, str>;

fn text() -> impl Strategy<Value = Owned> {
    prop_oneof![
        Just(Cow::Borrowed("")),
        "[a-zé中]{1,12}".prop_map(Cow::Owned),
        "[ -~]{120,140}".prop_map(Cow::Owned)
    ]
}

fn string() -> impl Strategy<Value = String> {
    text().prop_map(Cow::into_owned)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

fn identity() -> impl Strategy<Value = Identity<'static>> {
    let sealed =
        (0..3u32, 0..300u32, vec(any::<u8>(), 0..20)).prop_map(|(scheme, key_epoch, data)| {
            Sealed {
                scheme,
                key_epoch,
                data: Cow::Owned(data),
            }
        });
    (
        any::<[u8; 16]>(),
        select(IdentityKind::ALL),
        select(Assurance::ALL),
        text(),
        option::of(sealed),
    )
        .prop_map(|(subject, kind, assurance, via, label)| Identity {
            subject_ref: SubjectRef(subject),
            kind,
            assurance,
            via,
            label,
        })
}

fn key() -> impl Strategy<Value = CorrelationKey<'static>> {
    (select(KeyKind::ALL), text()).prop_map(|(kind, value)| CorrelationKey { kind, value })
}

fn stamped() -> impl Strategy<Value = Event<'static>> {
    (
        any::<[u8; 16]>(),
        (text(), text()),
        (time(), time(), time()),
        select(Timing::ALL),
        any::<u64>(),
        select(Category::ALL),
        select(Severity::ALL),
        any::<(bool, bool, bool)>(),
        any::<i64>(),
    )
        .prop_map(
            |(
                dedup,
                (event_id, source),
                times,
                timing,
                control_revision,
                category,
                severity,
                flags,
                lateness,
            )| Event {
                dedup_id: DedupId(dedup),
                event_id,
                source,
                occurred_at: times.0,
                received_at: times.1,
                t: times.2,
                timing,
                control_revision,
                category,
                severity,
                severity_derived: flags.0,
                id_conflict: flags.1,
                backfill: flags.2,
                lateness,
                ..Event::default()
            },
        )
}

fn with_parts(event: Event<'static>) -> impl Strategy<Value = Event<'static>> {
    let evidence =
        any::<([u8; 32], u64, bool)>().prop_map(|(digest, size_bytes, truncated)| EvidenceRef {
            digest: Digest(digest),
            size_bytes,
            truncated,
        });
    let join = (any::<bool>(), any::<bool>(), vec(string(), 0..3)).prop_map(
        |(partial, amendment, filled)| Join {
            partial,
            amendment,
            filled,
        },
    );
    let extension = (text(), text()).prop_map(|(name, json)| Extension { name, json });
    (
        Just(event),
        (
            option::of(identity()),
            vec(identity(), 0..3),
            vec(key(), 0..3),
        ),
        btree_map(text(), text(), 0..5),
        vec(extension, 0..4),
        option::of(evidence),
        option::of(join),
    )
        .prop_map(
            |(event, (user, actors, keys), labels, extensions, evidence, join)| Event {
                user,
                actors,
                keys,
                labels: labels.into_iter().collect(),
                extensions,
                evidence,
                join,
                ..event
            },
        )
}

fn with_said(event: Event<'static>) -> impl Strategy<Value = Event<'static>> {
    (
        Just(event),
        vec(text(), 10),
        option::of(-1e300..1e300),
        option::of(any::<u64>()),
        option::of(any::<u64>()),
        option::of(any::<u32>()),
        option::of(any::<bool>()),
    )
        .prop_map(
            |(event, texts, judge_score, tokens_in, tokens_out, risk_tier, tool_allowed)| {
                let mut texts = texts.into_iter();
                let mut next = || texts.next().expect("ten texts for ten fields");
                Event {
                    model: next(),
                    judge_model: next(),
                    judge_score,
                    judge_verdict: next(),
                    policy_violated: next(),
                    guardrail_result: next(),
                    tokens_in,
                    tokens_out,
                    endpoint: next(),
                    risk_tier,
                    tool: next(),
                    tool_allowed,
                    attack_type: next(),
                    reason: next(),
                    src_ip: next(),
                    ..event
                }
            },
        )
}

/// Any event.
pub fn event() -> impl Strategy<Value = Event<'static>> {
    stamped().prop_flat_map(with_parts).prop_flat_map(with_said)
}

/// Any hint.
pub fn hint() -> impl Strategy<Value = Hint<'static>> {
    (
        vec(key(), 0..3),
        identity(),
        string(),
        (time(), any::<i64>(), any::<u32>()),
        vec((string(), string()), 0..3),
        any::<[u8; 16]>(),
    )
        .prop_map(|(keys, identity, source, numbers, facts, dedup)| Hint {
            keys,
            identity,
            source: source.into(),
            received_at: numbers.0,
            join_horizon: numbers.1,
            authority: numbers.2,
            facts: facts
                .into_iter()
                .map(|(name, text)| (name.into(), text.into()))
                .collect(),
            dedup_id: DedupId(dedup),
        })
}

/// Any stub.
pub fn stub() -> impl Strategy<Value = Stub> {
    (key(), any::<[u8; 16]>(), any::<u32>(), key(), time()).prop_map(
        |(key, dedup, partition, first_key, received_at)| Stub {
            key,
            dedup_id: DedupId(dedup),
            partition,
            first_key,
            received_at,
        },
    )
}

const KINDS: &[EscalationKind] = &[
    EscalationKind::Raised,
    EscalationKind::Continued,
    EscalationKind::Closed,
    EscalationKind::Amended,
];
const APPROVALS: &[Approval] = &[Approval::None, Approval::Human, Approval::HumanDoubt];

fn action() -> impl Strategy<Value = RecommendedAction> {
    (
        string(),
        string(),
        string(),
        any::<u64>(),
        select(APPROVALS),
    )
        .prop_map(
            |(name, class, target, max_duration_seconds, approval)| RecommendedAction {
                name,
                class,
                target,
                max_duration_seconds,
                approval,
            },
        )
}

/// Any escalation.
pub fn escalation() -> impl Strategy<Value = Escalation> {
    let part =
        (string(), string(), vec(any::<u8>(), 0..20)).prop_map(|(field, readable, canonical)| {
            KeyPart {
                field,
                readable,
                canonical,
            }
        });
    let item =
        (string(), any::<[u8; 16]>(), time()).prop_map(|(event_id, dedup, t)| EvidenceItem {
            event_id,
            dedup_id: DedupId(dedup),
            t,
        });
    (
        any::<([u8; 16], [u8; 16], [u8; 16])>(),
        (
            select(KINDS),
            select(Severity::ALL),
            select(Timing::ALL),
            option::of(select(Assurance::ALL)),
        ),
        (string(), string(), string()),
        (vec(part, 0..3), vec(item, 0..4), vec(action(), 0..3)),
        (time(), time(), time(), any::<i64>(), any::<i64>()),
        (any::<u64>(), any::<u64>(), any::<u32>(), any::<bool>()),
        (
            vec(string(), 0..3),
            vec(string(), 0..3),
            vec(string(), 0..3),
        ),
        option::of(event().prop_map(Box::new)),
    )
        .prop_map(
            |(ids, words, texts, parts, times, numbers, lists, trigger)| Escalation {
                escalation_id: EscalationId(ids.0),
                episode_id: EscalationId(ids.1),
                kind: words.0,
                tenant: texts.0,
                rule_id: RuleId(ids.2),
                rule_name: texts.1,
                title: texts.2,
                key: parts.0,
                slot_start: times.0,
                rearm: times.3,
                breach_at: times.1,
                severity: words.1,
                timing: words.2,
                assurance: words.3,
                evidence: parts.1,
                event_count: numbers.0,
                recommended_actions: parts.2,
                condition: lists.0.concat(),
                audiences: lists.0,
                atlas: lists.1,
                owasp: lists.2,
                trigger,
                received_at: times.2,
                revision: numbers.2,
                backfill: numbers.3,
                window: times.4,
                threshold: numbers.1,
                at_close: numbers.3,
                shadow: ids.0[0] & 1 == 1,
            },
        )
}
