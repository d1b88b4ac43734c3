//! [`Packed`]: an event in one buffer, as long as a late hint may still amend it.
//!
//! A kept event as a struct costs over a kilobyte; packed, about what its texts cost. The form
//! lives in checkpoints only, which are disposable: it has no versions of its own.

use balefire_event::{
    Assurance, Category, CorrelationKey, DedupId, Digest, Event, EvidenceRef, Extension, Identity,
    IdentityKind, KeyKind, Severity, SubjectRef, Timestamp, Timing,
};

use crate::bytes::{Reader, Writer};

/// A tenant and an event of it, without its join.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    pub(crate) fn of(tenant: &str, event: &Event<'_>) -> Self {
        let mut out = Writer(Vec::with_capacity(256));
        out.text(tenant);
        out.event(event);
        Self(out.0.into_boxed_slice())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The tenant and the event; `None` where the bytes are damaged.
    pub(crate) fn open(&self) -> Option<(&str, Event<'_>)> {
        let mut input = Reader(&self.0);
        let tenant = input.text()?;
        let event = input.event()?;
        input.0.is_empty().then_some((tenant, event))
    }
}

impl Writer {
    fn identity(&mut self, identity: &Identity<'_>) {
        self.bytes(&identity.subject_ref.0);
        self.word(identity.kind.number());
        self.word(identity.assurance.number());
        self.text(&identity.via);
        self.label(identity.label.as_ref());
    }

    fn event(&mut self, event: &Event<'_>) {
        self.bytes(&event.dedup_id.0);
        for text in texts(event) {
            self.text(text);
        }
        for time in [event.occurred_at, event.received_at, event.t] {
            self.signed(time.0);
        }
        self.signed(event.lateness);
        self.number(event.control_revision);
        for word in [
            event.timing.number(),
            event.category.number(),
            event.severity.number(),
        ] {
            self.word(word);
        }
        for flag in [
            event.severity_derived,
            event.id_conflict,
            event.backfill,
            event.user.is_some(),
            event.evidence.is_some(),
        ] {
            self.byte(u8::from(flag));
        }
        self.optional(event.judge_score.map(f64::to_bits));
        self.optional(event.tokens_in);
        self.optional(event.tokens_out);
        self.optional(event.risk_tier.map(u64::from));
        self.optional(event.tool_allowed.map(u64::from));
        if let Some(user) = &event.user {
            self.identity(user);
        }
        if let Some(evidence) = &event.evidence {
            self.bytes(&evidence.digest.0);
            self.number(evidence.size_bytes);
            self.byte(u8::from(evidence.truncated));
        }
        self.lists(event);
    }

    fn lists(&mut self, event: &Event<'_>) {
        self.number(event.actors.len() as u64);
        for actor in &event.actors {
            self.identity(actor);
        }
        self.number(event.keys.len() as u64);
        for key in &event.keys {
            self.word(key.kind.number());
            self.text(&key.value);
        }
        self.number(event.labels.len() as u64);
        for (name, value) in &event.labels {
            self.text(name);
            self.text(value);
        }
        self.number(event.extensions.len() as u64);
        for extension in &event.extensions {
            self.text(&extension.name);
            self.text(&extension.json);
        }
    }
}

fn texts<'e>(event: &'e Event<'_>) -> [&'e str; 12] {
    [
        &event.event_id,
        &event.source,
        &event.model,
        &event.judge_model,
        &event.judge_verdict,
        &event.policy_violated,
        &event.guardrail_result,
        &event.endpoint,
        &event.tool,
        &event.attack_type,
        &event.reason,
        &event.src_ip,
    ]
}

