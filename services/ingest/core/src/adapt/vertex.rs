//! A Vertex AI GenerateContent response that was blocked, bare or in a Cloud Logging entry.

use serde_json::Value;

use super::draft::{CALLER, Draft};
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, first, list, said, whole, without};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "vertex",
    about: "Vertex AI GenerateContent responses",
    recognises: |record| {
        let is = |path: &str| !at(record, path).is_null();
        is("promptFeedback") || is("usageMetadata.promptTokenCount") && is("modelVersion")
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let mut hits = Vec::new();
    let reasons = list(at(record, "candidates"))
        .iter()
        .map(|one| at(one, "finishReason"));
    for reason in reasons.chain([at(record, "promptFeedback.blockReason")]) {
        let reason = reason.as_str().unwrap_or_default();
        let finding = match reason {
            "JAILBREAK" => Finding::Jailbreak,
            "SPII" => Finding::PersonalData,
            "SAFETY" | "PROHIBITED_CONTENT" | "BLOCKLIST" | "MODEL_ARMOR" | "IMAGE_SAFETY"
            | "RECITATION" | "OTHER"
                if !(reason == "OTHER" && at(record, "promptFeedback.blockReason").is_null()) =>
            {
                Finding::Content
            }
            _ => continue,
        };
        hits.push(Hit::new(finding, Action::Blocked, reason));
    }
    let rest = without(
        &without(record, &["candidates", "createTime", "modelVersion"]),
        &CALLER,
    );
    let time = first(record, &["timestamp", "createTime"]);
    let base = Draft::of_caller(record, said(record, &["responseId"]), context)
        .text(
            "timestamp",
            super::moment::of(time).map(|at| at.to_string()),
        )
        .text("model", said(record, &["modelVersion"]))
        .whole(
            "tokens_in",
            whole(at(record, "usageMetadata.promptTokenCount")),
        )
        .whole(
            "tokens_out",
            whole(at(record, "usageMetadata.candidatesTokenCount")),
        )
        .rest("vertex", &rest);
    Ok(finding::events(base, &hits))
}
