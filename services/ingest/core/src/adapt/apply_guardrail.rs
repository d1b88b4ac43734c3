//! The answer of Bedrock's `ApplyGuardrail`, as an application passes it on.

use serde_json::Value;

use super::draft::{CALLER, Draft};
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, said, without};
use super::{Adapter, Context, Unfit, guardrail};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "bedrock-guardrail",
    about: "the answer of Bedrock's ApplyGuardrail",
    recognises: |record| {
        at(record, "assessments").is_array()
            && matches!(
                at(record, "action").as_str(),
                Some("GUARDRAIL_INTERVENED" | "NONE")
            )
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let mut hits = Vec::new();
    guardrail::search(at(record, "assessments"), &mut hits);
    if hits.is_empty() && at(record, "action") == "GUARDRAIL_INTERVENED" {
        hits.push(Hit::new(Finding::Content, Action::Blocked, "guardrail"));
    }
    let native_id = said(record, &["ResponseMetadata.RequestId"]);
    let rest = without(&without(record, &["assessments", "outputs"]), &CALLER);
    let base = Draft::of_caller(record, native_id, context)
        .body("response", at(record, "outputs"))
        .rest("bedrock_guardrail", &rest);
    Ok(finding::events(base, &hits))
}
