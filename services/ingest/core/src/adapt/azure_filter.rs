//! The content filter of Azure OpenAI: in an error body, or beside an answer.

use serde_json::Value;

use super::draft::{CALLER, Draft};
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, list, members, said, whole, without, yes};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "azure-content-filter",
    about: "Azure OpenAI answers with content filter results",
    recognises: |record| is_body(record) && at(record, "request_data").is_null(),
    adapt,
};

/// Whether a body is an answer that speaks of the filter.
#[must_use]
pub fn is_body(body: &Value) -> bool {
    at(body, "error.code") == "content_filter"
        || at(body, "prompt_filter_results").is_array()
        || list(at(body, "choices"))
            .iter()
            .any(|choice| at(choice, "content_filter_results").is_object())
}

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let time = at(record, "created");
    let rest = without(
        &without(
            record,
            &["error.message", "choices", "prompt_filter_results"],
        ),
        &CALLER,
    );
    let mut base = Draft::of_caller(record, said(record, &["id"]), context);
    if at(record, "timestamp").is_null() && !time.is_null() {
        base = base.text(
            "timestamp",
            super::moment::of(time).map(|at| at.to_string()),
        );
    }
    let base = base
        .text("model", said(record, &["model"]))
        .whole("tokens_in", whole(at(record, "usage.prompt_tokens")))
        .whole("tokens_out", whole(at(record, "usage.completion_tokens")))
        .rest("azure_content_filter", &rest);
    Ok(finding::events(base, &hits(record)))
}

/// What the filter says in a body.
#[must_use]
pub fn hits(body: &Value) -> Vec<Hit> {
    let mut hits = Vec::new();
    for name in ["content_filter_result", "content_filter_results"] {
        results(at(body, "error.innererror").get(name), "prompt", &mut hits);
    }
    for prompt in list(at(body, "prompt_filter_results")) {
        results(prompt.get("content_filter_results"), "prompt", &mut hits);
    }
    let mut stopped = at(body, "error.code") == "content_filter";
    for choice in list(at(body, "choices")) {
        results(choice.get("content_filter_results"), "answer", &mut hits);
        stopped |= at(choice, "finish_reason") == "content_filter";
    }
    if stopped && !hits.iter().any(|hit| hit.action == Action::Blocked) {
        hits.push(Hit::new(
            Finding::Content,
            Action::Blocked,
            "content_filter",
        ));
    }
    hits
}

fn results(results: Option<&Value>, place: &str, hits: &mut Vec<Hit>) {
    for (name, result) in members(results.unwrap_or(&Value::Null)) {
        let action = if yes(at(result, "filtered")) {
            Action::Blocked
        } else if yes(at(result, "detected")) {
            Action::Detected
        } else {
            continue;
        };
        let finding = match name {
            "jailbreak" => Finding::Jailbreak,
            "indirect_attack" => Finding::IndirectInjection,
            "personally_identifiable_information" => Finding::PersonalData,
            "ungrounded_material" => Finding::Hallucination,
            _ => Finding::Content,
        };
        hits.push(Hit::new(finding, action, format!("{place}:{name}")));
    }
}
