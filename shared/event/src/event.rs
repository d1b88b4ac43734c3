//! An event, borrowed from the bytes it was read from wherever it can be.

use std::borrow::Cow;

use crate::category::{Assurance, Category, IdentityKind, KeyKind, Severity, Timing};
use crate::digest::FieldHasher;
use crate::ids::{DedupId, Digest, SubjectRef};
pub use crate::sealed::Sealed;
use crate::time::Timestamp;

/// Text borrowed from a record, or owned where it was changed.
pub type Text<'a> = Cow<'a, str>;

/// Who an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity<'a> {
    /// What windows and ids use.
    pub subject_ref: SubjectRef,
    /// What kind of actor.
    pub kind: IdentityKind,
    /// How far it can be trusted.
    pub assurance: Assurance,
    /// A field name, `join:<key kind>:<source>` or `alias:<object>:<field>`.
    pub via: Text<'a>,
    /// What people see.
    pub label: Option<Sealed<'a>>,
}

impl Identity<'_> {
    /// The same, borrowed from this one.
    #[must_use]
    pub fn borrowed(&self) -> Identity<'_> {
        Identity {
            subject_ref: self.subject_ref,
            kind: self.kind,
            assurance: self.assurance,
            via: Cow::Borrowed(&self.via),
            label: self.label.as_ref().map(|label| Sealed {
                scheme: label.scheme,
                key_epoch: label.key_epoch,
                data: Cow::Borrowed(&label.data),
            }),
        }
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Identity<'static> {
        Identity {
            subject_ref: self.subject_ref,
            kind: self.kind,
            assurance: self.assurance,
            via: owned(self.via),
            label: self.label.map(Sealed::into_owned),
        }
    }

    /// The readable text, where there is one that is not encrypted.
    #[must_use]
    pub fn readable(&self) -> Option<&str> {
        self.label.as_ref().and_then(Sealed::readable)
    }
}

/// A typed correlation key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CorrelationKey<'a> {
    /// Its type.
    pub kind: KeyKind,
    /// Its value, trimmed.
    pub value: Text<'a>,
}

/// Where an event's sealed bodies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceRef {
    /// Digest of the sealed bytes.
    pub digest: Digest,
    /// Full size of the bodies, bytes.
    pub size_bytes: u64,
    /// Head and tail only were kept.
    pub truncated: bool,
}

/// What the correlator did with an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Join {
    /// Passed on without an identity.
    pub partial: bool,
    /// Repeats an event passed on before, now with what it lacked.
    pub amendment: bool,
    /// Field names an amendment filled.
    pub filled: Vec<String>,
}

/// A field Balefire has no name for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Name; nested fields joined by dots.
    pub name: Text<'a>,
    /// JSON text of the value.
    pub json: Text<'a>,
}

/// An AI-security event. See balefire.event.v1.Event for each field; empty text: not said.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// Which detection this is.
    pub dedup_id: DedupId,
    /// The producer's id.
    pub event_id: Text<'a>,
    /// Source's name.
    pub source: Text<'a>,
    /// The producer's time.
    pub occurred_at: Timestamp,
    /// Arrival.
    pub received_at: Timestamp,
    /// Effective time.
    pub t: Timestamp,
    /// How they lie to each other.
    pub timing: Timing,
    /// Control revision it was stamped under.
    pub control_revision: u64,
    /// What was seen.
    pub category: Category,
    /// How bad.
    pub severity: Severity,
    /// Severity was derived.
    pub severity_derived: bool,
    /// The user it counts for.
    pub user: Option<Identity<'a>>,
    /// The other actors.
    pub actors: Vec<Identity<'a>>,
    /// Correlation keys, most specific first.
    pub keys: Vec<CorrelationKey<'a>>,
    /// Model that answered.
    pub model: Text<'a>,
    /// Model that judged.
    pub judge_model: Text<'a>,
    /// Judge's score, 0 to 1.
    pub judge_score: Option<f64>,
    /// Judge's verdict.
    pub judge_verdict: Text<'a>,
    /// Policy violated.
    pub policy_violated: Text<'a>,
    /// What the guardrail did.
    pub guardrail_result: Text<'a>,
    /// Tokens of the request.
    pub tokens_in: Option<u64>,
    /// Tokens of the response.
    pub tokens_out: Option<u64>,
    /// Endpoint called.
    pub endpoint: Text<'a>,
    /// Risk tier.
    pub risk_tier: Option<u32>,
    /// Tool called.
    pub tool: Text<'a>,
    /// Tool was on the allow-list.
    pub tool_allowed: Option<bool>,
    /// Attack technique.
    pub attack_type: Text<'a>,
    /// Free text, redacted.
    pub reason: Text<'a>,
    /// Address of the caller.
    pub src_ip: Text<'a>,
    /// Labels of the producer, sorted by name.
    pub labels: Vec<(Text<'a>, Text<'a>)>,
    /// Everything else, sorted by name.
    pub extensions: Vec<Extension<'a>>,
    /// The sealed bodies.
    pub evidence: Option<EvidenceRef>,
    /// What joining did.
    pub join: Option<Join>,
    /// One event_id came with another decision before it.
    pub id_conflict: bool,
    /// History: nobody is told.
    pub backfill: bool,
    /// L in force for its source, nanoseconds.
    pub lateness: i64,
    /// H of its source, nanoseconds; 0: it declares none.
    pub hold: i64,
}

