//! What control objects say of sources (clock, lateness, horizon of joins, hold, authority, owners) and of
//! identities that stand for others.

use std::collections::BTreeMap;
use std::sync::Arc;

use balefire_control::{Change, Kind, Object, Value, span};
use balefire_event::identity::TenantKey;
use balefire_event::stamp::{ClockPolicy, JOIN_HORIZON};
use balefire_event::time::{HOUR, SECOND};
use balefire_event::{Assurance, IdentityKind, Timestamp};
use balefire_ingest_core::adapt::map::FieldMap;
use balefire_ingest_core::{Alias, Aliases, Owned, Source};

use crate::config::LATENESS_MAX;

/// Shortest horizon of joins, nanoseconds: identities are repeated twice within it.
const JOIN_HORIZON_MIN: i64 = 10 * SECOND;
/// Longest, nanoseconds.
const JOIN_HORIZON_MAX: i64 = 24 * HOUR;

/// Longest hold, nanoseconds: the promises of correlators are a join horizon behind.
const HOLD_MAX: i64 = JOIN_HORIZON;

/// Every declared source, by tenant and name; the aliases of each tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    sources: BTreeMap<(String, String), Object>,
    aliases: BTreeMap<String, Arc<Aliases>>,
    /// Field maps of sources that declare one.
    maps: BTreeMap<(String, String), Arc<FieldMap>>,
    /// What some source of a tenant is declared to vouch for owners of.
    owned: BTreeMap<String, Owned>,
}

impl Declared {
    /// Whether changes of a kind are taken in.
    pub const fn heeds(kind: Kind) -> bool {
        matches!(kind, Kind::Source | Kind::IdentityAlias)
    }

    /// Takes a change in. Of other kinds nothing changes.
    pub fn apply(&mut self, change: Change) {
        if change.key.kind == Kind::IdentityAlias {
            self.alias(&change);
        }
        if change.key.kind != Kind::Source {
            return;
        }
        let key = (change.key.tenant, change.key.name);
        match change.object.as_ref().and_then(field_map) {
            Some(map) => self.maps.insert(key.clone(), Arc::new(map)),
            None => self.maps.remove(&key),
        };
        let tenant = key.0.clone();
        match change.object {
            Some(object) => self.sources.insert(key, object),
            None => self.sources.remove(&key),
        };
        let of_tenant = self.sources.iter().filter(|((of, _), _)| *of == tenant);
        let declared = of_tenant.filter_map(|(_, object)| owners(object));
        let owned = declared.fold(Owned::default(), Owned::and);
        self.owned.insert(tenant, owned);
    }

    /// What some source of a tenant vouches for owners of, declared or not.
    pub fn owned(&self, tenant: &str) -> Owned {
        let declared = self.owned.get(tenant).copied().unwrap_or_default();
        declared.and(Owned::api_keys())
    }

    fn alias(&mut self, change: &Change) {
        let tenant = &change.key.tenant;
        let none = || Arc::new(Aliases::new(TenantKey::default_of(tenant)));
        let aliases = self.aliases.entry(tenant.clone()).or_insert_with(none);
        let aliases = Arc::make_mut(aliases);
        match change.object.as_ref().and_then(alias) {
            Some(alias) => aliases.set(&change.key.name, alias),
            None => aliases.remove(&change.key.name),
        }
    }

    /// Identities of a tenant that stand for others.
    pub fn aliases(&self, tenant: &str) -> Option<Arc<Aliases>> {
        self.aliases.get(tenant).cloned()
    }

    /// The field map of a tenant's source.
    pub fn map(&self, tenant: &str, source: &str) -> Option<Arc<FieldMap>> {
        let key = (tenant.to_owned(), source.to_owned());
        self.maps.get(&key).cloned()
    }

