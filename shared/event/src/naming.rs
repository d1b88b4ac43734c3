//! [`Naming`]: whose an event is, as a word; [`Groups`]: how often each, by source, application,
//! category and service principal.

use std::collections::BTreeMap;

use crate::category::{Assurance, Category, IdentityKind, KeyKind};
use crate::event::Event;
use crate::ids::SubjectRef;

/// Whose an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Naming {
    /// A human's.
    Human,
    /// Of a service principal, an agent or an API key, and of no known human.
    PrincipalOnly,
    /// Of nobody, though it carries ids that a record naming somebody could share.
    Nobody,
    /// Of several, whom records of equal authority name.
    Conflicting,
    /// Of nobody, and without any id: nothing can ever join it, no window of a user counts it.
    Ungrouped,
}

impl Naming {
    /// Every value, in order.
    pub const ALL: [Self; 5] = [
        Self::Human,
        Self::PrincipalOnly,
        Self::Nobody,
        Self::Conflicting,
        Self::Ungrouped,
    ];

    /// The word for people and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::PrincipalOnly => "principal_only",
            Self::Nobody => "nobody",
            Self::Conflicting => "conflicting",
            Self::Ungrouped => "ungrouped",
        }
    }

    /// Of an event as it stands.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        match &event.user {
            Some(user) if user.assurance == Assurance::Conflicting => return Self::Conflicting,
            Some(_) => return Self::Human,
            None => {}
        }
        let machine = |kind| match kind {
            IdentityKind::Agent | IdentityKind::ServicePrincipal | IdentityKind::ApiKey => true,
            IdentityKind::User | IdentityKind::Session => false,
        };
        if event.actors.iter().any(|actor| machine(actor.kind)) {
            Self::PrincipalOnly
        } else if event.keys.is_empty() {
            Self::Ungrouped
        } else {
            Self::Nobody
        }
    }
}

/// Events by whose they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// In the order of [`Naming::ALL`].
    counts: [u64; 5],
    /// Of those that no human is known for, how many carry no request id.
    pub without_request_id: u64,
}

impl Shares {
    const fn slot(naming: Naming) -> usize {
        match naming {
            Naming::Human => 0,
            Naming::PrincipalOnly => 1,
            Naming::Nobody => 2,
            Naming::Conflicting => 3,
            Naming::Ungrouped => 4,
        }
    }

    /// How many.
    #[must_use]
    pub fn of(&self, naming: Naming) -> u64 {
        self.counts
            .get(Self::slot(naming))
            .copied()
            .unwrap_or_default()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Counts one more.
    pub fn count(&mut self, naming: Naming, event: &Event<'_>) {
        self.set(naming, self.of(naming) + 1);
        self.without_request_id += u64::from(lacks_request_id(naming, event));
    }

    /// An event counted as one thing is another.
    pub fn recount(&mut self, from: Naming, to: Naming, event: &Event<'_>) {
        self.set(from, self.of(from).saturating_sub(1));
        let counted = u64::from(lacks_request_id(from, event));
        self.without_request_id = self.without_request_id.saturating_sub(counted);
        self.count(to, event);
    }

    /// Sets a count, as another counted it.
    pub fn set(&mut self, naming: Naming, count: u64) {
        if let Some(slot) = self.counts.get_mut(Self::slot(naming)) {
            *slot = count;
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        for (slot, more) in self.counts.iter_mut().zip(other.counts) {
            *slot += more;
        }
        self.without_request_id += other.without_request_id;
    }
}

/// The label that says which application an event is of.
pub const APPLICATION: &str = "application";
/// Most groups, of all tenants, counted apart; the rest of a tenant's is under [`OTHER`].
pub const GROUPS_MAX: usize = 4096;
/// Most groups of a service principal; events of further ones are in the group without any.
pub const PRINCIPAL_GROUPS_MAX: usize = GROUPS_MAX / 2;
/// Source of groups beyond [`GROUPS_MAX`].
pub const OTHER: &str = "(other)";

/// Events that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Source.
    pub source: Box<str>,
    /// What the label [`APPLICATION`] says; empty: nothing.
    pub application: Box<str>,
    /// Category.
    pub category: Category,
    /// The service principal that they name. Who reads the counts learns from those that name an
    /// application too which one the others are of.
    pub principal: Option<SubjectRef>,
}

/// A group of a tenant, borrowed; they are in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'n> {
    tenant: &'n str,
    source: &'n str,
    application: &'n str,
    category: Category,
    principal: Option<SubjectRef>,
}

