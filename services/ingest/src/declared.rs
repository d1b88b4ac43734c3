//! What control objects say of sources: clock, lateness, horizon of joins, authority.

use std::collections::BTreeMap;

use balefire_control::{Change, Kind, Object, Value, span};
use balefire_event::Assurance;
use balefire_event::stamp::ClockPolicy;
use balefire_event::time::{HOUR, SECOND};
use balefire_ingest_core::Source;

use crate::config::LATENESS_MAX;

/// Shortest horizon of joins, nanoseconds: identities are repeated twice within it.
const JOIN_HORIZON_MIN: i64 = 10 * SECOND;
/// Longest, nanoseconds.
const JOIN_HORIZON_MAX: i64 = 24 * HOUR;

/// Every declared source, by tenant and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared(BTreeMap<(String, String), Object>);

impl Declared {
    /// Takes a change in. Of other kinds than sources nothing changes.
    pub fn apply(&mut self, change: Change) {
        if change.key.kind != Kind::Source {
            return;
        }
        let key = (change.key.tenant, change.key.name);
        match change.object {
            Some(object) => self.0.insert(key, object),
            None => self.0.remove(&key),
        };
    }

    /// A tenant's source as its object declares it, on top of `base`.
    pub fn source(&self, tenant: &str, base: Source) -> Source {
        let key = (tenant.to_owned(), base.name.clone());
        let Some(object) = self.0.get(&key) else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use balefire_control::Key;
    use balefire_event::Timestamp;
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
            ],
        ));
        let source = declared.source("acme", base.clone());
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
    }
}
