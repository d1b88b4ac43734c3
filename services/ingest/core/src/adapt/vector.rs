//! A vector database's query log, in the JSON of docs/sources/vector.md. No vendor's log is a
//! standard; a field map reads any other.

use super::Adapter;
use super::draft::Draft;
use super::view::{at, first, said, trace_of, without};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "vector",
    about: "vector database query logs",
    recognises: |record| {
        let is = |name: &str| !at(record, name).is_null();
        (is("collection") || is("index") || is("namespace"))
            && (is("top_k") || is("limit"))
            && is("service_account")
    },
    adapt: |record, context| {
        let rest = without(
            record,
            &[
                "request_id",
                "trace_id",
                "service_account",
                "user",
                "client_ip",
                "vector",
                "query",
                "filter",
            ],
        );
        let time = first(record, &["timestamp", "time"]);
        let trace = said(record, &["traceparent"]).and_then(|said| trace_of(&said));
        let draft = Draft::new(record, said(record, &["query_id", "id"]), time, context)
            .text("request_id", said(record, &["request_id"]))
            .text("trace_id", trace.or_else(|| said(record, &["trace_id"])))
            .text("user_id", said(record, &["user", "user_id"]))
            .text("service_principal", said(record, &["service_account"]))
            .address(said(record, &["client_ip"]))
            .text(
                "endpoint",
                said(record, &["collection", "index", "namespace"]),
            )
            .rest("vector", &rest);
        Ok(vec![draft])
    },
};
