//! [`Chain`]: everything that one request left, by the ids its records share.
//!
//! A fold over records of EVENTS, each stream in its order. Records of one event are one link:
//! whatever the order of arrival was, the link says the same. Ids lead from record to record (a
//! gateway's request id to a trace, a trace to a provider's request id), so the streams are read
//! until nothing new comes up.

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::naming::application_of;
use balefire_event::{
    Applications, Assurance, CorrelationKey, DedupId, Event, Identity, IdentityKind, KeyKind,
    Naming, SubjectRef,
};

use crate::limits::{CHAIN_EVENTS_MAX, CHAIN_KEYS_MAX};

/// Fields that a join may fill, and where they are in an event.
const FILLABLE: [&str; 3] = ["model", "endpoint", "src_ip"];

/// One event of a chain, with everything its records say.
#[derive(Debug, Clone)]
pub struct Link {
    /// Its first record that was read; fields that a join filled are not in it.
    pub event: Event<'static>,
    /// Whom its records name; the last word on each.
    pub users: BTreeMap<SubjectRef, Identity<'static>>,
    /// What its records say of [`FILLABLE`]: its own word, else every filled one.
    said: [BTreeSet<String>; 3],
}

/// What a chain does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// No record of the request at all.
    Records,
    /// No human.
    User,
    /// Several humans: sources disagree.
    Agreement,
    /// No model.
    Model,
    /// No judge's verdict.
    Verdict,
    /// No caller's address.
    Address,
    /// More events than a chain holds.
    Rest,
}

impl Missing {
    /// In plain words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Records => "no record of this id; is it older than --since, or another id?",
            Self::User => {
                "no user: no record that shares an id with these names one; does the gateway log the same \
                 request or trace id?"
            }
            Self::Agreement => {
                "sources disagree on the user: give the one to be believed more authority"
            }
            Self::Model => "no model: no record says which one answered",
            Self::Verdict => "no verdict: no judge saw it, or its record shares no id",
            Self::Address => "no address: no gateway's record shares an id",
            Self::Rest => "there is more than is shown",
        }
    }
}

impl Link {
    fn of(event: &Event<'_>) -> Self {
        let mut first = event.clone().into_owned();
        let filled = first.join.take().map(|join| join.filled);
        let filled = filled.unwrap_or_default();
        for (name, slot) in FILLABLE.iter().zip(slots(&mut first)) {
            if filled.iter().any(|one| one == name) {
                *slot = "".into();
            }
        }
        first.user = None;
        Self {
            event: first,
            users: BTreeMap::new(),
            said: Default::default(),
        }
    }

    fn take(&mut self, event: &Event<'_>) {
        if let Some(user) = &event.user {
            let known = self.users.get(&user.subject_ref);
            let label = known.and_then(|known| known.label.clone());
            let mut user = user.clone().into_owned();
            user.label = user.label.or(label);
            self.users.insert(user.subject_ref, user);
        }
        let texts = [&event.model, &event.endpoint, &event.src_ip];
        for (said, text) in self.said.iter_mut().zip(texts) {
            if !text.is_empty() {
                said.insert(text.clone().into_owned());
            }
        }
    }

    /// Models that its records name: one, where they agree.
    #[must_use]
    pub const fn models(&self) -> &BTreeSet<String> {
        let [models, _, _] = &self.said;
        models
    }

    /// Endpoints.
    #[must_use]
    pub const fn endpoints(&self) -> &BTreeSet<String> {
        let [_, endpoints, _] = &self.said;
        endpoints
    }

    /// Addresses of the caller.
    #[must_use]
    pub const fn addresses(&self) -> &BTreeSet<String> {
        let [_, _, addresses] = &self.said;
        addresses
    }

    /// Whose it is.
    #[must_use]
    pub fn naming(&self) -> Naming {
        let doubted = |user: &Identity<'_>| user.assurance == Assurance::Conflicting;
        match self.users.len() {
            0 => Naming::of(&self.event),
            _ if self.users.values().all(doubted) => Naming::Conflicting,
            _ => Naming::Human,
        }
    }
}

