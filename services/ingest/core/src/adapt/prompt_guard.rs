//! Prompt Guard's answer: a label and a score.

use serde_json::Value;

use super::draft::{CALLER, Draft};
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, said, without};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "prompt-guard",
    about: "Prompt Guard answers",
    recognises: |record| {
        let model = at(record, "model")
            .as_str()
            .unwrap_or_default()
            .to_ascii_lowercase();
        at(record, "label").is_string()
            && at(record, "score").is_number()
            && (model.contains("prompt-guard") || finding_of(record).is_some())
    },
    adapt,
};

fn finding_of(record: &Value) -> Option<Finding> {
    match at(record, "label").as_str() {
        Some("MALICIOUS" | "INJECTION" | "LABEL_1") => Some(Finding::Injection),
        Some("JAILBREAK" | "LABEL_2") => Some(Finding::Jailbreak),
        Some(_) | None => None,
    }
}

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let name = said(record, &["label"]).unwrap_or_default();
    let hit = finding_of(record).map(|finding| Hit::new(finding, Action::Blocked, name.clone()));
    let base = Draft::of_caller(record, said(record, &["id"]), context)
        .text("judge_model", said(record, &["model"]))
        .text("judge_verdict", Some(name))
        .score(at(record, "score"))
        .rest(
            "prompt_guard",
            &without(&without(record, &["model", "label", "score"]), &CALLER),
        );
    Ok(finding::flagged(base, hit.as_slice()))
}
