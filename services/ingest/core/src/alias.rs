//! [`Aliases`]: identities that stand for others, by declaration. They outrank what joins learn: an
//! event whose user is named so is nobody else's.
//!
//! Applied when a record is admitted, behind its id and before its way: what the log holds is the
//! subject that windows count, and nothing downstream looks a name up again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use balefire_event::identity::TenantKey;
use balefire_event::{Event, Identity, IdentityKind, Sealed, SubjectRef, Timestamp};

/// Aliases of aliases are followed so far.
pub const STEPS_MAX: usize = 8;

/// What one object declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// Kind and value that records carry.
    pub from: (IdentityKind, String),
    /// Kind and value that it stands for.
    pub to: (IdentityKind, String),
    /// From when on, by the record's own time.
    pub valid_from: Timestamp,
    /// Until when; it is not valid any more then.
    pub valid_until: Timestamp,
}

type Subject = (IdentityKind, SubjectRef);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: String,
    subject: Subject,
    label: String,
    valid_from: Timestamp,
    valid_until: Timestamp,
}

/// Every alias of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aliases {
    key: TenantKey,
    /// Of what is valid at a time the last one counts: the one that began last, then by name.
    targets: BTreeMap<Subject, Vec<Target>>,
    named: BTreeMap<String, Subject>,
}

/// Whose something is in the end.
struct Found<'a> {
    target: &'a Target,
    /// The first alias on the way.
    name: &'a str,
}

impl Aliases {
    /// None, of subjects under a key.
    #[must_use]
    pub const fn new(key: TenantKey) -> Self {
        Self {
            key,
            targets: BTreeMap::new(),
            named: BTreeMap::new(),
        }
    }

    /// Declares what an object of a name says.
    pub fn set(&mut self, name: &str, alias: Alias) {
        self.remove(name);
        let (kind, value) = alias.from;
        let subject = (kind, SubjectRef::of(&self.key, kind, &value));
        let (kind, label) = alias.to;
        let targets = self.targets.entry(subject).or_default();
        targets.push(Target {
            name: name.to_owned(),
            subject: (kind, SubjectRef::of(&self.key, kind, &label)),
            label,
            valid_from: alias.valid_from,
            valid_until: alias.valid_until,
        });
        targets.sort_by(|a, b| (a.valid_from, &a.name).cmp(&(b.valid_from, &b.name)));
        self.named.insert(name.to_owned(), subject);
    }

