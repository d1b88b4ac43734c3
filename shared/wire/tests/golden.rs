//! Bytes written by the first version are read for ever: one committed batch of each kind of
//! record, compared field by field. The files are never written again; a kind that has none yet
//! gets one, and the test fails until it is committed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failing helper fails its test"
)]

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use balefire_event::{
    Approval, Assurance, BarrierId, Category, CorrelationKey, DedupId, Digest, Escalation,
    EscalationId, EscalationKind, Event, EvidenceItem, EvidenceRef, Extension, Hint, Identity,
    IdentityKind, Join, KeyKind, KeyPart, RecommendedAction, RuleId, Sealed, Severity, Stub,
    SubjectRef, Timestamp, Timing,
};
use balefire_wire::log::v1::{self, control::Change, record::Kind};
use balefire_wire::{
    BatchView, BatchWriter, Header, RecordRef, RecordView, deadletter, delivery, event,
};
use bytes::Bytes;

const T: i64 = 1_770_820_200_000_000_000;

fn header() -> Header {
    Header {
        tenant: "acme".to_owned(),
        writer_id: *b"writer-of-golden",
        writer_seq: 1_234,
        semantics_version: 1,
        lateness_max: 3_600_000_000_000,
        key_epoch: 3,
        received_at_max: Timestamp(T + 5),
        control_revision_max: 42,
    }
}

fn step() -> v1::Step {
    let run = |lane, first_sequence, count| v1::InputRun {
        lane,
        first_sequence,
        count,
    };
    v1::Step {
        number: 77,
        source_partition: 1,
        inputs: vec![run(1, 900, 2), run(2, 40_000, 300)],
        part: 2,
        last_part: true,
        claim: true,
        owner_id: Bytes::from_static(b"owner-of-golden!"),
        whole_below: None,
    }
}

fn text(text: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(text)
}

fn identity(kind: IdentityKind, assurance: Assurance, via: &'static str) -> Identity<'static> {
    Identity {
        subject_ref: SubjectRef(*b"subject-of-jgill"),
        kind,
        assurance,
        via: text(via),
        label: Some(Sealed::plain(text("jgill@example.com"))),
    }
}

fn key(kind: KeyKind, value: &'static str) -> CorrelationKey<'static> {
    CorrelationKey {
        kind,
        value: text(value),
    }
}

fn full_event() -> Event<'static> {
    Event {
        dedup_id: DedupId(*b"dedup-of-golden!"),
        event_id: text("e-1"),
        source: text("native"),
        occurred_at: Timestamp(T),
        received_at: Timestamp(T + 5),
        t: Timestamp(T + 1),
        timing: Timing::Future,
        control_revision: 42,
        category: Category::AgentBoundaryViolation,
        severity: Severity::Critical,
        severity_derived: true,
        user: Some(identity(
            IdentityKind::User,
            Assurance::Joined,
            "join:request:idp",
        )),
        actors: vec![identity(
            IdentityKind::Agent,
            Assurance::Claimed,
            "agent_id",
        )],
        keys: vec![key(KeyKind::Request, "r-1"), key(KeyKind::Session, "s-1")],
        model: text("gpt-4o"),
        judge_model: text("judge-2"),
        judge_score: Some(0.875),
        judge_verdict: text("unsafe"),
        policy_violated: text("no-tools"),
        guardrail_result: text("blocked"),
        tokens_in: Some(0),
        tokens_out: Some(70_000),
        endpoint: text("/v1/chat"),
        risk_tier: Some(1),
        tool: text("shell"),
        tool_allowed: Some(false),
        attack_type: text("tool_abuse"),
        reason: text("tool outside the allow-list"),
        src_ip: text("192.0.2.7"),
        labels: vec![(text("app"), text("chat")), (text("env"), text("prod"))],
        extensions: vec![Extension {
            name: text("gateway.region"),
            json: text("\"eu\""),
        }],
        evidence: Some(EvidenceRef {
            digest: Digest([9; 32]),
            size_bytes: 2_000_000,
            truncated: true,
        }),
        join: Some(Join {
            partial: true,
            amendment: true,
            filled: vec!["user_id".to_owned()],
        }),
        id_conflict: true,
        backfill: true,
        lateness: 7_200_000_000_000,
        // Later than these bytes.
        hold: 0,
    }
}

fn hint() -> Hint<'static> {
    Hint {
        keys: vec![key(KeyKind::Trace, "t-1")],
        identity: identity(IdentityKind::User, Assurance::Verified, "user_id"),
        source: "idp".into(),
        received_at: Timestamp(T),
        join_horizon: 900_000_000_000,
        authority: 10,
        facts: vec![("model".into(), "gpt-4o".into())],
        dedup_id: DedupId([4; 16]),
    }
}

fn stub() -> Stub {
    Stub {
        key: key(KeyKind::Session, "s-1"),
        dedup_id: DedupId([5; 16]),
        partition: 3,
        first_key: key(KeyKind::Request, "r-1"),
        received_at: Timestamp(T),
    }
}

