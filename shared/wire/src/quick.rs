//! Reads an event that is written as this build writes it, and nothing else: whatever is out of the
//! ordinary is left to [`crate::event_codec`], which knows every legal writing and names what is
//! wrong. So nothing here has to say why it gives up.

use std::borrow::Cow;

use balefire_event::{
    Assurance, Category, CorrelationKey, DedupId, Event, Identity, IdentityKind, KeyKind, Sealed,
    Severity, SubjectRef, Timestamp, Timing,
};

use crate::event_codec::Kept;
use crate::part_codec as part;

/// What is left of a message.
struct Rest<'a>(&'a [u8]);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// Number and wire type of a field, as they are written.
const fn key(number: u32, wire_type: u32) -> u32 {
    (number << 3) | wire_type
}

// Of an event.
const DEDUP_ID: u32 = key(1, BYTES);
const EVENT_ID: u32 = key(2, BYTES);
const SOURCE: u32 = key(3, BYTES);
const OCCURRED_AT: u32 = key(4, FIXED64);
const RECEIVED_AT: u32 = key(5, FIXED64);
const T: u32 = key(6, FIXED64);
const TIMING: u32 = key(7, VARINT);
const CONTROL_REVISION: u32 = key(8, VARINT);
const CATEGORY: u32 = key(9, VARINT);
const SEVERITY: u32 = key(10, VARINT);
const SEVERITY_DERIVED: u32 = key(11, VARINT);
const USER: u32 = key(12, BYTES);
const MODEL: u32 = key(15, BYTES);
const JUDGE_MODEL: u32 = key(16, BYTES);
const JUDGE_SCORE: u32 = key(17, FIXED64);
const JUDGE_VERDICT: u32 = key(18, BYTES);
const POLICY_VIOLATED: u32 = key(19, BYTES);
const GUARDRAIL_RESULT: u32 = key(20, BYTES);
const TOKENS_IN: u32 = key(21, VARINT);
const TOKENS_OUT: u32 = key(22, VARINT);
const ENDPOINT: u32 = key(23, BYTES);
const RISK_TIER: u32 = key(24, VARINT);
const TOOL: u32 = key(25, BYTES);
const TOOL_ALLOWED: u32 = key(26, VARINT);
const ATTACK_TYPE: u32 = key(27, BYTES);
const REASON: u32 = key(28, BYTES);
const SRC_IP: u32 = key(29, BYTES);
const ACTORS: u32 = key(Kept::ACTORS, BYTES);
const KEYS: u32 = key(Kept::KEYS, BYTES);
const LABELS: u32 = key(30, BYTES);
const EXTENSIONS: u32 = key(Kept::EXTENSIONS, BYTES);
const EVIDENCE: u32 = key(32, BYTES);
const JOIN: u32 = key(33, BYTES);
const ID_CONFLICT: u32 = key(34, VARINT);
const BACKFILL: u32 = key(35, VARINT);
const LATENESS: u32 = key(36, VARINT);
const HOLD: u32 = key(37, VARINT);
// Of an identity.
const SUBJECT_REF: u32 = key(1, BYTES);
const KIND: u32 = key(2, VARINT);
const ASSURANCE: u32 = key(3, VARINT);
const VIA: u32 = key(4, BYTES);
const LABEL: u32 = key(5, BYTES);
// Of what is sealed.
const SCHEME: u32 = key(1, VARINT);
const EPOCH: u32 = key(2, VARINT);
const DATA: u32 = key(3, BYTES);
// Of a correlation key.
const KEY_KIND: u32 = key(1, VARINT);
const KEY_VALUE: u32 = key(2, BYTES);
// Of a label.
const PAIR_NAME: u32 = key(1, BYTES);
const PAIR_VALUE: u32 = key(2, BYTES);

