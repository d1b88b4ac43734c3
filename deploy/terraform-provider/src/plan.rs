//! What Terraform's values mean: the spec of a resource, the state of an object, what a plan says.

use std::collections::BTreeMap;

use balefire_control::{Fault, Kind, Object, Spec, check_each, check_name, check_spec};
use rmpv::Value;

use crate::dynamic::{Fields, is_unknown, of_own, of_words, read, text, to_own, unknown, words};
use crate::schema::{DIGEST, TOKEN, TOKEN_VERSION};
use crate::tfplugin6::attribute_path::{Step, step::Selector};
use crate::tfplugin6::diagnostic::Severity;
use crate::tfplugin6::{AttributePath, Diagnostic, DynamicValue};

/// Shortest token, bytes: as of the keys file.
const TOKEN_BYTES_MIN: usize = 16;

/// Attributes of a kind that the owner sets in the spec.
pub fn spec_fields(kind: Kind) -> impl Iterator<Item = &'static balefire_control::Field> {
    kind.fields().iter().filter(|field| !field.operational)
}

/// Path of an attribute.
#[must_use]
pub fn path(attribute: &str) -> AttributePath {
    AttributePath {
        steps: vec![Step {
            selector: Some(Selector::AttributeName(attribute.to_owned())),
        }],
    }
}

/// An error, on an attribute's line where there is one.
#[must_use]
pub fn error(summary: &str, detail: &str, attribute: Option<&str>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error.into(),
        summary: summary.to_owned(),
        detail: detail.to_owned(),
        attribute: attribute.map(path),
    }
}

/// Which attribute a field path of the control plane is.
fn attribute_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("spec.").unwrap_or(path);
    (!path.is_empty() && path != "spec").then(|| path.split('.').next().unwrap_or(path))
}

/// A fault, on its attribute's line.
#[must_use]
pub fn of_fault(fault: &Fault) -> Diagnostic {
    error(
        "Invalid value",
        &format!("{}: {}", fault.path, fault.message),
        attribute_of(&fault.path),
    )
}

/// The digest of a token, as the control plane keeps it.
#[must_use]
pub fn digest(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex().to_string()
}

/// What the values say; with `config`, the token too.
#[must_use]
pub fn spec(kind: Kind, fields: &Fields, config: Option<&Fields>) -> Spec {
    let mut spec = Spec::new();
    for field in spec_fields(kind) {
        let value = fields.get(field.name).and_then(|v| to_own(field.form, v));
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            spec.insert(field.name.to_owned(), value);
        }
    }
    let token = config.and_then(|config| text(config.get(TOKEN)));
    if kind == Kind::ApiKey
        && !spec.contains_key(DIGEST)
        && let Some(token) = token
    {
        let digest = balefire_control::Value::Text(digest(&token));
        spec.insert(DIGEST.to_owned(), digest);
    }
    spec
}

/// Labels of a resource.
#[must_use]
pub fn labels(fields: &Fields) -> BTreeMap<String, String> {
    words(fields.get("labels"))
}

/// What is wrong with a configuration, as far as it is known.
#[must_use]
pub fn check(kind: Kind, config: &Fields) -> Vec<Diagnostic> {
    let hidden = |name: &str| config.get(name).is_some_and(is_unknown);
    let mut found: Vec<Diagnostic> = Vec::new();
    if let Some(name) = text(config.get("name")) {
        found.extend(check_name(&name).as_ref().map(of_fault));
    }
    let token = text(config.get(TOKEN));
    if token
        .as_ref()
        .is_some_and(|token| token.len() < TOKEN_BYTES_MIN)
    {
        let detail = format!("a token has at least {TOKEN_BYTES_MIN} bytes");
        found.push(error("Invalid value", &detail, Some(TOKEN)));
    }
    // What fields are together can be said once all are known.
    let check = if spec_fields(kind).any(|field| hidden(field.name)) {
        check_each
    } else {
        check_spec
    };
    for fault in check(kind, &spec(kind, config, Some(config))) {
        let attribute = attribute_of(&fault.path).unwrap_or_default().to_owned();
        let by_token = attribute == DIGEST && (token.is_some() || hidden(TOKEN));
        if !hidden(&attribute) && !by_token {
            found.push(of_fault(&fault));
        }
    }
    found
}

/// The state of an object. Where the object has nothing, an empty value that was there before
/// stays: `""` and null are one here.
#[must_use]
pub fn state(kind: Kind, object: &Object, before: &Fields) -> Fields {
    let kept = |name: &str| {
        let before = before.get(name).cloned().unwrap_or(Value::Nil);
        let empty = match &before {
            Value::Boolean(flag) => !flag,
            Value::Integer(number) => number.as_i64() == Some(0),
            Value::String(text) => text.as_str() == Some(""),
            Value::Array(members) => members.is_empty(),
            Value::Map(members) => members.is_empty(),
            Value::Nil | Value::F32(_) | Value::F64(_) | Value::Binary(_) | Value::Ext(..) => false,
        };
        if empty { before } else { Value::Nil }
    };
    let mut state = Fields::new();
    let name = Value::from(object.key.name.as_str());
    state.insert("id".into(), name.clone());
    state.insert("name".into(), name);
    state.insert("revision".into(), Value::from(object.revision));
    let labels = if object.labels.is_empty() {
        kept("labels")
    } else {
        of_words(&object.labels)
    };
    state.insert("labels".into(), labels);
    for field in spec_fields(kind) {
        let value = object.spec.get(field.name).map(of_own);
        state.insert(field.name.into(), value.unwrap_or_else(|| kept(field.name)));
    }
    if kind == Kind::ApiKey {
        let version = before.get(TOKEN_VERSION).cloned();
        state.insert(TOKEN_VERSION.into(), version.unwrap_or(Value::Nil));
        state.insert(TOKEN.into(), Value::Nil);
    }
    state
}

