//! Envoy's JSON access log. Its names are the operator's choice: these are those of
//! docs/sources/envoy.md, and a field map reads any other.

use super::Adapter;
use super::draft::Draft;
use super::view::{at, said, trace_of, without};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "envoy",
    about: "Envoy JSON access logs",
    recognises: |record| {
        at(record, "start_time").is_string()
            && !at(record, "response_code").is_null()
            && (at(record, "response_flags").is_string()
                || at(record, "upstream_cluster").is_string())
    },
    adapt: |record, context| {
        let request = said(record, &["request_id", "x_request_id", "x-request-id"]);
        let trace = said(record, &["traceparent"]).and_then(|said| trace_of(&said));
        let rest = without(
            record,
            &[
                "start_time",
                "request_id",
                "x_request_id",
                "x-request-id",
                "user_sub",
                "user_id",
                "user",
                "jwt_sub",
                "x_forwarded_for",
                "downstream_remote_address",
                "client_ip",
                "path",
            ],
        );
        let draft = Draft::new(record, request.clone(), at(record, "start_time"), context)
            .text("request_id", request)
            .text("trace_id", trace.or_else(|| said(record, &["trace_id"])))
            .text("session_id", said(record, &["session_id"]))
            .text(
                "user_id",
                said(record, &["user_sub", "user_id", "jwt_sub", "user"]),
            )
            .text("api_key_id", said(record, &["api_key_id"]))
            .address(said(
                record,
                &["x_forwarded_for", "client_ip", "downstream_remote_address"],
            ))
            .text("endpoint", said(record, &["path", "x_envoy_original_path"]))
            .label_of("application", said(record, &["upstream_cluster"]))
            .rest("envoy", &rest);
        Ok(vec![draft])
    },
};
