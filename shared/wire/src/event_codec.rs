//! Bytes of balefire.event.v1.Event, written and read by hand, because every stage does it with
//! every event: the generated struct would own each text, which costs two to three times as much.
//!
//! Protobuf messages may be concatenated: the static part is encoded once when an event is
//! admitted, and the stamps when its batch is formed (and again on every retry).

use std::borrow::Cow;

use balefire_event::{
    Category, DedupId, Event, Field, IdentityKind, KeyKind, Severity, Timestamp, Timing,
};

use crate::Error;
use crate::bytes_reader::{Fields, RawField};
use crate::bytes_writer as put;
use crate::part_codec as part;
use crate::quick;

/// Most bytes that [`encode_stamps`] writes.
pub const STAMPS_LEN_MAX: usize = 9 + 9 + 2 + 11;

/// The category of an event, without reading the rest of it; `None` where it says none that is
/// known.
#[must_use]
pub fn category(bytes: &[u8]) -> Option<Category> {
    let mut fields = Fields::of(bytes, "event");
    while let Some(field) = fields.next().ok()? {
        if field.number == 9 {
            return Category::from_number(field.number("event category").ok()?);
        }
    }
    None
}

/// Appends everything but the stamps: `received_at`, `t`, `timing`, `control_revision`.
pub fn encode_static(event: &Event<'_>, out: &mut Vec<u8>) {
    put::present_bytes(1, &event.dedup_id.0, out);
    put::text(2, &event.event_id, out);
    put::text(3, &event.source, out);
    put::sfixed64(4, event.occurred_at.0, out);
    put::enumeration(9, event.category.number(), out);
    put::enumeration(10, event.severity.number(), out);
    put::flag(11, event.severity_derived, out);
    if let Some(user) = &event.user {
        put::nested(12, out, |out| part::put_identity(user, out));
    }
    for actor in &event.actors {
        put::nested(13, out, |out| part::put_identity(actor, out));
    }
    for key in &event.keys {
        put::nested(14, out, |out| part::put_key(key, out));
    }
    encode_said(event, out);
    for (name, value) in &event.labels {
        put::nested(30, out, |out| part::put_pair(name, value, out));
    }
    for extension in &event.extensions {
        put::nested(31, out, |out| {
            part::put_pair(&extension.name, &extension.json, out);
        });
    }
    if let Some(evidence) = &event.evidence {
        put::nested(32, out, |out| part::put_evidence(evidence, out));
    }
    if let Some(join) = &event.join {
        put::nested(33, out, |out| part::put_join(join, out));
    }
    put::flag(34, event.id_conflict, out);
    put::flag(35, event.backfill, out);
    put::int64(36, event.lateness, out);
    put::int64(37, event.hold, out);
}

/// Appends what the record says in plain fields.
fn encode_said(event: &Event<'_>, out: &mut Vec<u8>) {
    put::text(15, &event.model, out);
    put::text(16, &event.judge_model, out);
    if let Some(score) = event.judge_score {
        put::present_double(17, score, out);
    }
    put::text(18, &event.judge_verdict, out);
    put::text(19, &event.policy_violated, out);
    put::text(20, &event.guardrail_result, out);
    if let Some(tokens) = event.tokens_in {
        put::present_uint(21, tokens, out);
    }
    if let Some(tokens) = event.tokens_out {
        put::present_uint(22, tokens, out);
    }
    put::text(23, &event.endpoint, out);
    if let Some(tier) = event.risk_tier {
        put::present_uint(24, u64::from(tier), out);
    }
    put::text(25, &event.tool, out);
    if let Some(allowed) = event.tool_allowed {
        put::present_uint(26, u64::from(allowed), out);
    }
    put::text(27, &event.attack_type, out);
    put::text(28, &event.reason, out);
    put::text(29, &event.src_ip, out);
}

/// Appends the stamps, at most [`STAMPS_LEN_MAX`] bytes. Behind other stamps they replace them,
/// so even zeros are written.
pub fn encode_stamps(
    received_at: Timestamp,
    t: Timestamp,
    timing: Timing,
    control_revision: u64,
    out: &mut Vec<u8>,
) {
    put::present_sfixed64(5, received_at.0, out);
    put::present_sfixed64(6, t.0, out);
    put::enumeration(7, timing.number(), out);
    put::present_uint(8, control_revision, out);
}

