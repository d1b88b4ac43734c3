//! Amazon Bedrock's model invocation log.
//!
//! A guardrail's mark stands in three places: in the trace of Converse, in the
//! `amazon-bedrock-…` fields of InvokeModel, and in a chunk of a stream. Bodies are objects, arrays
//! of chunks, JSON text, or lie in S3.

use serde_json::Value;

use super::draft::Draft;
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, list, opened, said, text, whole, without};
use super::{Adapter, Context, Unfit, guardrail};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "bedrock",
    about: "Amazon Bedrock's model invocation log",
    recognises: |record| at(record, "schemaType") == "ModelInvocationLog",
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let input = opened(at(record, "input.inputBodyJson"));
    let output = opened(at(record, "output.outputBodyJson"));
    let meta = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| text(at(record, "requestMetadata").get(name)?))
    };
    let arn = said(record, &["identity.arn"]);
    let rest = without(
        record,
        &[
            "input.inputBodyJson",
            "output.outputBodyJson",
            "requestId",
            "timestamp",
            "modelId",
            "identity.arn",
            "input.inputTokenCount",
            "output.outputTokenCount",
        ],
    );
    let base = Draft::new(
        record,
        said(record, &["requestId"]),
        at(record, "timestamp"),
        context,
    )
    .text("request_id", said(record, &["requestId"]))
    .text("trace_id", meta(&["traceId", "trace_id"]))
    .text("session_id", meta(&["sessionId", "session_id"]))
    .text(
        "user_id",
        meta(&["userId", "user_id", "user"]).or_else(|| user_of(arn.as_deref())),
    )
    .label_of("application", meta(&["application", "app"]))
    .text("service_principal", arn)
    .text("model", said(record, &["modelId"]))
    .text("endpoint", said(record, &["operation"]))
    .whole("tokens_in", whole(at(record, "input.inputTokenCount")))
    .whole("tokens_out", whole(at(record, "output.outputTokenCount")))
    .body("request", &input)
    .body("response", &without_traces(&output))
    .rest("bedrock", &rest);
    Ok(finding::events(base, &hits(&output)))
}

/// The user that an IAM user's ARN names. A role's session is no person.
fn user_of(arn: Option<&str>) -> Option<String> {
    let (_, user) = arn?.split_once(":user/")?;
    user.rsplit('/').next().map(str::to_owned)
}

/// The body, or each chunk of it, and the metadata of a chunk.
fn parts(output: &Value) -> impl Iterator<Item = &Value> {
    let chunks = list(output).iter().chain(std::iter::once(output));
    chunks.flat_map(|chunk| [chunk, at(chunk, "metadata")])
}

fn hits(output: &Value) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut intervened = false;
    for part in parts(output) {
        for trace in [part.get("amazon-bedrock-trace"), part.get("trace")] {
            guardrail::search(at(trace.unwrap_or(&Value::Null), "guardrail"), &mut hits);
        }
        let stop = said(
            part,
            &["stopReason", "messageStop.stopReason", "stop_reason"],
        );
        intervened |= stop.as_deref() == Some("guardrail_intervened")
            || part
                .get("amazon-bedrock-guardrailAction")
                .is_some_and(|action| action == "INTERVENED");
    }
    if intervened && hits.is_empty() {
        hits.push(Hit::new(Finding::Content, Action::Blocked, "guardrail"));
    }
    hits
}

/// The answer without what the guardrail says about it: that repeats what it matched.
fn without_traces(output: &Value) -> Value {
    const TRACES: [&str; 3] = ["trace", "amazon-bedrock-trace", "metadata.trace"];
    match output.as_array() {
        Some(chunks) => chunks.iter().map(|chunk| without(chunk, &TRACES)).collect(),
        None => without(output, &TRACES),
    }
}