impl<'a> Rest<'a> {
    /// The key of the next field, of a number below 2048.
    #[inline(always)]
    fn key(&mut self) -> Option<u32> {
        match *self.0 {
            [low, ref rest @ ..] if low < 0x80 => {
                self.0 = rest;
                Some(u32::from(low))
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.0 = rest;
                Some(u32::from(low & 0x7f) | (u32::from(high) << 7))
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn varint(&mut self) -> Option<u64> {
        let (&low, rest) = self.0.split_first()?;
        if low < 0x80 {
            self.0 = rest;
            return Some(u64::from(low));
        }
        let (value, rest) = long_varint(self.0)?;
        self.0 = rest;
        Some(value)
    }

    #[inline(always)]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline(always)]
    fn id(&mut self) -> Option<[u8; 16]> {
        let (&len, rest) = self.0.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        self.0 = rest;
        (len == 16).then_some(*id)
    }

    #[inline(always)]
    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A text that is kept, or only held to be one: nearly all is ASCII, seen many bytes at a time.
    #[inline(always)]
    fn said(&mut self, into: &mut &'a str, kept: bool) -> Option<()> {
        let bytes = self.bytes()?;
        if kept || !bytes.is_ascii() {
            let text = std::str::from_utf8(bytes).ok()?;
            if kept {
                *into = text;
            }
        }
        Some(())
    }

    #[inline(always)]
    fn fixed64(&mut self) -> Option<[u8; 8]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    #[inline(always)]
    fn time(&mut self) -> Option<Timestamp> {
        Some(Timestamp(i64::from_le_bytes(self.fixed64()?)))
    }

    #[inline(always)]
    fn number(&mut self) -> Option<i32> {
        i32::try_from(self.varint()?).ok()
    }

    #[inline(always)]
    fn flag(&mut self) -> Option<bool> {
        Some(self.varint()? != 0)
    }
}

/// Of two bytes and more. By value: what is left of a message stays where it is quick to get at.
#[inline(never)]
fn long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut rest) = (0, bytes);
    // Nine bytes hold more than any number that is written.
    for shift in [0, 7, 14, 21, 28, 35, 42, 49, 56] {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value, rest));
        }
    }
    None
}

/// The texts of an event: nothing is given back where one is replaced.
#[derive(Default)]
struct Texts<'a> {
    event_id: &'a str,
    source: &'a str,
    model: &'a str,
    judge_model: &'a str,
    judge_verdict: &'a str,
    policy_violated: &'a str,
    guardrail_result: &'a str,
    endpoint: &'a str,
    tool: &'a str,
    attack_type: &'a str,
    reason: &'a str,
    src_ip: &'a str,
}

/// An event with the parts that are kept; `None`: it is out of the ordinary, or none.
pub(crate) fn event(bytes: &[u8], kept: Kept) -> Option<Event<'_>> {
    let mut rest = Rest(bytes);
    let mut event = Event {
        lateness: 0,
        ..Event::default()
    };
    let mut texts = Texts::default();
    let (mut dedup_id, mut timing, mut category, mut severity) = (None, None, None, None);
    while !rest.0.is_empty() {
        let field = rest.key()?;
        match field {
            DEDUP_ID => dedup_id = Some(DedupId(rest.id()?)),
            EVENT_ID => texts.event_id = rest.text()?,
            SOURCE => rest.said(&mut texts.source, kept.has(3))?,
            OCCURRED_AT => event.occurred_at = rest.time()?,
            RECEIVED_AT => event.received_at = rest.time()?,
            T => event.t = rest.time()?,
            TIMING => timing = Some(Timing::from_number(rest.number()?)?),
            CONTROL_REVISION => event.control_revision = rest.varint()?,
            CATEGORY => category = Some(Category::from_number(rest.number()?)?),
            SEVERITY => severity = Some(Severity::from_number(rest.number()?)?),
            SEVERITY_DERIVED => event.severity_derived = rest.flag()?,
            USER => event.user = Some(identity(rest.bytes()?, true)?),
            _ => said(&mut event, &mut texts, &mut rest, field, kept)?,
        }
    }
    let sorted = event.labels.is_sorted_by(|(a, _), (b, _)| a < b);
    sorted.then_some(Event {
        dedup_id: dedup_id?,
        timing: timing?,
        category: category?,
        severity: severity?,
        event_id: Cow::Borrowed(texts.event_id),
        source: Cow::Borrowed(texts.source),
        model: Cow::Borrowed(texts.model),
        judge_model: Cow::Borrowed(texts.judge_model),
        judge_verdict: Cow::Borrowed(texts.judge_verdict),
        policy_violated: Cow::Borrowed(texts.policy_violated),
        guardrail_result: Cow::Borrowed(texts.guardrail_result),
        endpoint: Cow::Borrowed(texts.endpoint),
        tool: Cow::Borrowed(texts.tool),
        attack_type: Cow::Borrowed(texts.attack_type),
        reason: Cow::Borrowed(texts.reason),
        src_ip: Cow::Borrowed(texts.src_ip),
        ..event
    })
}