impl<'a> Reader<'a> {
    fn identity(&mut self) -> Option<Identity<'a>> {
        Some(Identity {
            subject_ref: SubjectRef::from_slice(self.bytes()?).ok()?,
            kind: self.word(IdentityKind::from_number)?,
            assurance: self.word(Assurance::from_number)?,
            via: self.cow()?,
            label: self.label()?,
        })
    }

    fn evidence(&mut self) -> Option<EvidenceRef> {
        Some(EvidenceRef {
            digest: Digest::from_slice(self.bytes()?).ok()?,
            size_bytes: self.number()?,
            truncated: self.flag()?,
        })
    }

    fn event(&mut self) -> Option<Event<'a>> {
        let mut event = Event {
            dedup_id: DedupId::from_slice(self.bytes()?).ok()?,
            event_id: self.cow()?,
            source: self.cow()?,
            model: self.cow()?,
            judge_model: self.cow()?,
            judge_verdict: self.cow()?,
            policy_violated: self.cow()?,
            guardrail_result: self.cow()?,
            endpoint: self.cow()?,
            tool: self.cow()?,
            attack_type: self.cow()?,
            reason: self.cow()?,
            src_ip: self.cow()?,
            occurred_at: Timestamp(self.signed()?),
            received_at: Timestamp(self.signed()?),
            t: Timestamp(self.signed()?),
            lateness: self.signed()?,
            control_revision: self.number()?,
            timing: self.word(Timing::from_number)?,
            category: self.word(Category::from_number)?,
            severity: self.word(Severity::from_number)?,
            severity_derived: self.flag()?,
            id_conflict: self.flag()?,
            backfill: self.flag()?,
            ..Event::default()
        };
        let (user, evidence) = (self.flag()?, self.flag()?);
        event.judge_score = self.optional()?.map(f64::from_bits);
        event.tokens_in = self.optional()?;
        event.tokens_out = self.optional()?;
        event.risk_tier = self.optional()?.map(u32::try_from).transpose().ok()?;
        event.tool_allowed = self.optional()?.map(|flag| flag != 0);
        if user {
            event.user = Some(self.identity()?);
        }
        if evidence {
            event.evidence = Some(self.evidence()?);
        }
        event.actors = self.list(Self::identity)?;
        event.keys = self.list(|input| {
            Some(CorrelationKey {
                kind: input.word(KeyKind::from_number)?,
                value: input.cow()?,
            })
        })?;
        event.labels = self.list(|input| Some((input.cow()?, input.cow()?)))?;
        event.extensions = self.list(|input| {
            Some(Extension {
                name: input.cow()?,
                json: input.cow()?,
            })
        })?;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use balefire_event::Sealed;
    use proptest::prelude::*;

    use super::*;

    fn full(words: &[String], numbers: (i64, u64, u32), some: bool) -> Event<'static> {
        let word = |i: usize| Cow::Owned(words.get(i).cloned().unwrap_or_default());
        let identity = Identity {
            subject_ref: SubjectRef([7; 16]),
            kind: IdentityKind::Agent,
            assurance: Assurance::Verified,
            via: word(0),
            label: some.then(|| Sealed::plain(word(1))),
        };
        Event {
            dedup_id: DedupId([3; 16]),
            event_id: word(2),
            source: word(3),
            occurred_at: Timestamp(numbers.0),
            received_at: Timestamp(numbers.0.wrapping_add(1)),
            t: Timestamp(-numbers.0.max(0)),
            timing: Timing::Late,
            control_revision: numbers.1,
            category: Category::PromptAttack,
            severity: Severity::High,
            severity_derived: some,
            user: some.then(|| identity.clone()),
            actors: vec![identity.clone(), identity],
            keys: vec![CorrelationKey {
                kind: KeyKind::Trace,
                value: word(4),
            }],
            model: word(5),
            judge_model: word(6),
            judge_score: some.then_some(0.25),
            judge_verdict: word(7),
            policy_violated: word(8),
            guardrail_result: word(9),
            tokens_in: Some(numbers.1),
            tokens_out: some.then_some(0),
            endpoint: word(10),
            risk_tier: some.then_some(numbers.2),
            tool: word(11),
            tool_allowed: some.then_some(false),
            attack_type: word(12),
            reason: word(13),
            src_ip: word(14),
            labels: vec![(word(15), word(16))],
            extensions: vec![Extension {
                name: word(17),
                json: word(18),
            }],
            evidence: some.then_some(EvidenceRef {
                digest: Digest([9; 32]),
                size_bytes: numbers.1,
                truncated: true,
            }),
            join: None,
            id_conflict: !some,
            backfill: some,
            lateness: numbers.0,
            hold: 0,
        }
    }

    proptest! {
        #[test]
        fn every_field_comes_back(
            words in prop::collection::vec(".{0,9}", 0..19),
            numbers in any::<(i64, u64, u32)>(),
            some in any::<bool>(),
        ) {
            let event = full(&words, numbers, some);
            let packed = Packed::of("acme", &event);
            prop_assert_eq!(packed.open(), Some(("acme", event)));
        }

        #[test]
        fn damage_is_seen_or_harmless_but_never_a_panic(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let Packed(mut bytes) = Packed::of("acme", &full(&[], (5, 300, 9), true));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let packed = Packed(if cut { bytes[..at].into() } else { bytes });
            let opened = packed.open();
            prop_assert!(!cut || opened.is_none());
        }
    }
}
