//! LiteLLM's question to a generic guardrail before a call: who asks, and nothing of what is said.

use super::Adapter;
use super::draft::Draft;
use super::view::{at, header, said, trace_of};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "litellm-decision",
    about: "LiteLLM generic_guardrail_api requests: identity only",
    recognises: |record| {
        at(record, "litellm_call_id").is_string()
            && at(record, "request_data").is_object()
            && at(record, "input_type").is_string()
    },
    adapt: |record, context| {
        let id = said(record, &["litellm_call_id"]);
        let traceparent = header(at(record, "request_headers"), "traceparent");
        let draft = Draft::new(record, id.clone(), at(record, "timestamp"), context)
            .part(
                at(record, "input_type")
                    .as_str()
                    .filter(|kind| kind.len() < 16)
                    .unwrap_or_default(),
            )
            .text("request_id", id)
            .text("trace_id", traceparent.and_then(|said| trace_of(&said)))
            .text(
                "user_id",
                said(
                    record,
                    &[
                        "request_data.user_api_key_end_user_id",
                        "request_data.user_api_key_user_email",
                    ],
                ),
            )
            .text(
                "api_key_id",
                said(record, &["request_data.user_api_key_hash"]),
            )
            .text("model", said(record, &["model"]));
        Ok(vec![draft])
    },
};