    /// Name, revision and fields of each field map of a tenant.
    pub fn maps(
        &self,
        tenant: &str,
    ) -> impl Iterator<Item = (&str, u64, impl Iterator<Item = &str>)> {
        let own = self.maps.iter().filter(move |((of, _), _)| of == tenant);
        own.map(|(key, map)| {
            let revision = self.sources.get(key).map_or(0, |object| object.revision);
            let names = map.fields.keys().chain(map.defaults.keys());
            let names: std::collections::BTreeSet<&str> = names.map(String::as_str).collect();
            (map.source.as_str(), revision, names.into_iter())
        })
    }

    /// A tenant's source as its object declares it, on top of `base`.
    pub fn source(&self, tenant: &str, base: Source) -> Source {
        let key = (tenant.to_owned(), base.name.clone());
        let Some(object) = self.sources.get(&key) else {
            return base;
        };
        let bounded = |field: &str, min: i64, max: i64| {
            span(object.text(field)).map(|nanos| nanos.clamp(min, max))
        };
        let flag = |field: &str| object.spec.get(field) == Some(&Value::Flag(true));
        let authority = match object.spec.get("authority") {
            Some(Value::Number(number)) => u32::try_from(*number).unwrap_or(base.authority),
            Some(Value::Text(_) | Value::Flag(_) | Value::Texts(_) | Value::Words(_)) | None => {
                base.authority
            }
        };
        Source {
            clock: ClockPolicy {
                lateness: bounded("lateness", SECOND, LATENESS_MAX).unwrap_or(base.clock.lateness),
                trusted: base.clock.trusted && !flag("clock_untrusted"),
            },
            join_horizon: bounded("join_horizon", JOIN_HORIZON_MIN, JOIN_HORIZON_MAX)
                .unwrap_or(base.join_horizon),
            hold: bounded("hold", 0, HOLD_MAX).unwrap_or(base.hold),
            owners: owners(object).unwrap_or(base.owners),
            authority,
            assurance: if flag("users_verified") {
                Assurance::Verified
            } else {
                base.assurance
            },
            name: base.name,
        }
    }
}

/// What belongs to the users that a source names; `None`: its object does not say.
fn owners(object: &Object) -> Option<Owned> {
    match object.spec.get("owners") {
        Some(Value::Texts(kinds)) => Some(Owned::of(kinds.iter().map(String::as_str))),
        Some(Value::Text(_) | Value::Number(_) | Value::Flag(_) | Value::Words(_)) | None => None,
    }
}

/// The map that a source object declares, where it is one that can be used.
fn field_map(object: &Object) -> Option<FieldMap> {
    let none = BTreeMap::new();
    let table = |field: &str| match object.spec.get(field) {
        Some(Value::Words(words)) => words,
        Some(Value::Text(_) | Value::Number(_) | Value::Flag(_) | Value::Texts(_)) | None => &none,
    };
    let map = FieldMap::of_object(
        &object.key.name,
        table("matches"),
        table("fields"),
        table("defaults"),
        table("words"),
    )?;
    let faults = map.faults();
    if let Some(fault) = faults.first() {
        tracing::warn!(
            source = map.source,
            place = fault.place,
            what = fault.what,
            "the field map of a source cannot be used"
        );
    }
    faults.is_empty().then_some(map)
}

