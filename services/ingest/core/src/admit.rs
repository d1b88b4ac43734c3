//! Admits a record or refuses it.

use std::borrow::Cow;

use balefire_event::digest::FieldHasher;
use balefire_event::event::Text;
use balefire_event::limits::{EVENT_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX};
use balefire_event::stamp::ClockPolicy;
use balefire_event::{
    Category, CorrelationKey, DedupId, Digest, Event, Identity, IdentityKind, KeyKind, Lane,
    Sealed, SubjectRef, Timestamp,
};

use crate::door::{Door, Provenance};
use crate::evidence::Evidence;
use crate::native::NativeInput;
use crate::path::Path;
use crate::size::size;
use crate::violation::{Reason, Violation};
use crate::{classify, json, severity};

/// First time that a record may say: 1970-01-01T00:00:00Z.
pub const TIME_MIN: Timestamp = Timestamp(0);
/// First time that is too late for a record: 2200-01-01T00:00:00Z, far from where nanoseconds end.
pub const TIME_END: Timestamp = Timestamp(7_258_118_400_000_000_000);

pub(crate) const TIME_RANGE: Violation = Violation::new(
    "timestamp",
    Reason::OutOfRange,
    "expected a time from 1970 to 2199",
);

/// A record that goes in.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted<'a> {
    /// The event: redacted, without stamps, which come when its batch is formed.
    pub event: Event<'a>,
    /// Its lane.
    pub lane: Lane,
    /// Its way.
    pub path: Path,
    /// Its sealed bodies.
    pub evidence: Option<Evidence<'a>>,
    /// What it is stamped by.
    pub clock: ClockPolicy,
    /// What was decided, before redaction: two records of one id with two of these conflict.
    pub decision: Digest,
    /// The producer gave an id of its own.
    pub id_said: bool,
}

/// Admits one JSON record.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn admit_json<'a>(
    door: &'a Door,
    bytes: &'a [u8],
    provenance: Provenance<'_>,
) -> Result<Admitted<'a>, Violation> {
    let input = read_json(door, bytes)?;
    admit_read(door, input, bytes, provenance)
}

/// A record, to whoever asks for some categories alone.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are wanted, and lie in buffers that are used again"
)]
pub enum Looked<'a> {
    /// Of a category that is asked for.
    Wanted(Admitted<'a>),
    /// A good record of another, of this time. It was neither named, masked nor sealed.
    Passed(Timestamp),
}

/// The same for whoever asks for some categories alone.
///
/// # Errors
/// As [`admit_json`].
pub fn admit_json_of<'a>(
    door: &'a Door,
    bytes: &'a [u8],
    provenance: Provenance<'_>,
    wanted: impl FnOnce(Category) -> bool,
) -> Result<Looked<'a>, Violation> {
    let input = read_json(door, bytes)?;
    let unwanted = input.category.is_some_and(|category| !wanted(category));
    if unwanted && bytes.len() <= SMALL_BYTES_MAX {
        let (event, _) = event(door, input, false)?;
        return Ok(Looked::Passed(event.occurred_at));
    }
    let admitted = admit_read(door, input, bytes, provenance)?;
    Ok(Looked::Wanted(admitted))
}

/// No record up to this many bytes becomes too large by being masked: a placeholder is at most
/// twice as long as what it stands for, and a number behind a name shorter than its field.
const SMALL_BYTES_MAX: usize = EVENT_BYTES_MAX / 4;

fn read_json<'a>(door: &Door, bytes: &'a [u8]) -> Result<NativeInput<'a>, Violation> {
    let input = NativeInput::from_json(bytes, &door.tenant)?;
    if bytes.len() - input.bodies_wire_bytes > EVENT_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    Ok(input)
}

fn admit_read<'a>(
    door: &'a Door,
    input: NativeInput<'a>,
    bytes: &[u8],
    provenance: Provenance<'_>,
) -> Result<Admitted<'a>, Violation> {
    // Without an id, the bytes and their place among identical ones are the id. Exactly the bytes
    // given: who counts occurrences compares the same ones.
    let derive = |_: &Digest| derived_id(bytes, provenance.occurrence);
    admit(door, input, provenance.fallback_id, derive)
}