impl Default for Event<'_> {
    /// An empty telemetry record at time 0; builders and decoders start from it.
    fn default() -> Self {
        const NONE: Cow<'static, str> = Cow::Borrowed("");
        Self {
            dedup_id: DedupId::default(),
            event_id: NONE,
            source: NONE,
            occurred_at: Timestamp(0),
            received_at: Timestamp(0),
            t: Timestamp(0),
            timing: Timing::OnTime,
            control_revision: 0,
            category: Category::Telemetry,
            severity: Severity::Low,
            severity_derived: false,
            user: None,
            actors: Vec::new(),
            keys: Vec::new(),
            model: NONE,
            judge_model: NONE,
            judge_score: None,
            judge_verdict: NONE,
            policy_violated: NONE,
            guardrail_result: NONE,
            tokens_in: None,
            tokens_out: None,
            endpoint: NONE,
            risk_tier: None,
            tool: NONE,
            tool_allowed: None,
            attack_type: NONE,
            reason: NONE,
            src_ip: NONE,
            labels: Vec::new(),
            extensions: Vec::new(),
            evidence: None,
            join: None,
            id_conflict: false,
            backfill: false,
            lateness: crate::stamp::LATENESS,
            hold: 0,
        }
    }
}

fn owned(text: Text<'_>) -> Text<'static> {
    Cow::Owned(text.into_owned())
}

impl<'a> Event<'a> {
    /// The first actor of a kind (the user for [`IdentityKind::User`]).
    #[must_use]
    pub fn identity(&self, kind: IdentityKind) -> Option<&Identity<'a>> {
        if kind == IdentityKind::User {
            return self.user.as_ref();
        }
        self.actors.iter().find(|actor| actor.kind == kind)
    }

    /// The first correlation key of a type.
    #[must_use]
    pub fn key(&self, kind: KeyKind) -> Option<&str> {
        self.keys
            .iter()
            .find(|key| key.kind == kind)
            .map(|key| key.value.as_ref())
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        Event {
            dedup_id: self.dedup_id,
            event_id: owned(self.event_id),
            source: owned(self.source),
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            t: self.t,
            timing: self.timing,
            control_revision: self.control_revision,
            category: self.category,
            severity: self.severity,
            severity_derived: self.severity_derived,
            user: self.user.map(Identity::into_owned),
            actors: self.actors.into_iter().map(Identity::into_owned).collect(),
            keys: self
                .keys
                .into_iter()
                .map(CorrelationKey::into_owned)
                .collect(),
            model: owned(self.model),
            judge_model: owned(self.judge_model),
            judge_score: self.judge_score,
            judge_verdict: owned(self.judge_verdict),
            policy_violated: owned(self.policy_violated),
            guardrail_result: owned(self.guardrail_result),
            tokens_in: self.tokens_in,
            tokens_out: self.tokens_out,
            endpoint: owned(self.endpoint),
            risk_tier: self.risk_tier,
            tool: owned(self.tool),
            tool_allowed: self.tool_allowed,
            attack_type: owned(self.attack_type),
            reason: owned(self.reason),
            src_ip: owned(self.src_ip),
            labels: self
                .labels
                .into_iter()
                .map(|(n, v)| (owned(n), owned(v)))
                .collect(),
            extensions: self
                .extensions
                .into_iter()
                .map(|e| Extension {
                    name: owned(e.name),
                    json: owned(e.json),
                })
                .collect(),
            evidence: self.evidence,
            join: self.join,
            id_conflict: self.id_conflict,
            backfill: self.backfill,
            lateness: self.lateness,
            hold: self.hold,
        }
    }

    /// Digest of what the producer decided and said: every field but the ids and stamps that
    /// Balefire gives. Taken before redaction and before any join. `said` is the record's own
    /// severity.
    #[must_use]
    pub fn decision_digest(&self, said: Option<Severity>) -> Digest {
        let mut hasher = FieldHasher::new("balefire decision v1");
        hasher
            .number(self.occurred_at.0)
            .field(self.category.as_str().as_bytes());
        hasher.field(said.map_or("", Severity::as_str).as_bytes());
        for identity in self.user.iter().chain(&self.actors) {
            hasher.field(b"i").field(&identity.subject_ref.0);
        }
        for key in &self.keys {
            hasher
                .field(key.kind.as_str().as_bytes())
                .field(key.value.as_bytes());
        }
        for text in [
            &self.model,
            &self.judge_model,
            &self.judge_verdict,
            &self.policy_violated,
            &self.guardrail_result,
            &self.endpoint,
            &self.tool,
            &self.attack_type,
            &self.reason,
            &self.src_ip,
        ] {
            hasher.field(text.as_bytes());
        }
        hasher.field(&self.judge_score.map_or([0; 9], tagged));
        for number in [
            self.tokens_in,
            self.tokens_out,
            self.risk_tier.map(u64::from),
        ] {
            hasher.field(
                number
                    .map(u64::to_le_bytes)
                    .as_ref()
                    .map_or(&[][..], |bytes| &bytes[..]),
            );
        }
        hasher.field(
            self.tool_allowed
                .map_or(b"" as &[u8], |yes| if yes { b"1" } else { b"0" }),
        );
        for (name, value) in &self.labels {
            hasher
                .field(b"l")
                .field(name.as_bytes())
                .field(value.as_bytes());
        }
        for extension in &self.extensions {
            hasher
                .field(b"x")
                .field(extension.name.as_bytes())
                .field(extension.json.as_bytes());
        }
        if let Some(evidence) = &self.evidence {
            hasher.field(b"e").field(&evidence.digest.0);
        }
        Digest(hasher.digest())
    }
}

/// A score's bits behind a mark that it is there.
fn tagged(score: f64) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = score.to_bits().to_le_bytes();
    [1, a, b, c, d, e, f, g, h]
}