    /// Forgets what an object of a name said.
    pub fn remove(&mut self, name: &str) {
        let Some(subject) = self.named.remove(name) else {
            return;
        };
        if let Some(targets) = self.targets.get_mut(&subject) {
            targets.retain(|target| target.name != name);
            if targets.is_empty() {
                self.targets.remove(&subject);
            }
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    fn step(&self, subject: &Subject, at: Timestamp) -> Option<&Target> {
        let targets = self.targets.get(subject)?.iter().rev();
        let mut valid = targets.filter(|target| target.valid_from <= at && at < target.valid_until);
        valid.next()
    }

    /// The subject that one stands for at a time. What leads back to itself stands for itself.
    fn find(&self, subject: Subject, at: Timestamp) -> Option<Found<'_>> {
        let first = self.step(&subject, at)?;
        let mut last = first;
        for _ in 1..STEPS_MAX {
            match self.step(&last.subject, at) {
                Some(next) if next.subject != subject => last = next,
                Some(_) | None => break,
            }
        }
        (last.subject != subject).then_some(Found {
            target: last,
            name: &first.name,
        })
    }

    fn named(&self, identity: &Identity<'_>, at: Timestamp) -> Option<Identity<'static>> {
        let found = self.find((identity.kind, identity.subject_ref), at)?;
        let (kind, subject_ref) = found.target.subject;
        Some(Identity {
            subject_ref,
            kind,
            assurance: identity.assurance,
            via: Cow::Owned(format!("alias:{}:{}", found.name, identity.via)),
            label: Some(Sealed::plain(Cow::Owned(found.target.label.clone()))),
        })
    }

    /// Names the event's identities as declared. Where it names no user, and one of its actors
    /// stands for one, the event is that user's: of several the session's, else the key's, else the
    /// workload's, else the agent's.
    pub fn apply(&self, event: &mut Event<'_>) {
        if self.is_empty() {
            return;
        }
        let at = event.occurred_at;
        if let Some(user) = &mut event.user
            && let Some(named) = self.named(user, at)
        {
            *user = named;
        }
        let mut user: Option<(u8, Identity<'static>)> = None;
        for actor in &mut event.actors {
            let Some(named) = self.named(actor, at) else {
                continue;
            };
            if named.kind == actor.kind {
                *actor = named;
            } else if named.kind == IdentityKind::User
                && user
                    .as_ref()
                    .is_none_or(|(first, _)| rank(actor.kind) < *first)
            {
                user = Some((rank(actor.kind), named));
            }
        }
        if event.user.is_none() {
            event.user = user.map(|(_, named)| named);
        }
    }
}

const fn rank(kind: IdentityKind) -> u8 {
    match kind {
        IdentityKind::User => 0,
        IdentityKind::Session => 1,
        IdentityKind::ApiKey => 2,
        IdentityKind::ServicePrincipal => 3,
        IdentityKind::Agent => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "acme";

    fn alias(from: (IdentityKind, &str), to: (IdentityKind, &str)) -> Alias {
        Alias {
            from: (from.0, from.1.into()),
            to: (to.0, to.1.into()),
            valid_from: Timestamp::MIN,
            valid_until: Timestamp::MAX,
        }
    }

    fn identity(kind: IdentityKind, value: &'static str, via: &'static str) -> Identity<'static> {
        Identity {
            subject_ref: SubjectRef::of(&TenantKey::default_of(TENANT), kind, value),
            kind,
            assurance: balefire_event::Assurance::Claimed,
            via: via.into(),
            label: Some(Sealed::plain(value.into())),
        }
    }

    fn user_of(aliases: &Aliases, mut event: Event<'static>) -> Option<(String, String)> {
        aliases.apply(&mut event);
        let user = event.user?;
        let label = user.readable()?.to_owned();
        Some((label, user.via.into_owned()))
    }

    fn of_user(value: &'static str) -> Event<'static> {
        Event {
            user: Some(identity(IdentityKind::User, value, "user_id")),
            ..Event::default()
        }
    }

    fn some(label: &str, via: &str) -> Option<(String, String)> {
        Some((label.to_owned(), via.to_owned()))
    }

    #[test]
    fn a_user_is_who_the_alias_says_in_any_spelling_of_an_address() {
        use IdentityKind::User;
        let mut aliases = Aliases::new(TenantKey::default_of(TENANT));
        aliases.set(
            "ada",
            alias((User, "ADA@old.example"), (User, "ada@example.com")),
        );
        let event = of_user("ada@OLD.example");
        assert_eq!(
            user_of(&aliases, event.clone()),
            some("ada@example.com", "alias:ada:user_id")
        );
        let mut named = event.clone();
        aliases.apply(&mut named);
        let direct = identity(User, "ada@example.com", "user_id");
        assert_eq!(named.user.unwrap().subject_ref, direct.subject_ref);
        aliases.remove("ada");
        assert!(aliases.is_empty());
        assert_eq!(user_of(&aliases, event), some("ada@OLD.example", "user_id"));
    }

    #[test]
    fn aliases_of_aliases_are_followed_and_rings_are_not() {
        use IdentityKind::User;
        let mut aliases = Aliases::new(TenantKey::default_of(TENANT));
        aliases.set("one", alias((User, "a"), (User, "b")));
        aliases.set("two", alias((User, "b"), (User, "c")));
        assert_eq!(
            user_of(&aliases, of_user("a")),
            some("c", "alias:one:user_id")
        );
        aliases.set("three", alias((User, "c"), (User, "a")));
        // Whoever begins, the last one before the ring closes.
        assert_eq!(
            user_of(&aliases, of_user("a")),
            some("c", "alias:one:user_id")
        );
        aliases.set("same", alias((User, "y"), (User, "y ")));
        assert_eq!(user_of(&aliases, of_user("y")), some("y", "user_id"));
    }

    #[test]
    fn a_key_stands_for_its_owner_while_it_is_his() {
        use IdentityKind::{Agent, ApiKey, User};
        let mut aliases = Aliases::new(TenantKey::default_of(TENANT));
        let owner = |user, from, until| Alias {
            valid_from: Timestamp(from),
            valid_until: Timestamp(until),
            ..alias((ApiKey, "k1"), (User, user))
        };
        aliases.set("first", owner("ada", 0, 100));
        aliases.set("second", owner("bob", 100, 200));
        aliases.set("robot", alias((Agent, "r1"), (User, "eve")));
        let event = |at| Event {
            occurred_at: Timestamp(at),
            actors: vec![
                identity(Agent, "r1", "agent_id"),
                identity(ApiKey, "k1", "api_key_id"),
            ],
            ..Event::default()
        };
        assert_eq!(
            user_of(&aliases, event(99)),
            some("ada", "alias:first:api_key_id")
        );
        assert_eq!(
            user_of(&aliases, event(100)),
            some("bob", "alias:second:api_key_id")
        );
        // The key is nobody's any more; the agent still is somebody's.
        assert_eq!(
            user_of(&aliases, event(200)),
            some("eve", "alias:robot:agent_id")
        );
        // Where two hold at once, the one that began last.
        aliases.set("third", owner("zoe", 50, 200));
        assert_eq!(
            user_of(&aliases, event(99)),
            some("zoe", "alias:third:api_key_id")
        );
        // The record's own word stands.
        let own = Event {
            user: Some(identity(User, "own", "user_id")),
            ..event(99)
        };
        assert_eq!(user_of(&aliases, own), some("own", "user_id"));
    }

    #[test]
    fn an_actor_is_renamed_and_stays_what_it_is() {
        use IdentityKind::Agent;
        let mut aliases = Aliases::new(TenantKey::default_of(TENANT));
        aliases.set("r", alias((Agent, "r1"), (Agent, "planner")));
        let mut event = Event {
            actors: vec![identity(Agent, "r1", "agent_id")],
            ..Event::default()
        };
        aliases.apply(&mut event);
        assert_eq!(event.user, None);
        let planner = identity(Agent, "planner", "agent_id");
        assert_eq!(event.actors[0].subject_ref, planner.subject_ref);
    }
}