/// What an alias object declares; `None`: nothing that this version knows.
fn alias(object: &Object) -> Option<Alias> {
    let kind = |field: &str| object.text(field).parse().ok();
    let from: IdentityKind = kind("identity_kind")?;
    let to = match object.text("canonical_kind") {
        "" => from,
        _ => kind("canonical_kind")?,
    };
    let time = |field: &str, absent| Timestamp::parse(object.text(field)).unwrap_or(absent);
    Some(Alias {
        from: (from, object.text("alias").to_owned()),
        to: (to, object.text("canonical").to_owned()),
        valid_from: time("valid_from", Timestamp::MIN),
        valid_until: time("valid_until", Timestamp::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use balefire_control::Key;
    use balefire_event::time::MINUTE;

    fn change(kind: Kind, fields: &[(&str, Value)]) -> Change {
        let key = Key {
            tenant: "acme".into(),
            kind,
            name: "envoy".into(),
        };
        let object = Object {
            key: key.clone(),
            revision: 1,
            managed_by: String::new(),
            labels: BTreeMap::new(),
            created: (Timestamp(0), String::new()),
            updated: (Timestamp(0), String::new()),
            spec: fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            control_revision: 1,
        };
        Change {
            key,
            old_revision: 0,
            new_revision: 1,
            object: Some(object),
            purpose: String::new(),
            overridden: false,
            request_id: String::new(),
            request_digest: [0; 32],
        }
    }

    #[test]
    fn a_source_is_what_its_object_declares_of_that_tenant() {
        let base = Source::undeclared("envoy", ClockPolicy::default());
        let text = |text: &str| Value::Text(text.to_owned());
        let mut declared = Declared::default();
        declared.apply(change(Kind::Silence, &[]));
        assert_eq!(declared, Declared::default());
        declared.apply(change(
            Kind::Source,
            &[
                ("lateness", text("6h")),
                ("clock_untrusted", Value::Flag(true)),
                ("authority", Value::Number(7)),
                ("join_horizon", text("2m")),
                ("users_verified", Value::Flag(true)),
                ("hold", text("2h")),
                ("owners", Value::Texts(vec!["agent".to_owned()])),
            ],
        ));
        let source = declared.source("acme", base.clone());
        assert_eq!(source.owners, Owned::of(["agent"]));
        assert_eq!(declared.owned("acme"), Owned::of(["agent", "api_key"]));
        assert_eq!(declared.owned("umbrella"), Owned::api_keys());
        assert_eq!(source.hold, 15 * MINUTE, "at most a join horizon");
        let clock = ClockPolicy {
            lateness: 6 * HOUR,
            trusted: false,
        };
        assert_eq!(source.clock, clock);
        assert_eq!((source.join_horizon, source.authority), (2 * MINUTE, 7));
        assert_eq!(source.assurance, Assurance::Verified);
        assert_eq!(declared.source("umbrella", base.clone()), base);
        declared.apply(change(
            Kind::Source,
            &[("lateness", text("999d")), ("join_horizon", text("1ms"))],
        ));
        let source = declared.source("acme", base.clone());
        assert_eq!(source.clock.lateness, LATENESS_MAX);
        assert_eq!(source.join_horizon, JOIN_HORIZON_MIN);
        let mut gone = change(Kind::Source, &[]);
        gone.object = None;
        declared.apply(gone);
        assert_eq!(declared.source("acme", base.clone()), base);
        let kong = Source::undeclared("kong", ClockPolicy::default());
        assert_eq!(kong.owners, Owned::api_keys());
        let mut none = change(
            Kind::Source,
            &[("owners", Value::Texts(vec!["none".to_owned()]))],
        );
        none.key.name = "kong".to_owned();
        declared.apply(none);
        assert!(declared.source("acme", kong).owners.is_empty());
    }

    #[test]
    fn an_alias_is_its_tenants_until_its_object_is_deleted() {
        let text = |text: &str| Value::Text(text.to_owned());
        let fields = [
            ("identity_kind", text("api_key")),
            ("alias", text("k1")),
            ("canonical_kind", text("user")),
            ("canonical", text("ada@example.com")),
            ("valid_from", text("2026-01-01T00:00:00Z")),
        ];
        let mut declared = Declared::default();
        declared.apply(change(Kind::IdentityAlias, &fields));
        assert_eq!(declared.aliases("umbrella"), None);
        assert!(!declared.aliases("acme").unwrap().is_empty());
        let object = change(Kind::IdentityAlias, &fields).object.unwrap();
        let read = alias(&object).unwrap();
        assert_eq!(read.from, (IdentityKind::ApiKey, "k1".to_owned()));
        assert_eq!(read.to, (IdentityKind::User, "ada@example.com".to_owned()));
        let begin = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        assert_eq!((read.valid_from, read.valid_until), (begin, Timestamp::MAX));
        let mut gone = change(Kind::IdentityAlias, &fields);
        gone.object = None;
        declared.apply(gone);
        assert!(declared.aliases("acme").unwrap().is_empty());
    }
}
