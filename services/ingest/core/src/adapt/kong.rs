//! Kong's http-log plugin, with what its AI plugins add.

use super::Adapter;
use super::draft::Draft;
use super::view::{at, header, members, said, text, trace_of, whole, without};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "kong",
    about: "Kong http-log records",
    recognises: |record| {
        at(record, "latencies").is_object()
            && at(record, "request").is_object()
            && !at(record, "started_at").is_null()
    },
    adapt: |record, context| {
        let headers = at(record, "request.headers");
        let ai = members(at(record, "ai"))
            .map(|(_, plugin)| plugin)
            .next()
            .unwrap_or(&serde_json::Value::Null);
        let rest = without(
            record,
            &[
                "request.headers",
                "response.headers",
                "client_ip",
                "consumer",
                "started_at",
                "request.querystring",
                "request.body",
                "response.body",
            ],
        );
        let own = said(record, &["request.id"]);
        let draft = Draft::new(record, own.clone(), at(record, "started_at"), context)
            .text("request_id", header(headers, "x-request-id").or(own))
            .text(
                "trace_id",
                header(headers, "traceparent").and_then(|said| trace_of(&said)),
            )
            .text(
                "user_id",
                said(record, &["consumer.custom_id", "consumer.username"]),
            )
            .text("api_key_id", said(record, &["authenticated_entity.id"]))
            .address(said(record, &["client_ip"]))
            .text("endpoint", said(record, &["request.uri"]))
            .text(
                "model",
                text(at(ai, "meta.response_model")).or_else(|| text(at(ai, "meta.request_model"))),
            )
            .whole("tokens_in", whole(at(ai, "usage.prompt_tokens")))
            .whole("tokens_out", whole(at(ai, "usage.completion_tokens")))
            .label_of("application", said(record, &["route.name", "service.name"]))
            .rest("kong", &rest);
        Ok(vec![draft])
    },
};