fn slots<'e, 'a>(event: &'e mut Event<'a>) -> [&'e mut balefire_event::event::Text<'a>; 3] {
    [&mut event.model, &mut event.endpoint, &mut event.src_ip]
}

/// Everything that one request left.
#[derive(Debug, Clone)]
pub struct Chain {
    keys: BTreeSet<CorrelationKey<'static>>,
    /// Of the keys, those that no reading has met yet.
    fresh: bool,
    links: BTreeMap<DedupId, Link>,
    /// Of all records that are read: those of other requests know a principal's application too.
    applications: Applications<SubjectRef>,
    full: bool,
}

impl Chain {
    /// Of a request id, or of a trace or session id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        let key = |kind: &KeyKind| CorrelationKey {
            kind: *kind,
            value: id.trim().to_owned().into(),
        };
        Self {
            keys: KeyKind::ALL.iter().map(key).collect(),
            fresh: true,
            links: BTreeMap::new(),
            applications: Applications::default(),
            full: false,
        }
    }

    /// Begins a reading of the streams. False: the last one found no further id, all is known.
    pub fn reading(&mut self) -> bool {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh {
            self.links.clear();
        }
        fresh
    }

    /// Takes a record in, if it belongs.
    pub fn take(&mut self, event: &Event<'_>) {
        if let Some(principal) = event.identity(IdentityKind::ServicePrincipal) {
            let application = application_of(event);
            self.applications.learn(principal.subject_ref, application);
        }
        if !event.keys.iter().any(|key| self.keys.contains(key)) {
            return;
        }
        if self.links.len() >= CHAIN_EVENTS_MAX && !self.links.contains_key(&event.dedup_id) {
            self.full = true;
            return;
        }
        self.widen(event);
        let link = self.links.entry(event.dedup_id);
        link.or_insert_with(|| Link::of(event)).take(event);
    }

    /// Its ids belong too; but for a session's, a key's, an actor's, which have many requests.
    fn widen(&mut self, event: &Event<'_>) {
        for key in &event.keys {
            if !matches!(key.kind, KeyKind::Request | KeyKind::Trace) || self.keys.contains(key) {
                continue;
            }
            if self.keys.len() >= CHAIN_KEYS_MAX {
                self.full = true;
                return;
            }
            self.keys.insert(key.clone().into_owned());
            self.fresh = true;
        }
    }

    /// Its events in the order of their own time.
    #[must_use]
    pub fn links(&self) -> Vec<&Link> {
        let mut links: Vec<&Link> = self.links.values().collect();
        links.sort_by_key(|link| (link.event.occurred_at, link.event.dedup_id));
        links
    }

    /// The application of one of its events, where its service principal alone tells it: the one that
    /// all records agree on that name both.
    #[must_use]
    pub fn application_by_principal(&self, link: &Link) -> Option<&str> {
        let principal = link.event.identity(IdentityKind::ServicePrincipal);
        let principal = principal.filter(|_| application_of(&link.event).is_empty())?;
        self.applications.of(&principal.subject_ref)
    }

    /// Whom its events name.
    #[must_use]
    pub fn users(&self) -> BTreeMap<SubjectRef, &Identity<'static>> {
        let users = self.links.values().flat_map(|link| &link.users);
        users.map(|(subject, user)| (*subject, user)).collect()
    }

    /// What it does not say, in a fixed order.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        if self.links.is_empty() {
            return vec![Missing::Records];
        }
        let any = |is: fn(&Link) -> bool| self.links.values().any(is);
        let doubted = |link: &Link| link.naming() == Naming::Conflicting;
        let users = self.users().len();
        let lacks = [
            (Missing::User, users == 0),
            (Missing::Agreement, users > 1 || any(doubted)),
            (Missing::Model, !any(|link| !link.models().is_empty())),
            (
                Missing::Verdict,
                !any(|link| !link.event.judge_verdict.is_empty()),
            ),
            (Missing::Address, !any(|link| !link.addresses().is_empty())),
            (Missing::Rest, self.full),
        ];
        let lacking = lacks.into_iter().filter(|(_, lacks)| *lacks);
        lacking.map(|(missing, _)| missing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u8, keys: &[(KeyKind, &str)]) -> Event<'static> {
        Event {
            dedup_id: DedupId([id; 16]),
            keys: keys
                .iter()
                .map(|(kind, value)| CorrelationKey {
                    kind: *kind,
                    value: (*value).to_owned().into(),
                })
                .collect(),
            ..Event::default()
        }
    }

    #[test]
    fn ids_lead_on_but_a_session_does_not() {
        use KeyKind::{Request, Session, Trace};
        let log = [
            event(1, &[(Request, "aws")]),
            event(2, &[(Request, "aws"), (Trace, "t")]),
            event(3, &[(Request, "r"), (Trace, "t"), (Session, "s")]),
            event(4, &[(Request, "other"), (Session, "s")]),
            event(5, &[(Session, "r2")]),
        ];
        let read = |id: &str| {
            let mut chain = Chain::of(id);
            let mut readings = 0;
            while chain.reading() {
                readings += 1;
                for event in &log {
                    chain.take(event);
                }
            }
            let ids: Vec<u8> = chain
                .links()
                .iter()
                .map(|link| link.event.dedup_id.0[0])
                .collect();
            (ids, readings)
        };
        assert_eq!(read("r"), (vec![1, 2, 3], 3));
        assert_eq!(read("s"), (vec![1, 2, 3, 4], 3), "asked for by itself");
        assert_eq!(read("r2"), (vec![5], 1));
        assert_eq!(read("x"), (vec![], 1));
        assert_eq!(Chain::of("x").missing(), [Missing::Records]);
    }

    #[test]
    fn a_principal_shows_its_application_wherever_a_record_names_both() {
        let of = |id: u8, trace: &str, application: Option<&str>| {
            let mut event = event(id, &[(KeyKind::Trace, trace)]);
            event.actors.push(Identity {
                subject_ref: SubjectRef([7; 16]),
                kind: IdentityKind::ServicePrincipal,
                assurance: Assurance::Claimed,
                via: "service_principal".into(),
                label: None,
            });
            let label = application.map(|name| ("application".into(), name.to_owned().into()));
            event.labels.extend(label);
            event
        };
        let shown = |log: &[Event<'static>]| {
            let mut chain = Chain::of("t");
            while chain.reading() {
                log.iter().for_each(|event| chain.take(event));
            }
            let links = chain.links();
            let applications = links
                .iter()
                .map(|link| chain.application_by_principal(link));
            applications
                .map(|one| one.map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let (bare, own) = (of(1, "t", None), of(2, "t", Some("chat")));
        let (elsewhere, stranger) = (of(3, "u", Some("chat")), of(4, "u", Some("search")));
        let chat = Some("chat".to_owned());
        for log in [
            [bare.clone(), own.clone(), elsewhere.clone()],
            [elsewhere.clone(), own.clone(), bare.clone()],
        ] {
            assert_eq!(
                shown(&log),
                [chat.clone(), None],
                "the second says it itself"
            );
        }
        assert_eq!(shown(&[bare.clone(), elsewhere.clone()]), [chat]);
        assert_eq!(shown(&[elsewhere, bare.clone(), stranger]), [None]);
        assert_eq!(shown(&[bare]), [None]);
    }

    #[test]
    fn a_chain_is_bounded_and_says_so() {
        let mut chain = Chain::of("t");
        chain.reading();
        for number in 0..CHAIN_EVENTS_MAX + 5 {
            let mut event = event(0, &[(KeyKind::Trace, "t")]);
            event.dedup_id.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
            chain.take(&event);
        }
        assert_eq!(chain.links().len(), CHAIN_EVENTS_MAX);
        assert!(chain.missing().contains(&Missing::Rest));
    }
}