fn escalation() -> Escalation {
    Escalation {
        escalation_id: EscalationId([1; 16]),
        episode_id: EscalationId([2; 16]),
        kind: EscalationKind::Continued,
        tenant: "acme".to_owned(),
        rule_id: RuleId([3; 16]),
        rule_name: "guardrail_block_burst".to_owned(),
        title: "Many guardrail blocks".to_owned(),
        key: vec![KeyPart {
            field: "user_id".to_owned(),
            readable: "jgill".to_owned(),
            canonical: vec![6; 16],
        }],
        slot_start: Timestamp(T - 1),
        rearm: 300_000_000_000,
        breach_at: Timestamp(T),
        severity: Severity::High,
        timing: Timing::Late,
        assurance: Some(Assurance::Conflicting),
        evidence: vec![EvidenceItem {
            event_id: "e-1".to_owned(),
            dedup_id: DedupId([7; 16]),
            t: Timestamp(T),
        }],
        event_count: 11,
        recommended_actions: vec![RecommendedAction {
            name: "block_user".to_owned(),
            class: "user_impacting".to_owned(),
            target: "user_id".to_owned(),
            max_duration_seconds: 3_600,
            approval: Approval::HumanDoubt,
        }],
        audiences: vec!["soc".to_owned()],
        atlas: vec!["AML.T0051".to_owned()],
        owasp: vec!["LLM01".to_owned()],
        trigger: Some(Box::new(full_event())),
        received_at: Timestamp(T + 5),
        revision: 2,
        backfill: true,
        window: 300_000_000_000,
        threshold: 10,
        at_close: false,
        condition: String::new(),
        shadow: false,
    }
}

fn evidence() -> v1::Evidence {
    let sealed = |data| event::v1::Sealed {
        scheme: 0,
        key_epoch: 0,
        data: Bytes::from_static(data),
    };
    v1::Evidence {
        digest: vec![9; 32].into(),
        dedup_id: vec![7; 16].into(),
        request: Some(sealed(b"what is \xff")),
        response: Some(sealed(b"no")),
        request_size_bytes: 9,
        response_size_bytes: 2,
        truncated: true,
        full_digest: Bytes::new(),
    }
}

fn control() -> v1::Control {
    v1::Control {
        actor: "service:rule-engine".to_owned(),
        reason: "start".to_owned(),
        at_ns: T,
        change: Some(Change::RuleSet(v1::RuleSet {
            files: vec![v1::RuleFile {
                name: "a.yml".to_owned(),
                yaml: "title: a".to_owned(),
            }],
            digest: vec![8; 32].into(),
        })),
    }
}

fn intent() -> delivery::v1::Intent {
    delivery::v1::Intent {
        escalation_id: vec![1; 16].into(),
        receiver: "soc-webhook".to_owned(),
        escalation_sequence: 15,
        severity: 3,
        decided_at_ns: T,
        route: "default".to_owned(),
        ..delivery::v1::Intent::default()
    }
}

fn attempt() -> delivery::v1::Attempt {
    delivery::v1::Attempt {
        escalation_id: vec![1; 16].into(),
        receiver: "soc-webhook".to_owned(),
        number: 3,
        at_ns: T,
        outcome: delivery::v1::Outcome::Retry.into(),
        status: 503,
        error: "busy".to_owned(),
        next_attempt_at_ns: T + 9,
        took_ns: 12_000_000,
        ..delivery::v1::Attempt::default()
    }
}

fn requeue() -> delivery::v1::Requeue {
    delivery::v1::Requeue {
        escalation_id: vec![1; 16].into(),
        receiver: "soc-webhook".to_owned(),
        actor: "ann".to_owned(),
        at_ns: T,
        ..delivery::v1::Requeue::default()
    }
}

fn dead_letter() -> deadletter::v1::DeadLetter {
    deadletter::v1::DeadLetter {
        id: "dl:EVENTS_g1_urgent_0:15:2".to_owned(),
        stage: "rule-engine".to_owned(),
        stream: "EVENTS_g1_urgent_0".to_owned(),
        sequence: 15,
        index: Some(0),
        reason: "malformed_record".to_owned(),
        detail: "malformed category".to_owned(),
        payload: Bytes::from_static(b"\x0a\x01"),
        replay_subject: "events.g1.urgent.0".to_owned(),
        attempts: 1,
        first_failed_at_ns: T,
        last_failed_at_ns: T + 1,
        first_error: "a".to_owned(),
        last_error: "b".to_owned(),
        tenant: "acme".to_owned(),
        escalation_id: vec![1; 16].into(),
        receiver: "soc-webhook".to_owned(),
        ..deadletter::v1::DeadLetter::default()
    }
}

fn resolution() -> deadletter::v1::Resolution {
    deadletter::v1::Resolution {
        id: "dl:EVENTS_g1_urgent_0:15:2".to_owned(),
        state: deadletter::v1::DeadLetterState::Discarded.into(),
        actor: "ann".to_owned(),
        reason: "test traffic".to_owned(),
        at_ns: T,
    }
}

