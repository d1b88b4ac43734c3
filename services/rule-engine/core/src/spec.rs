//! [`RuleSpec`]: what the engine needs to know of a rule, apart from how rules are written.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use balefire_event::digest::FieldHasher;
use balefire_event::{
    Assurance, Category, Digest, Event, Field, IdentityKind, RecommendedAction, RuleId, Severity,
};
use balefire_rule::{Measured, Rule, RuleKind, RuleSet};

/// Decides which events a rule looks for. Must answer alike for the same event, always.
pub trait Matcher: Send + Sync {
    /// Whether the event is one of those.
    fn matches(&self, event: &Event<'_>) -> bool;
    /// Whether it reads the field.
    fn reads(&self, field: &Field) -> bool;
    /// A text field, and the texts in lower case one of which it must be: no event matches whose field is
    /// another ASCII text, or says nothing. By default any event may match.
    fn asks(&self) -> Option<(Field, Vec<String>)> {
        None
    }
    /// Whether it reads any field that Balefire has no name for.
    fn reads_extensions(&self) -> bool {
        true
    }
    /// What a matching event adds to the window; by default that it was there.
    fn measured(&self, _event: &Event<'_>) -> Measured {
        Measured::Value(0)
    }
}

impl Matcher for Rule {
    fn matches(&self, event: &Event<'_>) -> bool {
        Self::matches(self, event)
    }
    fn reads(&self, field: &Field) -> bool {
        Self::reads(self, field)
    }
    fn asks(&self) -> Option<(Field, Vec<String>)> {
        Self::asks(self).map(|(field, texts)| (field.clone(), texts))
    }
    fn reads_extensions(&self) -> bool {
        Self::reads_extensions(self)
    }
    fn measured(&self, event: &Event<'_>) -> Measured {
        Self::measured(self, event)
    }
}

/// One version of a rule.
#[derive(Clone)]
pub struct RuleSpec {
    /// Hashed into every escalation id.
    pub id: RuleId,
    /// Name.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// Severity of its escalations.
    pub severity: Severity,
    /// Windowless, or N, W, R and grouping.
    pub kind: RuleKind,
    /// Fields that an escalation shows as its key: the grouping, or what a windowless rule shows.
    pub key_fields: Vec<Field>,
    /// What it recommends.
    pub actions: Vec<RecommendedAction>,
    /// Who should know.
    pub audiences: Vec<String>,
    /// ATLAS technique ids.
    pub atlas: Vec<String>,
    /// OWASP ids.
    pub owasp: Vec<String>,
    /// Nobody is told of its escalations.
    pub shadow: bool,
    /// Categories it can match; the others are not asked.
    pub categories: Vec<Category>,
    /// Digest of everything that decides: match, grouping, N, W, R.
    pub signature: Digest,
    /// Decides.
    pub matcher: Arc<dyn Matcher>,
}

impl fmt::Debug for RuleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSpec")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl RuleSpec {
    /// Of every rule of compiled sets, by name, each with the first revision it is in force for. A rule that
    /// several sets share is looked at once.
    #[must_use]
    pub fn of_sets(sets: &[(u64, Arc<RuleSet>)]) -> Vec<(u64, Vec<Self>)> {
        let mut made: BTreeMap<*const Rule, Self> = BTreeMap::new();
        let mut of = |rule: &Arc<Rule>| {
            let spec = made
                .entry(Arc::as_ptr(rule))
                .or_insert_with(|| Self::of(rule));
            spec.clone()
        };
        sets.iter()
            .map(|(first, set)| (*first, set.rules().iter().map(&mut of).collect()))
            .collect()
    }

    /// Of a compiled rule.
    #[must_use]
    pub fn of(rule: &Rule) -> Self {
        let categories = Category::ALL.iter().copied();
        Self {
            id: rule.id,
            name: rule.name.clone(),
            title: rule.title.clone(),
            severity: rule.severity,
            kind: rule.kind.clone(),
            key_fields: rule.key_fields().to_vec(),
            actions: rule.actions.clone(),
            audiences: rule.audiences.clone(),
            atlas: rule.atlas.clone(),
            owasp: rule.owasp.clone(),
            shadow: rule.shadow,
            categories: categories.filter(|c| rule.concerns(*c)).collect(),
            signature: signature(rule),
            matcher: Arc::new(rule.clone()),
        }
    }

    /// What a matching event adds to the window. A rule that panics on it adds nothing.
    pub(crate) fn measured(&self, event: &Event<'_>) -> Measured {
        let measured = AssertUnwindSafe(|| self.matcher.measured(event));
        catch_unwind(measured).unwrap_or(Measured::Nothing)
    }

    /// Whether it decides by the field, or an escalation shows it or says how far it can be trusted.
    pub(crate) fn looks_at(&self, field: &Field) -> bool {
        let targets = |kind| {
            let mut targets = self.actions.iter().map(|action| &action.target);
            targets.any(|target| target_kind(target) == Some(kind))
        };
        self.matcher.reads(field)
            || self.key_fields.contains(field)
            || matches!(field, Field::Identity(kind) if targets(*kind))
    }

    pub(crate) fn looks_at_extensions(&self) -> bool {
        let extension = |field: &Field| matches!(field, Field::Extension(_));
        self.matcher.reads_extensions() || self.key_fields.iter().any(extension)
    }

    /// The weakest assurance among the identities that the key or a recommended action names.
    #[must_use]
    pub fn assurance(&self, event: &Event<'_>) -> Option<Assurance> {
        let mut weakest: Option<Assurance> = None;
        let mut weigh = |kind: IdentityKind| {
            if let Some(identity) = event.identity(kind) {
                let own = identity.assurance;
                weakest = Some(weakest.map_or(own, |other| other.weakest(own)));
            }
        };
        for field in &self.key_fields {
            if let Field::Identity(kind) = field {
                weigh(*kind);
            }
        }
        for action in &self.actions {
            if let Some(kind) = target_kind(&action.target) {
                weigh(kind);
            }
        }
        weakest
    }
}

/// The kind of identity that an action's target names; no allocation.
fn target_kind(target: &str) -> Option<IdentityKind> {
    match target {
        "user_id" => Some(IdentityKind::User),
        "agent_id" => Some(IdentityKind::Agent),
        "service_principal" => Some(IdentityKind::ServicePrincipal),
        "api_key_id" => Some(IdentityKind::ApiKey),
        "session_id" => Some(IdentityKind::Session),
        _ => None,
    }
}

/// Digest of a rule without what it only tells people. A change of its form costs a rebuild and
/// nothing else.
fn signature(rule: &Rule) -> Digest {
    let mut bare = rule.clone();
    for text in [
        &mut bare.name,
        &mut bare.title,
        &mut bare.description,
        &mut bare.summary,
    ] {
        text.clear();
    }
    for list in [
        &mut bare.audiences,
        &mut bare.atlas,
        &mut bare.owasp,
        &mut bare.first_steps,
    ] {
        list.clear();
    }
    bare.shows.clear();
    bare.actions.clear();
    bare.severity = Severity::Low;
    bare.shadow = false;
    let mut hasher = FieldHasher::new("balefire rule signature v1");
    Digest(hasher.field(format!("{bare:?}").as_bytes()).digest())
}