/// Admits one typed event. Without an id, what it decides is its id: two that say the same are
/// copies of one.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn admit_native<'a>(
    door: &'a Door,
    input: NativeInput<'a>,
    provenance: Provenance<'_>,
) -> Result<Admitted<'a>, Violation> {
    let derive = |decision: &Digest| derived_id(&decision.0, provenance.occurrence);
    admit(door, input, provenance.fallback_id, derive)
}

const TOO_LARGE: Violation = Violation::new(
    "",
    Reason::TooLarge,
    "an event without its request and response may have 64 KiB",
);

/// 32 hex digits of the bytes and how many the same came before them.
fn derived_id(bytes: &[u8], occurrence: u32) -> String {
    let mut hasher = FieldHasher::new("balefire event id v1");
    let id = hasher.field(bytes).number(i64::from(occurrence)).id();
    DedupId(id).to_string()
}

fn admit<'a>(
    door: &'a Door,
    input: NativeInput<'a>,
    fallback_id: &str,
    derive: impl FnOnce(&Digest) -> String,
) -> Result<Admitted<'a>, Violation> {
    let said = input.severity;
    let (mut event, bodies) = event(door, input, true)?;
    let evidence = Evidence::seal(bodies);
    event.evidence = evidence.as_ref().map(Evidence::reference);
    let decision = event.decision_digest(said);
    let id_said = !event.event_id.is_empty();
    if !id_said {
        event.event_id = Cow::Owned(if fallback_id.is_empty() {
            derive(&decision)
        } else {
            fallback_id.to_owned()
        });
    }
    event.dedup_id = DedupId::of(&door.tenant, &event.source, &event.event_id, &decision);
    // Behind the id: a copy that comes after an alias is still a copy.
    if let Some(aliases) = &door.aliases {
        aliases.apply(&mut event);
    }
    if event.user.is_none() {
        let keys = door.owned.keys(&event);
        event.keys.extend(keys);
    }
    let masked = door.mask(&mut event);
    classify::label(&mut event, &masked);
    if size(&event) > EVENT_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    Ok(Admitted {
        lane: Lane::of(event.category, said),
        path: Path::of(&event, &event.dedup_id, door),
        evidence,
        clock: door.source.clock,
        decision,
        id_said,
        event,
    })
}

/// Checks everything; names those it belongs to only if asked.
fn event<'a>(
    door: &'a Door,
    input: NativeInput<'a>,
    who: bool,
) -> Result<(Event<'a>, crate::evidence::Bodies<'a>), Violation> {
    let occurred_at = time(input.occurred_at)?;
    let category = input.category.ok_or(Violation::new(
        "category",
        Reason::Missing,
        "every record needs a category",
    ))?;
    let judge_score = score(input.judge_score)?;
    let risk_tier = tier(input.risk_tier)?;
    let request_id = name("request_id", input.request_id)?;
    let trace_id = name("trace_id", input.trace_id)?;
    let session_id = name("session_id", input.session_id)?;
    let named = |kind, via, value| who.then(|| identity(door, kind, via, value))?;
    let user = named(
        IdentityKind::User,
        "user_id",
        name("user_id", input.user_id)?,
    );
    let agent = name("agent_id", input.agent_id)?;
    let principal = name("service_principal", input.service_principal)?;
    let api_key = name("api_key_id", input.api_key_id)?;
    let actors = [
        named(IdentityKind::Agent, "agent_id", agent),
        named(
            IdentityKind::ServicePrincipal,
            "service_principal",
            principal,
        ),
        named(IdentityKind::ApiKey, "api_key_id", api_key),
        named(IdentityKind::Session, "session_id", session_id.clone()),
    ];
    let event = Event {
        event_id: name("event_id", input.event_id)?,
        source: Cow::Borrowed(door.source.name.as_str()),
        occurred_at,
        category,
        severity: input
            .severity
            .unwrap_or_else(|| severity::derive(category, judge_score, risk_tier)),
        severity_derived: input.severity.is_none(),
        user,
        actors: actors.into_iter().flatten().collect(),
        keys: keys(request_id, trace_id, session_id),
        model: name("model", input.model)?,
        judge_model: name("judge_model", input.judge_model)?,
        judge_score,
        judge_verdict: input.judge_verdict,
        policy_violated: input.policy_violated,
        guardrail_result: input.guardrail_result,
        tokens_in: input.tokens_in,
        tokens_out: input.tokens_out,
        endpoint: input.endpoint,
        risk_tier,
        tool: name("tool", input.tool)?,
        tool_allowed: input.tool_allowed,
        attack_type: name("attack_type", input.attack_type)?,
        reason: input.reason,
        src_ip: name("src_ip", input.src_ip)?,
        labels: labels(input.labels)?,
        extensions: input.extensions,
        backfill: door.backfill,
        lateness: door.source.clock.lateness,
        hold: door.source.hold,
        ..Event::default()
    };
    Ok((event, input.bodies))
}