/// What will be: planned values, and whether another object must replace this one.
#[must_use]
pub fn planned(
    kind: Kind,
    prior: Option<&DynamicValue>,
    proposed: Option<&DynamicValue>,
    config: Option<&DynamicValue>,
) -> (Option<Fields>, Vec<AttributePath>) {
    let Some(mut plan) = read(proposed) else {
        return (None, Vec::new());
    };
    let config = read(config).unwrap_or_default();
    let prior = read(prior);
    if kind == Kind::ApiKey {
        plan.insert(TOKEN.into(), Value::Nil);
        let given = config.get(DIGEST).is_some_and(|value| !value.is_nil());
        let same = prior
            .as_ref()
            .is_some_and(|prior| prior.get(TOKEN_VERSION) == plan.get(TOKEN_VERSION));
        if !given && !same {
            plan.insert(DIGEST.into(), unknown());
        }
    }
    let name = plan.get("name").cloned().unwrap_or(Value::Nil);
    let Some(prior) = prior else {
        plan.insert("id".into(), name);
        plan.insert("revision".into(), unknown());
        return (Some(plan), Vec::new());
    };
    let changed = |attribute: &&String| {
        !matches!(attribute.as_str(), "id" | "revision")
            && prior.get(*attribute) != plan.get(*attribute)
    };
    let renamed = prior.get("name") != plan.get("name");
    if plan.keys().any(|attribute| changed(&attribute)) {
        plan.insert("revision".into(), unknown());
    }
    plan.insert("id".into(), name);
    let replaced = if renamed {
        vec![path("name")]
    } else {
        Vec::new()
    };
    (Some(plan), replaced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamic::write;

    fn fields(of: &[(&str, Value)]) -> Fields {
        of.iter()
            .map(|(k, v)| ((*k).to_owned(), v.clone()))
            .collect()
    }

    #[test]
    fn a_token_is_in_no_plan_and_another_version_makes_another_digest() {
        let secret = Value::from("a long random token");
        let config = fields(&[
            ("name", "k".into()),
            (TOKEN, secret.clone()),
            (TOKEN_VERSION, 2.into()),
            (DIGEST, Value::Nil),
        ]);
        let prior = fields(&[
            ("name", "k".into()),
            ("id", "k".into()),
            ("revision", 1.into()),
            (TOKEN_VERSION, 1.into()),
            (DIGEST, "0a".into()),
        ]);
        let mut proposed = config.clone();
        proposed.insert(DIGEST.into(), "0a".into());
        proposed.insert("revision".into(), 1.into());
        let (plan, replaced) = planned(
            Kind::ApiKey,
            write(Some(prior.clone())).as_ref(),
            write(Some(proposed.clone())).as_ref(),
            write(Some(config.clone())).as_ref(),
        );
        let plan = plan.unwrap();
        assert_eq!(plan[TOKEN], Value::Nil);
        assert!(is_unknown(&plan[DIGEST]) && is_unknown(&plan["revision"]) && replaced.is_empty());
        proposed.insert(TOKEN_VERSION.into(), 1.into());
        let (plan, _) = planned(
            Kind::ApiKey,
            write(Some(prior)).as_ref(),
            write(Some(proposed)).as_ref(),
            write(Some(config.clone())).as_ref(),
        );
        assert_eq!(plan.unwrap()[DIGEST], Value::from("0a"));
        assert_eq!(
            spec(Kind::ApiKey, &fields(&[]), Some(&config))[DIGEST].text(),
            Some(digest("a long random token").as_str())
        );
    }

    #[test]
    fn another_name_is_another_object_and_faults_stand_on_their_attribute() {
        let of = |name: &str| {
            write(Some(fields(&[
                ("name", name.into()),
                ("url", "https://a.example".into()),
            ])))
        };
        let (_, replaced) = planned(
            Kind::Receiver,
            of("a").as_ref(),
            of("b").as_ref(),
            of("b").as_ref(),
        );
        assert_eq!(replaced, [path("name")]);
        let found = check(
            Kind::Receiver,
            &fields(&[
                ("name", "a".into()),
                ("url", "ftp://x".into()),
                ("severity_min", unknown()),
            ]),
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].attribute, Some(path("url")));
        assert_eq!(
            check(
                Kind::Receiver,
                &fields(&[("name", unknown()), ("url", unknown())])
            ),
            []
        );
        // Whether one of two must be there is said once both are known.
        let tiers = Value::Map(vec![("high".into(), unknown())]);
        let map = fields(&[("name", "soc".into()), ("tiers", tiers)]);
        assert_eq!(check(Kind::SeverityMap, &map), []);
        let map = fields(&[("name", "soc".into())]);
        assert_eq!(check(Kind::SeverityMap, &map).len(), 1);
    }
}