#[inline(always)]
fn said<'a>(
    event: &mut Event<'a>,
    texts: &mut Texts<'a>,
    rest: &mut Rest<'a>,
    field: u32,
    kept: Kept,
) -> Option<()> {
    match field {
        MODEL => rest.said(&mut texts.model, kept.has(15))?,
        JUDGE_MODEL => rest.said(&mut texts.judge_model, kept.has(16))?,
        JUDGE_SCORE => {
            event.judge_score = Some(f64::from_le_bytes(rest.fixed64()?));
        }
        JUDGE_VERDICT => rest.said(&mut texts.judge_verdict, kept.has(18))?,
        POLICY_VIOLATED => rest.said(&mut texts.policy_violated, kept.has(19))?,
        GUARDRAIL_RESULT => rest.said(&mut texts.guardrail_result, kept.has(20))?,
        TOKENS_IN => event.tokens_in = Some(rest.varint()?),
        TOKENS_OUT => event.tokens_out = Some(rest.varint()?),
        ENDPOINT => rest.said(&mut texts.endpoint, kept.has(23))?,
        RISK_TIER => {
            event.risk_tier = Some(u32::try_from(rest.varint()?).ok()?);
        }
        TOOL => rest.said(&mut texts.tool, kept.has(25))?,
        TOOL_ALLOWED => event.tool_allowed = Some(rest.flag()?),
        ATTACK_TYPE => rest.said(&mut texts.attack_type, kept.has(27))?,
        REASON => rest.said(&mut texts.reason, kept.has(28))?,
        SRC_IP => rest.said(&mut texts.src_ip, kept.has(29))?,
        _ => lists(event, rest, field, kept)?,
    }
    Some(())
}

#[inline(always)]
fn lists<'a>(event: &mut Event<'a>, rest: &mut Rest<'a>, field: u32, kept: Kept) -> Option<()> {
    match field {
        ACTORS => {
            let actor = identity(rest.bytes()?, kept.has(Kept::ACTORS))?;
            if kept.has(Kept::ACTORS) {
                event.actors.push(actor);
            }
        }
        KEYS => {
            let key = correlation_key(rest.bytes()?, kept.has(Kept::KEYS))?;
            if kept.has(Kept::KEYS) {
                event.keys.push(key);
            }
        }
        LABELS => {
            let (name, value) = pair(rest.bytes()?)?;
            event
                .labels
                .push((Cow::Borrowed(name), Cow::Borrowed(value)));
        }
        EXTENSIONS => {
            let extension = part::extension(rest.bytes()?).ok()?;
            if kept.has(Kept::EXTENSIONS) {
                event.extensions.push(extension);
            }
        }
        EVIDENCE => event.evidence = Some(part::evidence(rest.bytes()?).ok()?),
        JOIN => event.join = Some(part::join(rest.bytes()?).ok()?),
        ID_CONFLICT => event.id_conflict = rest.flag()?,
        BACKFILL => event.backfill = rest.flag()?,
        LATENESS => event.lateness = rest.varint()?.cast_signed(),
        HOLD => event.hold = rest.varint()?.cast_signed(),
        _ => return None,
    }
    Some(())
}

fn identity(bytes: &[u8], kept: bool) -> Option<Identity<'_>> {
    let mut rest = Rest(bytes);
    let (mut subject, mut kind, mut assurance) = (None, None, None);
    let (mut via, mut label) = ("", None);
    while !rest.0.is_empty() {
        match rest.key()? {
            SUBJECT_REF => subject = Some(SubjectRef(rest.id()?)),
            KIND => kind = Some(IdentityKind::from_number(rest.number()?)?),
            ASSURANCE => assurance = Some(Assurance::from_number(rest.number()?)?),
            VIA => rest.said(&mut via, kept)?,
            LABEL => label = Some(sealed(rest.bytes()?)?),
            _ => return None,
        }
    }
    Some(Identity {
        subject_ref: subject?,
        kind: kind?,
        assurance: assurance?,
        via: Cow::Borrowed(via),
        label,
    })
}