fn time(said: Option<Timestamp>) -> Result<Timestamp, Violation> {
    let at = said.ok_or(Violation::new(
        "timestamp",
        Reason::Missing,
        "every record needs a timestamp",
    ))?;
    if at < TIME_MIN || at >= TIME_END {
        return Err(TIME_RANGE);
    }
    Ok(at)
}

fn score(said: Option<f64>) -> Result<Option<f64>, Violation> {
    match said {
        Some(score) if !(0.0..=1.0).contains(&score) => Err(Violation::new(
            "judge_score",
            Reason::OutOfRange,
            "expected a number from 0 to 1",
        )),
        // -0.0 is 0: the two would be two decisions.
        Some(score) => Ok(Some(score.abs())),
        None => Ok(None),
    }
}

fn tier(said: Option<u32>) -> Result<Option<u32>, Violation> {
    if said == Some(0) {
        return Err(Violation::new(
            "risk_tier",
            Reason::OutOfRange,
            "expected a whole number from 1 upward",
        ));
    }
    Ok(said)
}

/// An id, key or name: trimmed; short, and without control characters.
fn name<'a>(field: &'static str, value: Text<'a>) -> Result<Text<'a>, Violation> {
    // Nearly all are visible ASCII, which needs neither.
    let plain = |all: bool, byte: u8| all & byte.is_ascii_graphic();
    if value.len() <= NAME_BYTES_MAX && value.bytes().fold(true, plain) {
        return Ok(value);
    }
    let value = match value {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    };
    if value.len() > NAME_BYTES_MAX {
        return Err(Violation::new(
            field,
            Reason::TooLarge,
            "may have 256 bytes",
        ));
    }
    if json::holds_control(&value) {
        return Err(Violation::new(
            field,
            Reason::Malformed,
            "holds a control character",
        ));
    }
    Ok(value)
}

fn identity<'a>(
    door: &Door,
    kind: IdentityKind,
    via: &'static str,
    value: Text<'a>,
) -> Option<Identity<'a>> {
    if value.is_empty() {
        return None;
    }
    Some(Identity {
        subject_ref: SubjectRef::of(&door.key, kind, &value),
        kind,
        assurance: door.source.assurance,
        via: Cow::Borrowed(via),
        label: Some(Sealed::plain(value)),
    })
}

/// Most specific first.
fn keys<'a>(request: Text<'a>, trace: Text<'a>, session: Text<'a>) -> Vec<CorrelationKey<'a>> {
    [
        (KeyKind::Request, request),
        (KeyKind::Trace, trace),
        (KeyKind::Session, session),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(kind, value)| CorrelationKey { kind, value })
    .collect()
}

fn labels<'a>(
    mut labels: Vec<(Text<'a>, Text<'a>)>,
) -> Result<Vec<(Text<'a>, Text<'a>)>, Violation> {
    if labels.len() > LABELS_MAX {
        return Err(Violation::new("labels", Reason::TooLarge, "may be 32"));
    }
    for (label, _) in &mut labels {
        *label = name("labels", std::mem::take(label))?;
        if label.is_empty() {
            return Err(Violation::new(
                "labels",
                Reason::Malformed,
                "a name is empty",
            ));
        }
    }
    labels.sort_by(|(one, _), (other, _)| one.cmp(other));
    if labels
        .array_windows()
        .any(|[(one, _), (next, _)]| one == next)
    {
        return Err(Violation::new(
            "labels",
            Reason::Conflict,
            "a name is given twice",
        ));
    }
    Ok(labels)
}
