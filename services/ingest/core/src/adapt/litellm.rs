//! LiteLLM's standard logging record: an event for each guardrail that did something.
//!
//! `guardrail_mode` is text or a list, `guardrail_response` a list, an object or text, and
//! `guardrail_provider` may be null.

use serde_json::Value;

use super::draft::Draft;
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, first, list, members, opened, said, text, whole, without};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "litellm",
    about: "LiteLLM proxy logs (generic_api, webhook)",
    recognises: |record| {
        at(record, "call_type").is_string()
            && (at(record, "litellm_call_id").is_string()
                || at(record, "status_fields").is_object())
    },
    adapt,
};

/// What LiteLLM calls who has no name.
const NOBODY: &str = "default_user_id";

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let base = base(record, context);
    let information = opened(at(record, "guardrail_information"));
    let one = std::slice::from_ref(&information);
    let entries = if information.is_array() {
        list(&information)
    } else {
        one
    };
    let mut events = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        events.extend(event(&base, index, entry));
    }
    if events.is_empty() {
        events.push(base);
    }
    Ok(events)
}

fn base(record: &Value, context: &Context) -> Draft {
    let meta = at(record, "metadata");
    let named = |value: &Value| text(value).filter(|name| name != NOBODY);
    let user = [
        at(record, "end_user"),
        at(meta, "user_api_key_end_user_id"),
        at(meta, "user_api_key_user_email"),
        at(meta, "user_api_key_user_id"),
    ];
    let rest = without(
        record,
        &[
            "messages",
            "response",
            "guardrail_information",
            "error_str",
            "error_information.error_message",
            "error_information.traceback",
            "end_user",
            "litellm_call_id",
            "trace_id",
            "startTime",
            "requester_ip_address",
            "metadata.user_api_key_end_user_id",
            "metadata.user_api_key_user_email",
            "metadata.requester_ip_address",
            "metadata.user_api_key_hash",
            "metadata.user_api_key_user_id",
        ],
    );
    let id = said(record, &["litellm_call_id", "id"]);
    Draft::new(
        record,
        id.clone(),
        first(record, &["startTime", "endTime"]),
        context,
    )
    .text("request_id", id)
    .text("trace_id", said(record, &["trace_id"]))
    .text("session_id", said(record, &["session_id"]))
    .text("user_id", user.into_iter().find_map(named))
    .text("api_key_id", said(meta, &["user_api_key_hash"]))
    .address(said(
        record,
        &["requester_ip_address", "metadata.requester_ip_address"],
    ))
    .text("model", said(record, &["model_group", "model"]))
    .text("endpoint", said(meta, &["user_api_key_request_route"]))
    .whole("tokens_in", whole(at(record, "prompt_tokens")))
    .whole("tokens_out", whole(at(record, "completion_tokens")))
    .label_of(
        "application",
        said(
            meta,
            &[
                "user_api_key_alias",
                "user_api_key_team_alias",
                "user_api_key_team_id",
            ],
        ),
    )
    .body("request", at(record, "messages"))
    .body("response", at(record, "response"))
    .rest("litellm", &rest)
}

fn event(base: &Draft, index: usize, entry: &Value) -> Option<Draft> {
    let name = said(entry, &["guardrail_name"]).unwrap_or_else(|| "guardrail".to_owned());
    let masked: u64 = members(at(entry, "masked_entity_count"))
        .filter_map(|(_, count)| whole(count))
        .sum();
    let action = match at(entry, "guardrail_status").as_str() {
        Some("guardrail_intervened" | "blocked") => Action::Blocked,
        Some("success") if masked > 0 => Action::Masked,
        Some("guardrail_failed_to_respond" | "failure") => {
            return Some(
                base.clone()
                    .part(&index.to_string())
                    .label("guardrail_error", &name),
            );
        }
        Some(_) | None => return None,
    };
    let finding = if action == Action::Masked {
        Finding::PersonalData
    } else {
        finding_of(entry, &name)
    };
    let hit = Hit::new(finding, action, name.clone());
    let event = finding::events(base.clone(), &[hit])
        .pop()?
        .part(&index.to_string());
    let mode = text(
        at(entry, "guardrail_mode")
            .get(0)
            .unwrap_or(at(entry, "guardrail_mode")),
    );
    let event = event
        .label_of("guardrail_provider", said(entry, &["guardrail_provider"]))
        .label_of("guardrail_mode", mode);
    if name.to_ascii_lowercase().starts_with(finding::OWN) {
        return Some(
            event
                .category(balefire_event::Category::Telemetry)
                .label("self_caused", "true"),
        );
    }
    Some(match tool_of(entry) {
        Some(tool) if finding == Finding::ToolDenied => {
            event.text("tool", Some(tool)).tool_allowed(false)
        }
        Some(_) | None => event,
    })
}

/// By what the guardrail is called and says of itself. The words of its patterns speak, the text
/// that they met does not.
fn finding_of(entry: &Value, name: &str) -> Finding {
    let mut words: Vec<String> = ["guardrail_provider", "classification", "policy_template"]
        .iter()
        .filter_map(|field| text(at(entry, field)))
        .collect();
    let response = opened(at(entry, "guardrail_response"));
    words.extend(text(&response));
    for detail in list(&response)
        .iter()
        .chain(list(at(entry, "match_details")))
        .chain([&response])
    {
        for field in [
            "pattern_name",
            "description",
            "detector_type",
            "category",
            "type",
        ] {
            words.extend(text(at(detail, field)));
        }
    }
    for detector in list(at(&response, "breakdown")) {
        if at(detector, "detected") == true {
            words.extend(text(at(detector, "detector_type")));
        }
    }
    if tool_of(entry).is_some() {
        return Finding::ToolDenied;
    }
    let said = words
        .iter()
        .map(|word| Finding::of_name(word))
        .find(|finding| *finding != Finding::Content);
    said.unwrap_or_else(|| Finding::of_name(name))
}

/// The tool of `Tool 'NAME' denied …`.
fn tool_of(entry: &Value) -> Option<String> {
    let response = text(at(entry, "guardrail_response"))?;
    let (_, rest) = response.split_once("Tool '")?;
    let (tool, after) = rest.split_once('\'')?;
    after.contains("denied").then(|| tool.to_owned())
}
