//! Control objects.

use std::collections::BTreeMap;

use balefire_control as own;
use balefire_control::{Key, Kind, Spec, Value};
use balefire_event::Timestamp;
use bytes::Bytes;

use crate::Error;
use crate::control::v1 as wire;

impl From<Kind> for wire::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Rule => Self::Rule,
            Kind::Route => Self::Route,
            Kind::Receiver => Self::Receiver,
            Kind::Silence => Self::Silence,
            Kind::Source => Self::Source,
            Kind::SeverityMap => Self::SeverityMap,
            Kind::IdentityAlias => Self::IdentityAlias,
            Kind::ApiKey => Self::ApiKey,
            Kind::Tenant => Self::Tenant,
        }
    }
}

impl wire::Kind {
    /// The kind of a number; `None` where it is not said, or of a later version.
    #[must_use]
    pub fn known(number: i32) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|kind| Self::from(*kind) as i32 == number)
    }
}

/// A field's way between its generated type and [`Value`].
trait Held: Sized + Default {
    fn value(self) -> Value;
    fn of(value: &Value) -> Option<Self>;
}

macro_rules! held {
    ($type:ty, $variant:ident) => {
        impl Held for $type {
            fn value(self) -> Value {
                Value::$variant(self)
            }
            fn of(value: &Value) -> Option<Self> {
                if let Value::$variant(held) = value {
                    return Some(held.clone());
                }
                None
            }
        }
    };
}

held!(String, Text);
held!(i64, Number);
held!(bool, Flag);
held!(Vec<String>, Texts);

impl Held for std::collections::HashMap<String, String> {
    fn value(self) -> Value {
        Value::Words(self.into_iter().collect::<BTreeMap<_, _>>())
    }
    fn of(value: &Value) -> Option<Self> {
        if let Value::Words(words) = value {
            return Some(words.clone().into_iter().collect());
        }
        None
    }
}

macro_rules! specs {
    ($($kind:ident $message:ident { $($field:ident),* })*) => {
        /// What a generated spec says, without what is empty.
        fn read(spec: wire::Spec) -> Option<(Kind, Spec)> {
            let mut fields = Spec::new();
            let kind = match spec.kind? {
                $(wire::spec::Kind::$kind(spec) => {
                    $(fields.insert(stringify!($field).into(), spec.$field.value());)*
                    Kind::$kind
                })*
            };
            fields.retain(|_, value| !value.is_empty());
            Some((kind, fields))
        }

        /// A spec as generated.
        fn write(kind: Kind, spec: &Spec) -> wire::Spec {
            let kind = match kind {
                $(Kind::$kind => wire::spec::Kind::$kind(wire::$message {
                    $($field: spec
                        .get(stringify!($field))
                        .and_then(Held::of)
                        .unwrap_or_default(),)*
                }),)*
            };
            wire::Spec { kind: Some(kind) }
        }

        /// The fields that each generated spec has, to compare with the table.
        #[cfg(test)]
        const FIELDS: &[(Kind, &[&str])] = &[$((Kind::$kind, &[$(stringify!($field)),*])),*];
    };
}

specs! {
    Rule RuleSpec { yaml, disabled_until, disabled_reason }
    Route RouteSpec { receivers, severity_min, audiences, rules, priority, matchers, continues, group_by, group_for, times, inhibited_by, inhibit_equal }
    Receiver ReceiverSpec { url, secret_env, secret_file, allow_loopback, allow_networks, severity_min, audiences, concurrency, target, settings, max_classification, updates, rate_per_minute, feed, storm_pages, weekly_digest }
    Silence SilenceSpec { rules, severity_max, starts_at, ends_at, reason, matchers, receivers, times }
    Source SourceSpec { lateness, clock_untrusted, authority, join_horizon, hold, users_verified, fields, matches, defaults, words, owners }
    SeverityMap SeverityMapSpec { source, words, tiers }
    IdentityAlias IdentityAliasSpec { identity_kind, alias, canonical, canonical_kind, valid_from, valid_until, attributes }
    ApiKey ApiKeySpec { subject, scopes, token_blake3, expires_at }
    Tenant TenantSpec { title, deletion_allowed }
}