/// Appends the whole event.
pub fn encode(event: &Event<'_>, out: &mut Vec<u8>) {
    encode_static(event, out);
    encode_stamps(
        event.received_at,
        event.t,
        event.timing,
        event.control_revision,
        out,
    );
}

/// What every event must say.
#[derive(Default)]
struct Needed {
    dedup_id: Option<DedupId>,
    timing: Option<Timing>,
    category: Option<Category>,
    severity: Option<Severity>,
}

/// Which parts of an event are kept as it is read; a bit a field. What it is, whose, when and under
/// what, its labels and its join always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept(u64);

impl Kept {
    /// Every part.
    pub const ALL: Self = Self(u64::MAX);
    pub(crate) const ACTORS: u32 = 13;
    pub(crate) const KEYS: u32 = 14;
    pub(crate) const EXTENSIONS: u32 = 31;

    /// The parts that whoever looks at these fields needs, and extensions where he looks at any.
    #[must_use]
    pub fn of(looks_at: impl Fn(&Field) -> bool, extensions: bool) -> Self {
        let mut bits = 0;
        let mut keep = |number: u32, kept: bool| bits |= u64::from(kept) << number;
        for (number, field) in [
            (3, Field::Source),
            (15, Field::Model),
            (16, Field::JudgeModel),
            (17, Field::JudgeScore),
            (18, Field::JudgeVerdict),
            (19, Field::PolicyViolated),
            (20, Field::GuardrailResult),
            (21, Field::TokensIn),
            (22, Field::TokensOut),
            (23, Field::Endpoint),
            (24, Field::RiskTier),
            (25, Field::Tool),
            (26, Field::ToolAllowed),
            (27, Field::AttackType),
            (28, Field::Reason),
            (29, Field::SrcIp),
        ] {
            keep(number, looks_at(&field));
        }
        let mut others = IdentityKind::ALL.iter().copied();
        let actors = others.any(|k| k != IdentityKind::User && looks_at(&Field::Identity(k)));
        keep(Self::ACTORS, actors);
        let mut keys = KeyKind::ALL.iter().copied();
        keep(Self::KEYS, keys.any(|kind| looks_at(&Field::Key(kind))));
        keep(Self::EXTENSIONS, extensions);
        Self(bits)
    }

    #[inline(always)]
    pub(crate) const fn has(self, number: u32) -> bool {
        (self.0 >> number) & 1 != 0
    }
}

/// Reads an event, borrowing every text of it. Fields of later versions are passed over.
///
/// # Errors
/// Bytes that are no event, or one without dedup id, category, severity or timing.
pub fn decode(bytes: &[u8]) -> Result<Event<'_>, Error> {
    decode_kept(bytes, Kept::ALL)
}

/// The same for whoever looks at some parts only: the others are held to be what they must, and
/// come out as if nothing had been said.
///
/// # Errors
/// As [`decode`], whatever is kept.
pub fn decode_kept(bytes: &[u8], kept: Kept) -> Result<Event<'_>, Error> {
    match quick::event(bytes, kept) {
        Some(event) => Ok(event),
        None => decode_slowly(bytes, kept),
    }
}

/// Every legal writing of an event, and what is wrong with any other.
#[cold]
pub(crate) fn decode_slowly(bytes: &[u8], kept: Kept) -> Result<Event<'_>, Error> {
    let mut event = Event {
        lateness: 0,
        ..Event::default()
    };
    let mut needed = Needed::default();
    let mut fields = Fields::of(bytes, "event");
    while let Some(field) = fields.next()? {
        match field.number {
            1..=11 => decode_head(&mut event, &mut needed, field, kept)?,
            12..=14 => decode_parties(&mut event, field, kept)?,
            15..=29 => decode_said(&mut event, field, kept)?,
            _ => decode_rest(&mut event, field, kept)?,
        }
    }
    event.dedup_id = needed.dedup_id.ok_or(Error::malformed("dedup_id"))?;
    event.timing = needed.timing.ok_or(Error::malformed("timing"))?;
    event.category = needed.category.ok_or(Error::malformed("category"))?;
    event.severity = needed.severity.ok_or(Error::malformed("severity"))?;
    sort_labels(&mut event);
    Ok(event)
}

/// A text that is kept, or only held to be one.
fn text<'a>(
    into: &mut Cow<'a, str>,
    field: RawField<'a>,
    kept: Kept,
    what: &'static str,
) -> Result<(), Error> {
    if kept.has(field.number) {
        *into = Cow::Borrowed(field.text(what)?);
        Ok(())
    } else {
        field.check_text(what)
    }
}

