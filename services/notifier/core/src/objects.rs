//! From control objects to a [`Plan`]. What an object says was checked when it was made; what only
//! this notifier can know (a target's own settings, a secret it may not use) is a [`Fault`] here,
//! and leaves everything else in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use balefire_control::{Hours, Kind, Object, Value, span};
use balefire_event::{Severity, Timestamp};
use serde_json::{Map, json};

use crate::inhibit::Inhibition;
use crate::matcher::Matchers;
use crate::plan::{Condition, GROUP_FOR, Grouping, Plan, Route, Silence, Table};
use crate::receiver::Target;
use crate::route::{Receiver, ReceiverEntry};
use crate::view::Classification;

/// The tenant of the platform: its objects may name this host and private networks.
pub const PLATFORM: &str = "default";
/// Variables that objects may name begin with this; those of another tenant than the platform's go
/// on with the tenant's name in capitals and "_".
pub const SECRET_PREFIX: &str = "BALEFIRE_SECRET_";

/// An object that is not in force here, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The receiver, as the log names it.
    pub receiver: Arc<str>,
    /// What is wrong and what would do.
    pub reason: String,
}

/// What came of all objects.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// What is in force.
    pub plan: Plan,
    /// How each receiver of the plan that is an object is to be called.
    pub entries: BTreeMap<Arc<str>, ReceiverEntry>,
    /// What is not in force.
    pub faults: Vec<Fault>,
}

/// The name under which the log knows a receiver object.
#[must_use]
pub fn log_name(tenant: &str, name: &str) -> Arc<str> {
    match tenant {
        PLATFORM => name.into(),
        _ => format!("{tenant}/{name}").into(),
    }
}

/// Of the receivers of the file and every object there is, in the order of their names. The file's
/// receivers stay as they are: an object of the same name is a fault.
#[must_use]
pub fn plan<'o>(
    revision: u64,
    file: &[Receiver],
    objects: impl Iterator<Item = &'o Object> + Clone,
) -> Made {
    let mut made = Made::default();
    made.plan.revision = revision;
    made.plan.receivers = file.to_vec();
    for object in objects.clone().filter(|one| one.key.kind == Kind::Receiver) {
        let name = log_name(&object.key.tenant, &object.key.name);
        let taken = file.iter().any(|one| one.name == name);
        let whole = entry(object).and_then(|entry| Ok((receiver(object, &entry)?, entry)));
        let reason = match whole {
            Ok(_) if taken => {
                "the receivers file has one of this name, which stays in force".into()
            }
            Ok((receiver, entry)) => {
                made.entries.insert(name, entry);
                made.plan.receivers.push(receiver);
                continue;
            }
            Err(reason) => reason,
        };
        made.faults.push(Fault {
            receiver: name,
            reason,
        });
    }
    let known = made.plan.receivers.clone();
    let mut routes: BTreeMap<&str, Vec<(i64, Route)>> = BTreeMap::new();
    for object in objects {
        let tenant = object.key.tenant.as_str();
        let named = |names: Vec<String>| -> Vec<Arc<str>> {
            let each = names.iter();
            each.map(|name| resolve(tenant, name, &known)).collect()
        };
        match object.key.kind {
            Kind::Route => {
                let route = (number(object, "priority"), route(object, named));
                routes.entry(tenant).or_default().push(route);
            }
            Kind::Silence => {
                let table = table(&mut made.plan, tenant);
                table.silences.push(silence(object, named));
            }
            Kind::SeverityMap => tiers(table(&mut made.plan, tenant), object),
            Kind::Receiver
            | Kind::Rule
            | Kind::Source
            | Kind::IdentityAlias
            | Kind::ApiKey
            | Kind::Tenant => {}
        }
    }
    for (tenant, mut all) in routes {
        // Stable: those of one priority stay in order of name.
        all.sort_by_key(|(priority, _)| *priority);
        let all = all.into_iter().map(|(_, route)| route);
        table(&mut made.plan, tenant).routes = all.collect();
    }
    made
}

fn table<'p>(plan: &'p mut Plan, tenant: &str) -> &'p mut Table {
    plan.tenants.entry(tenant.to_owned()).or_default()
}

