//! Lakera Guard v2's answer.

use serde_json::Value;

use super::draft::{CALLER, Draft};
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, list, said, without, yes};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "lakera",
    about: "Lakera Guard v2 answers",
    recognises: |record| {
        at(record, "flagged").is_boolean()
            && (at(record, "breakdown").is_array() || at(record, "payload").is_array())
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let mut hits: Vec<Hit> = list(at(record, "breakdown"))
        .iter()
        .filter(|detector| yes(at(detector, "detected")))
        .map(hit)
        .collect();
    if hits.is_empty() {
        hits.extend(list(at(record, "payload")).iter().map(hit));
    }
    if !yes(at(record, "flagged")) {
        hits.clear();
    } else if hits.is_empty() {
        hits.push(Hit::new(Finding::Content, Action::Blocked, "flagged"));
    }
    let rest = without(&without(record, &["payload", "breakdown"]), &CALLER);
    let native_id = said(record, &["metadata.request_uuid"]);
    let base = Draft::of_caller(record, native_id, context).rest("lakera", &rest);
    Ok(finding::events(base, &hits))
}

fn hit(detector: &Value) -> Hit {
    let name = said(detector, &["detector_type"]).unwrap_or_else(|| "flagged".to_owned());
    Hit::new(Finding::of_name(&name), Action::Blocked, name)
}