#[inline(always)]
fn sealed(bytes: &[u8]) -> Option<Sealed<'_>> {
    let mut rest = Rest(bytes);
    let mut sealed = Sealed {
        scheme: 0,
        key_epoch: 0,
        data: Cow::Borrowed(&[]),
    };
    while !rest.0.is_empty() {
        match rest.key()? {
            SCHEME => sealed.scheme = u32::try_from(rest.varint()?).ok()?,
            EPOCH => sealed.key_epoch = u32::try_from(rest.varint()?).ok()?,
            DATA => sealed.data = Cow::Borrowed(rest.bytes()?),
            _ => return None,
        }
    }
    Some(sealed)
}

#[inline(always)]
fn correlation_key(bytes: &[u8], kept: bool) -> Option<CorrelationKey<'_>> {
    let mut rest = Rest(bytes);
    let (mut kind, mut value) = (None, "");
    while !rest.0.is_empty() {
        match rest.key()? {
            KEY_KIND => kind = Some(KeyKind::from_number(rest.number()?)?),
            KEY_VALUE => rest.said(&mut value, kept)?,
            _ => return None,
        }
    }
    Some(CorrelationKey {
        kind: kind?,
        value: Cow::Borrowed(value),
    })
}

#[inline(always)]
fn pair(bytes: &[u8]) -> Option<(&str, &str)> {
    let mut rest = Rest(bytes);
    let (mut name, mut value) = ("", "");
    while !rest.0.is_empty() {
        match rest.key()? {
            PAIR_NAME => name = rest.text()?,
            PAIR_VALUE => value = rest.text()?,
            _ => return None,
        }
    }
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_codec::{decode_slowly, encode};
    use balefire_event::{Digest, EvidenceRef, Extension, Join};

    fn identity(kind: IdentityKind) -> Identity<'static> {
        Identity {
            subject_ref: SubjectRef([7; 16]),
            kind,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: Some(Sealed::plain("j\u{f6}rg@example.com".into())),
        }
    }

    fn full() -> Event<'static> {
        Event {
            dedup_id: DedupId([1; 16]),
            event_id: "e-\u{e9}".into(),
            source: "native".into(),
            occurred_at: Timestamp(-1),
            received_at: Timestamp(1 << 60),
            control_revision: 1 << 40,
            category: Category::JudgeFlag,
            severity_derived: true,
            user: Some(identity(IdentityKind::User)),
            actors: vec![identity(IdentityKind::Agent)],
            keys: vec![CorrelationKey {
                kind: KeyKind::Trace,
                value: "\u{e9}-1".into(),
            }],
            model: "m\u{f6}del".into(),
            judge_score: Some(0.5),
            tokens_in: Some(300),
            risk_tier: Some(2),
            tool_allowed: Some(false),
            reason: "because".into(),
            labels: vec![("a".into(), "b".into()), ("c".into(), "d".into())],
            extensions: vec![Extension {
                name: "x".into(),
                json: "{}".into(),
            }],
            evidence: Some(EvidenceRef {
                digest: Digest([3; 32]),
                size_bytes: 70_000,
                truncated: true,
            }),
            join: Some(Join {
                partial: false,
                amendment: true,
                filled: vec!["user_id".to_owned()],
            }),
            backfill: true,
            hold: 250_000_000,
            ..Event::default()
        }
    }

    #[test]
    fn what_is_written_here_is_read_quickly() {
        let mut bytes = Vec::new();
        encode(&full(), &mut bytes);
        assert_eq!(event(&bytes, Kept::ALL), Some(full()));
        let mut nothing = Vec::new();
        encode(&Event::default(), &mut nothing);
        assert!(event(&nothing, Kept::ALL).is_some());
    }

    /// Every byte of an event made every other byte, and every end.
    #[test]
    fn what_is_read_quickly_is_what_is_read_slowly() {
        let mut bytes = Vec::new();
        encode(&full(), &mut bytes);
        let mut quickly = 0;
        for kept in [Kept::ALL, Kept::of(|_| false, false)] {
            let mut same = |bytes: &[u8]| {
                if let Some(event) = event(bytes, kept) {
                    assert_eq!(Ok(event), decode_slowly(bytes, kept), "{bytes:?}");
                    quickly += 1;
                }
            };
            for place in 0..bytes.len() {
                same(&bytes[..place]);
                let mut other = bytes.clone();
                for byte in 0..=u8::MAX {
                    other[place] = byte;
                    same(&other);
                }
            }
        }
        assert!(quickly > 1_000, "{quickly}");
    }
}