impl<'n> Name<'n> {
    fn of(tenant: &'n str, event: &'n Event<'_>) -> Self {
        let principal = event.identity(IdentityKind::ServicePrincipal);
        Self {
            tenant,
            source: &event.source,
            application: application_of(event),
            category: event.category,
            principal: principal.map(|principal| principal.subject_ref),
        }
    }

    const fn without_principal(self) -> Self {
        Self {
            principal: None,
            ..self
        }
    }

    /// Where it is counted that has no place of its own.
    const fn other(self) -> Self {
        Self {
            source: OTHER,
            application: "",
            ..self.without_principal()
        }
    }

    fn group(self) -> Group {
        Group {
            source: self.source.into(),
            application: self.application.into(),
            category: self.category,
            principal: self.principal,
        }
    }
}

/// What the label [`APPLICATION`] of an event says; empty: it has none.
#[must_use]
pub fn application_of<'e>(event: &'e Event<'_>) -> &'e str {
    let label = event.labels.iter().find(|(name, _)| name == APPLICATION);
    label.map_or("", |(_, value)| value.as_ref())
}

/// One group's counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    tenant: Box<str>,
    group: Group,
    shares: Shares,
}

impl Row {
    fn name(&self) -> Name<'_> {
        Name {
            tenant: &self.tenant,
            source: &self.group.source,
            application: &self.group.application,
            category: self.group.category,
            principal: self.group.principal,
        }
    }
}

/// Whose the events of each group are, by tenant. Every event looks for its group, few make one:
/// they are found without a copy of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    rows: Vec<Row>,
    /// Rows of a principal.
    of_principals: usize,
}

impl Groups {
    /// Counts an event as `to`, which was counted as `from` before.
    pub fn named(&mut self, tenant: &str, event: &Event<'_>, from: Option<Naming>, to: Naming) {
        let Some(shares) = self.shares(Name::of(tenant, event)) else {
            return;
        };
        match from {
            Some(from) => shares.recount(from, to, event),
            None => shares.count(to, event),
        }
    }

    /// Those of a tenant.
    pub fn of(&self, tenant: &str) -> impl Iterator<Item = (&Group, &Shares)> {
        let of_tenant = self.rows.iter().filter(move |row| &*row.tenant == tenant);
        of_tenant.map(|row| (&row.group, &row.shares))
    }

    /// By source and category alone, all tenants together: few enough words for metrics.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<(&str, Category), Shares> {
        let mut totals: BTreeMap<(&str, Category), Shares> = BTreeMap::new();
        for Row { group, shares, .. } in &self.rows {
            let of_source = totals.entry((&group.source, group.category)).or_default();
            of_source.add(shares);
        }
        totals
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        for row in &other.rows {
            if let Some(shares) = self.shares(row.name()) {
                shares.add(&row.shares);
            }
        }
    }

    fn find(&self, name: Name<'_>) -> Result<usize, usize> {
        self.rows.binary_search_by(|row| row.name().cmp(&name))
    }

    /// The name of the row that counts it: its own where that is there or has room.
    fn placed<'n>(&self, name: Name<'n>) -> (Name<'n>, Result<usize, usize>) {
        let full = self.rows.len() >= GROUPS_MAX;
        let no_principals = full || self.of_principals >= PRINCIPAL_GROUPS_MAX;
        let mut found = (name, self.find(name));
        if found.1.is_err() && name.principal.is_some() && no_principals {
            let name = name.without_principal();
            found = (name, self.find(name));
        }
        if found.1.is_err() && full {
            found = (name.other(), self.find(name.other()));
        }
        found
    }

    /// Always there.
    fn shares(&mut self, name: Name<'_>) -> Option<&mut Shares> {
        let (name, found) = self.placed(name);
        let place = found.unwrap_or_else(|place| {
            self.of_principals += usize::from(name.principal.is_some());
            self.rows.insert(
                place,
                Row {
                    tenant: name.tenant.into(),
                    group: name.group(),
                    shares: Shares::default(),
                },
            );
            place
        });
        self.rows.get_mut(place).map(|row| &mut row.shares)
    }
}