/// A tenant's own receiver of a name, else the file's, which is everybody's.
fn resolve(tenant: &str, name: &str, known: &[Receiver]) -> Arc<str> {
    let own = log_name(tenant, name);
    let is_own = known.iter().any(|one| one.name == own);
    let shared = known
        .iter()
        .find(|one| one.tenant.is_none() && &*one.name == name);
    match shared {
        Some(shared) if !is_own => Arc::clone(&shared.name),
        Some(_) | None => own,
    }
}

fn number(object: &Object, field: &str) -> i64 {
    match object.spec.get(field) {
        Some(Value::Number(number)) => *number,
        Some(Value::Text(_) | Value::Flag(_) | Value::Texts(_) | Value::Words(_)) | None => 0,
    }
}

fn flag(object: &Object, field: &str) -> bool {
    matches!(object.spec.get(field), Some(Value::Flag(true)))
}

fn texts(object: &Object, field: &str) -> Vec<String> {
    match object.spec.get(field) {
        Some(Value::Texts(texts)) => texts.clone(),
        Some(Value::Text(_) | Value::Flag(_) | Value::Number(_) | Value::Words(_)) | None => {
            Vec::new()
        }
    }
}

fn words(object: &Object, field: &str) -> BTreeMap<String, String> {
    match object.spec.get(field) {
        Some(Value::Words(words)) => words.clone(),
        Some(Value::Text(_) | Value::Flag(_) | Value::Number(_) | Value::Texts(_)) | None => {
            BTreeMap::new()
        }
    }
}