fn decode_head<'a>(
    event: &mut Event<'a>,
    needed: &mut Needed,
    field: RawField<'a>,
    kept: Kept,
) -> Result<(), Error> {
    match field.number {
        1 => needed.dedup_id = DedupId::from_slice(field.bytes("dedup_id")?).ok(),
        2 => event.event_id = Cow::Borrowed(field.text("event_id")?),
        3 => text(&mut event.source, field, kept, "source")?,
        4 => event.occurred_at = Timestamp(field.sfixed64("occurred_at")?),
        5 => event.received_at = Timestamp(field.sfixed64("received_at")?),
        6 => event.t = Timestamp(field.sfixed64("t")?),
        7 => needed.timing = Timing::from_number(field.number("timing")?),
        8 => event.control_revision = field.uint64("control_revision")?,
        9 => needed.category = Category::from_number(field.number("category")?),
        10 => needed.severity = Severity::from_number(field.number("severity")?),
        11 => event.severity_derived = field.flag("severity_derived")?,
        _ => {}
    }
    Ok(())
}

fn decode_parties<'a>(event: &mut Event<'a>, field: RawField<'a>, kept: Kept) -> Result<(), Error> {
    match field.number {
        12 => event.user = Some(part::identity(field.bytes("user")?)?),
        Kept::ACTORS => {
            let actor = part::identity(field.bytes("actors")?)?;
            if kept.has(Kept::ACTORS) {
                event.actors.push(actor);
            }
        }
        Kept::KEYS => {
            let key = part::key(field.bytes("keys")?)?;
            if kept.has(Kept::KEYS) {
                event.keys.push(key);
            }
        }
        _ => {}
    }
    Ok(())
}

fn decode_said<'a>(event: &mut Event<'a>, field: RawField<'a>, kept: Kept) -> Result<(), Error> {
    match field.number {
        15 => text(&mut event.model, field, kept, "model")?,
        16 => text(&mut event.judge_model, field, kept, "judge_model")?,
        17 => event.judge_score = Some(field.double("judge_score")?),
        18 => text(&mut event.judge_verdict, field, kept, "judge_verdict")?,
        19 => text(&mut event.policy_violated, field, kept, "policy_violated")?,
        20 => text(&mut event.guardrail_result, field, kept, "guardrail_result")?,
        21 => event.tokens_in = Some(field.uint64("tokens_in")?),
        22 => event.tokens_out = Some(field.uint64("tokens_out")?),
        23 => text(&mut event.endpoint, field, kept, "endpoint")?,
        24 => event.risk_tier = Some(field.uint32("risk_tier")?),
        25 => text(&mut event.tool, field, kept, "tool")?,
        26 => event.tool_allowed = Some(field.flag("tool_allowed")?),
        27 => text(&mut event.attack_type, field, kept, "attack_type")?,
        28 => text(&mut event.reason, field, kept, "reason")?,
        29 => text(&mut event.src_ip, field, kept, "src_ip")?,
        _ => {}
    }
    Ok(())
}

fn decode_rest<'a>(event: &mut Event<'a>, field: RawField<'a>, kept: Kept) -> Result<(), Error> {
    match field.number {
        30 => event.labels.push(part::label(field.bytes("labels")?)?),
        Kept::EXTENSIONS => {
            let extension = part::extension(field.bytes("extensions")?)?;
            if kept.has(Kept::EXTENSIONS) {
                event.extensions.push(extension);
            }
        }
        32 => event.evidence = Some(part::evidence(field.bytes("evidence")?)?),
        33 => event.join = Some(part::join(field.bytes("join")?)?),
        34 => event.id_conflict = field.flag("id_conflict")?,
        35 => event.backfill = field.flag("backfill")?,
        36 => event.lateness = field.int64("lateness")?,
        37 => event.hold = field.int64("hold")?,
        _ => {}
    }
    Ok(())
}

/// A map comes in any order, and of two entries of one name the last counts.
fn sort_labels(event: &mut Event<'_>) {
    if event.labels.is_sorted_by(|(a, _), (b, _)| a < b) {
        return;
    }
    event.labels.reverse();
    event.labels.sort_by(|(a, _), (b, _)| a.cmp(b));
    event.labels.dedup_by(|(a, _), (b, _)| a == b);
}