fn lacks_request_id(naming: Naming, event: &Event<'_>) -> bool {
    !matches!(naming, Naming::Human | Naming::Conflicting) && event.key(KeyKind::Request).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CorrelationKey, Identity};
    use crate::ids::SubjectRef;

    fn identity(kind: IdentityKind, assurance: Assurance) -> Identity<'static> {
        Identity {
            subject_ref: SubjectRef([1; 16]),
            kind,
            assurance,
            via: "user_id".into(),
            label: None,
        }
    }

    #[test]
    fn groups_are_bounded_and_the_rest_is_counted_together() {
        let mut groups = Groups::default();
        for number in 0..GROUPS_MAX + 10 {
            let event = Event {
                source: format!("s{number}").into(),
                labels: vec![(APPLICATION.into(), "chat".into())],
                ..Event::default()
            };
            groups.named("acme", &event, None, Naming::Ungrouped);
        }
        assert_eq!(groups.of("acme").count(), GROUPS_MAX + 1);
        assert_eq!(groups.of("other").count(), 0);
        let totals = groups.totals();
        let rest = totals.get(&(OTHER, Category::Telemetry)).unwrap();
        assert_eq!(rest.of(Naming::Ungrouped), 10);
        let mut twice = groups.clone();
        twice.add(&groups);
        assert_eq!(
            twice
                .of("acme")
                .map(|(_, shares)| shares.all())
                .sum::<u64>(),
            2 * 4106
        );
    }

    #[test]
    fn principals_are_counted_apart_while_there_is_room() {
        let mut groups = Groups::default();
        let mut event = Event {
            source: "bedrock".into(),
            ..Event::default()
        };
        for number in 0..PRINCIPAL_GROUPS_MAX + 10 {
            let mut principal = identity(IdentityKind::ServicePrincipal, Assurance::Claimed);
            principal.subject_ref.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
            event.actors = vec![principal];
            for _ in 0..2 {
                groups.named("acme", &event, None, Naming::PrincipalOnly);
            }
        }
        event.source = "kong".into();
        groups.named("acme", &event, None, Naming::PrincipalOnly);
        let of = |source: &str, principal: bool| -> Vec<u64> {
            let rows = groups.of("acme").filter(|(group, _)| {
                &*group.source == source && group.principal.is_some() == principal
            });
            rows.map(|(_, shares)| shares.all()).collect()
        };
        assert_eq!(of("bedrock", true), vec![2; PRINCIPAL_GROUPS_MAX]);
        assert_eq!(of("bedrock", false), [20]);
        assert_eq!((of("kong", true), of("kong", false)), (vec![], vec![1]));
        let mut twice = Groups::default();
        twice.add(&groups);
        assert_eq!(twice, groups);
    }

    #[test]
    fn every_event_is_counted_once_and_moves() {
        let mut event = Event::default();
        assert_eq!(Naming::of(&event), Naming::Ungrouped);
        event.keys.push(CorrelationKey {
            kind: KeyKind::Trace,
            value: "t".into(),
        });
        assert_eq!(Naming::of(&event), Naming::Nobody);
        let session = identity(IdentityKind::Session, Assurance::Claimed);
        event.actors.push(session);
        assert_eq!(Naming::of(&event), Naming::Nobody, "a session is nobody");
        let key = identity(IdentityKind::ApiKey, Assurance::Claimed);
        event.actors.push(key);
        assert_eq!(Naming::of(&event), Naming::PrincipalOnly);
        let mut shares = Shares::default();
        shares.count(Naming::PrincipalOnly, &event);
        assert_eq!((shares.all(), shares.without_request_id), (1, 1));
        event.user = Some(identity(IdentityKind::User, Assurance::Joined));
        assert_eq!(Naming::of(&event), Naming::Human);
        shares.recount(Naming::PrincipalOnly, Naming::Human, &event);
        assert_eq!((shares.all(), shares.without_request_id), (1, 0));
        assert_eq!(shares.of(Naming::Human), 1);
        event.user = Some(identity(IdentityKind::User, Assurance::Conflicting));
        assert_eq!(Naming::of(&event), Naming::Conflicting);
    }
}