fn said(object: &Object, field: &str) -> Option<String> {
    Some(object.text(field))
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn route(object: &Object, named: impl Fn(Vec<String>) -> Vec<Arc<str>>) -> Route {
    let by = texts(object, "group_by");
    let lasts = span(object.text("group_for")).unwrap_or(GROUP_FOR);
    Route {
        name: object.key.name.as_str().into(),
        receivers: named(texts(object, "receivers")),
        when: Condition {
            severity_min: severity(object, "severity_min").unwrap_or(Severity::Low),
            audiences: texts(object, "audiences"),
            rules: texts(object, "rules"),
            matchers: Matchers::of(&words(object, "matchers")),
            ..Condition::default()
        },
        continues: flag(object, "continues"),
        grouping: (!by.is_empty()).then_some(Grouping { by, lasts }),
        times: times(object),
        inhibition: inhibition(object),
    }
}

/// Checked when it was made; what cannot be read is no hour.
fn times(object: &Object) -> Vec<Hours> {
    let all = texts(object, "times");
    all.iter().filter_map(|text| Hours::parse(text)).collect()
}

fn inhibition(object: &Object) -> Option<Inhibition> {
    let by = words(object, "inhibited_by");
    (!by.is_empty()).then(|| Inhibition {
        by: Matchers::of(&by),
        equal: texts(object, "inhibit_equal"),
    })
}

fn silence(object: &Object, named: impl Fn(Vec<String>) -> Vec<Arc<str>>) -> Silence {
    let time = |field: &str| Timestamp::parse(object.text(field)).ok();
    Silence {
        name: object.key.name.as_str().into(),
        when: Condition {
            severity_max: severity(object, "severity_max").unwrap_or(Severity::Critical),
            rules: texts(object, "rules"),
            matchers: Matchers::of(&words(object, "matchers")),
            ..Condition::default()
        },
        receivers: named(texts(object, "receivers")),
        from: time("starts_at").unwrap_or(object.created.0),
        // Checked when it was made; one that cannot be read silences nothing.
        until: time("ends_at").unwrap_or(Timestamp::MIN),
        times: times(object),
    }
}

fn severity(object: &Object, field: &str) -> Option<Severity> {
    object.text(field).parse().ok()
}

fn tiers(table: &mut Table, object: &Object) {
    for (word, tier) in words(object, "tiers") {
        if let Ok(severity) = word.parse() {
            table
                .tiers
                .entry(severity)
                .or_insert_with(|| tier.as_str().into());
        }
    }
}

fn receiver(object: &Object, entry: &ReceiverEntry) -> Result<Receiver, String> {
    let made = Receiver::of(entry).map_err(|fault| fault.to_string())?;
    let tenant = &object.key.tenant;
    Ok(Receiver {
        name: log_name(tenant, &object.key.name),
        tenant: Some(tenant.as_str().into()),
        ..made
    })
}

/// A receiver object as a table of the file would say it.
fn entry(object: &Object) -> Result<ReceiverEntry, String> {
    let platform = object.key.tenant == PLATFORM;
    let entry = ReceiverEntry {
        name: object.key.name.clone(),
        url: object.text("url").to_owned(),
        target: target(object.text("target"), &words(object, "settings"))?,
        max_classification: classification(object.text("max_classification")),
        secret_file: said(object, "secret_file"),
        secret_env: said(object, "secret_env"),
        ca_file: None,
        allow_loopback: flag(object, "allow_loopback"),
        allow_networks: texts(object, "allow_networks"),
        severity_min: said(object, "severity_min"),
        audiences: texts(object, "audiences"),
        concurrency: usize::try_from(number(object, "concurrency"))
            .ok()
            .filter(|places| *places > 0),
        updates: said(object, "updates").map(|word| word == "on"),
        rate_per_minute: u32::try_from(number(object, "rate_per_minute"))
            .ok()
            .filter(|rate| *rate > 0),
        storm_pages: u32::try_from(number(object, "storm_pages"))
            .ok()
            .filter(|pages| *pages > 0),
        feed: flag(object, "feed"),
        weekly_digest: flag(object, "weekly_digest"),
    };
    if !platform && (entry.allow_loopback || !entry.allow_networks.is_empty()) {
        let tenant = PLATFORM;
        return Err(format!(
            "allow_loopback and allow_networks are only for objects of the tenant {tenant}"
        ));
    }
    if entry.url.starts_with("file:") {
        return Err("a file is for receivers of the notifier's own file alone".into());
    }
    let variable = secret_variable(&object.key.tenant);
    if let Some(name) = entry
        .secret_env
        .as_ref()
        .filter(|name| !name.starts_with(&variable))
    {
        return Err(format!("secret_env {name} must begin with {variable}"));
    }
    let (ack_file, ack_env) = entry.target.ack_secret();
    if ack_env.is_some_and(|name| !name.starts_with(&variable)) {
        return Err(format!("ack_secret_env must begin with {variable}"));
    }
    let plain = |name: &str| {
        let kept = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !name.starts_with('.') && name.bytes().all(kept)
    };
    let files = [entry.secret_file.as_deref(), ack_file];
    if files.into_iter().flatten().any(|name| !plain(name)) {
        return Err(
            "a secret file is the name of a file in the notifier's --secrets-dir, without a folder"
                .into(),
        );
    }
    Ok(entry)
}

/// What variables that a tenant's objects may name begin with.
#[must_use]
pub fn secret_variable(tenant: &str) -> String {
    match tenant {
        PLATFORM => SECRET_PREFIX.to_owned(),
        _ => format!(
            "{SECRET_PREFIX}{}_",
            tenant.to_uppercase().replace('-', "_")
        ),
    }
}

fn classification(word: &str) -> Classification {
    match word {
        "public" => Classification::Public,
        "internal" => Classification::Internal,
        "confidential" => Classification::Confidential,
        _ => Classification::Restricted,
    }
}

/// A kind of receiver with its settings, which are texts; true and false are what they say.
fn target(name: &str, settings: &BTreeMap<String, String>) -> Result<Target, String> {
    if matches!(name, "" | "webhook") {
        return match settings.keys().next() {
            Some(setting) => Err(format!("a webhook has no setting {setting}")),
            None => Ok(Target::Webhook),
        };
    }
    let mut held = Map::new();
    for (setting, text) in settings {
        let value = match text.as_str() {
            "true" => json!(true),
            "false" => json!(false),
            text => json!(text),
        };
        held.insert(setting.clone(), value);
    }
    serde_json::from_value(json!({ name: held }))
        .map_err(|error| format!("settings of {name}: {error}"))
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