impl wire::Spec {
    /// Of a kind and what it says. A value of another form than the field's is left out.
    #[must_use]
    pub fn of(kind: Kind, spec: &Spec) -> Self {
        write(kind, spec)
    }

    /// Its kind and what it says; `None` where it is of no kind that is known.
    #[must_use]
    pub fn read(self) -> Option<(Kind, Spec)> {
        read(self)
    }
}

impl From<&own::Object> for wire::Object {
    fn from(object: &own::Object) -> Self {
        Self {
            tenant: object.key.tenant.clone(),
            name: object.key.name.clone(),
            kind: wire::Kind::from(object.key.kind).into(),
            revision: object.revision,
            managed_by: object.managed_by.clone(),
            labels: object.labels.clone().into_iter().collect(),
            created_at_ns: object.created.0.0,
            created_by: object.created.1.clone(),
            updated_at_ns: object.updated.0.0,
            updated_by: object.updated.1.clone(),
            spec: Some(write(object.key.kind, &object.spec)),
            control_revision: object.control_revision,
        }
    }
}

impl TryFrom<wire::Object> for own::Object {
    type Error = Error;

    fn try_from(object: wire::Object) -> Result<Self, Error> {
        let spec = object.spec.and_then(read);
        let (kind, spec) = spec.ok_or(Error::malformed("object.spec"))?;
        Ok(Self {
            key: Key {
                tenant: object.tenant,
                kind,
                name: object.name,
            },
            revision: object.revision,
            managed_by: object.managed_by,
            labels: object.labels.into_iter().collect(),
            created: (Timestamp(object.created_at_ns), object.created_by),
            updated: (Timestamp(object.updated_at_ns), object.updated_by),
            spec,
            control_revision: object.control_revision,
        })
    }
}

impl From<&own::Change> for wire::ObjectChange {
    fn from(change: &own::Change) -> Self {
        Self {
            tenant: change.key.tenant.clone(),
            kind: wire::Kind::from(change.key.kind).into(),
            name: change.key.name.clone(),
            old_revision: change.old_revision,
            new_revision: change.new_revision,
            object: change.object.as_ref().map(Into::into),
            purpose: change.purpose.clone(),
            overridden: change.overridden,
            request_id: change.request_id.clone(),
            request_digest: Bytes::copy_from_slice(&change.request_digest),
        }
    }
}

impl TryFrom<wire::ObjectChange> for own::Change {
    type Error = Error;

    fn try_from(change: wire::ObjectChange) -> Result<Self, Error> {
        let kind = wire::Kind::known(change.kind).ok_or(Error::malformed("change.kind"))?;
        let request_digest = change.request_digest.as_ref().try_into();
        Ok(Self {
            key: Key {
                tenant: change.tenant,
                kind,
                name: change.name,
            },
            old_revision: change.old_revision,
            new_revision: change.new_revision,
            object: change.object.map(TryInto::try_into).transpose()?,
            purpose: change.purpose,
            overridden: change.overridden,
            request_id: change.request_id,
            request_digest: request_digest.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use balefire_control::Form;

    use super::*;

    fn some(form: Form) -> Value {
        match form {
            Form::Text => Value::Text("text".into()),
            Form::Number => Value::Number(7),
            Form::Flag => Value::Flag(true),
            Form::Texts => Value::Texts(vec!["b".into(), "a".into()]),
            Form::Words => Value::Words([("k".to_owned(), "v".to_owned())].into()),
        }
    }

    #[test]
    fn the_contract_and_the_table_have_the_same_fields_of_each_kind() {
        assert_eq!(FIELDS.len(), Kind::ALL.len());
        for (kind, fields) in FIELDS {
            let table: Vec<&str> = kind.fields().iter().map(|field| field.name).collect();
            assert_eq!(&table[..], *fields, "{kind}");
        }
    }

    #[test]
    fn every_field_of_every_kind_comes_back_as_it_was() {
        for kind in Kind::ALL {
            let fields = kind.fields().iter();
            let spec: Spec = fields.map(|f| (f.name.to_owned(), some(f.form))).collect();
            assert_eq!(wire::Spec::of(kind, &spec).read(), Some((kind, spec)));
            let empty = wire::Spec::of(kind, &Spec::new());
            assert_eq!(empty.read(), Some((kind, Spec::new())));
        }
    }
}