fn feed_position() -> delivery::v1::FeedPosition {
    delivery::v1::FeedPosition {
        receiver: "siem".to_owned(),
        lane: 2,
        sequence: 15,
        at_ns: T,
    }
}

fn acknowledgement() -> delivery::v1::Acknowledgement {
    delivery::v1::Acknowledgement {
        escalation_id: vec![1; 16].into(),
        receiver: "pager".to_owned(),
        actor: "Ann (PLH1HKV)".to_owned(),
        at_ns: T,
        said: delivery::v1::Said::Acknowledged.into(),
        reference: "01CEG5N5OEBH6VAFYOUNNVVF8K".to_owned(),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares the committed batch of one record with what it held when it was written.
fn check(name: &str, record: RecordRef<'_>, expected: &RecordView<'_>) {
    let path = folder().join(name).with_extension("bin");
    if !path.exists() {
        let mut writer = BatchWriter::default();
        writer.push(record);
        std::fs::write(&path, writer.finish(&header(), Some(&step()))).unwrap();
        panic!(
            "{} did not exist and was written: commit it",
            path.display()
        );
    }
    let bytes = std::fs::read(&path).unwrap();
    let view = BatchView::parse(&bytes).unwrap();
    assert_eq!(view.header, header(), "{name}");
    assert_eq!(view.step, Some(step()), "{name}");
    let records: Vec<_> = view.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.as_slice(), std::slice::from_ref(expected), "{name}");
}

fn check_other(name: &str, record: RecordRef<'_>, expected: Kind) {
    check(name, record, &RecordView::Other(expected));
}

#[test]
fn old_bytes_decode() {
    let event = full_event();
    check(
        "event",
        RecordRef::Event(&event),
        &RecordView::Event(full_event()),
    );
    check("hint", RecordRef::Hint(&hint()), &RecordView::Hint(hint()));
    check("stub", RecordRef::Stub(&stub()), &RecordView::Stub(stub()));
    let at = Timestamp(T);
    check("tick", RecordRef::Tick(at), &RecordView::Tick(at));
    let id = BarrierId([6; 16]);
    check(
        "barrier",
        RecordRef::Barrier { id, at },
        &RecordView::Barrier { id, at },
    );
    let partition = 5;
    check(
        "watermark",
        RecordRef::Watermark { partition, at },
        &RecordView::Watermark { partition, at },
    );
    check(
        "escalation",
        RecordRef::Escalation(&escalation()),
        &RecordView::Escalation(Box::new(escalation())),
    );
    let rule_id = RuleId(*b"rule-of-a-match!");
    let generation = 41;
    check(
        "match",
        RecordRef::Match {
            rule_id,
            generation,
            event: &full_event(),
        },
        &RecordView::Match {
            rule_id,
            generation,
            event: full_event(),
        },
    );
}

#[test]
fn old_bytes_of_generated_kinds_decode() {
    check_other(
        "evidence",
        RecordRef::Evidence(&evidence()),
        Kind::Evidence(evidence()),
    );
    check_other(
        "control",
        RecordRef::Control(&control()),
        Kind::Control(control()),
    );
    check_other(
        "intent",
        RecordRef::Intent(&intent()),
        Kind::Intent(intent()),
    );
    check_other(
        "attempt",
        RecordRef::Attempt(&attempt()),
        Kind::Attempt(attempt()),
    );
    check_other(
        "requeue",
        RecordRef::Requeue(&requeue()),
        Kind::Requeue(requeue()),
    );
    check_other(
        "dead_letter",
        RecordRef::DeadLetter(&dead_letter()),
        Kind::DeadLetter(dead_letter()),
    );
    check_other(
        "resolution",
        RecordRef::Resolution(&resolution()),
        Kind::Resolution(resolution()),
    );
    check_other(
        "feed_position",
        RecordRef::FeedPosition(&feed_position()),
        Kind::FeedPosition(feed_position()),
    );
    check_other(
        "acknowledgement",
        RecordRef::Acknowledgement(&acknowledgement()),
        Kind::Acknowledgement(acknowledgement()),
    );
}

#[test]
fn there_is_a_golden_batch_of_every_kind() {
    let count = std::fs::read_dir(folder()).unwrap().count();
    let kinds = (1u32..).take_while(|number| known(*number)).count();
    assert_eq!(count, kinds);
}

/// Whether a record of this number is of a kind that can be read: an empty message of a known kind
/// is either read or lacks a field, never an unknown kind.
fn known(number: u32) -> bool {
    let key = number << 3 | 2;
    let (low, high) = (
        u8::try_from(key & 0x7f).unwrap(),
        u8::try_from(key >> 7).unwrap(),
    );
    let mut writer = BatchWriter::default();
    match high {
        0 => writer.push_encoded(&[low, 0]),
        _ => writer.push_encoded(&[low | 0x80, high, 0]),
    }
    let bytes = writer.finish(&header(), None);
    let view = BatchView::parse(&bytes).unwrap();
    let raw = view.raw_records().next().unwrap();
    raw.is_ok()
}
