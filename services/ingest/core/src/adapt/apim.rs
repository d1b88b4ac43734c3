//! Azure API Management's gateway logs: who called through which subscription, and what the
//! content filter said where the body was logged.

use serde_json::Value;

use super::draft::Draft;
use super::finding;
use super::view::{at, header, opened, said, trace_of, without};
use super::{Adapter, Context, Unfit, azure_filter};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "azure-apim",
    about: "Azure API Management gateway logs",
    recognises: |record| {
        at(record, "category") == "GatewayLogs" && !at(record, "properties").is_null()
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let properties = opened(at(record, "properties"));
    let headers = opened(at(&properties, "requestHeaders"));
    let bodies = ["responseBody", "backendResponseBody"].map(|name| opened(at(&properties, name)));
    let body = bodies
        .iter()
        .find(|body| body.is_object())
        .unwrap_or(&Value::Null);
    let correlation = said(record, &["correlationId"]);
    let client = header(&headers, "x-ms-client-request-id");
    let mut rest = without(record, &["properties", "time", "callerIpAddress"]);
    if let Some(rest) = rest.as_object_mut() {
        let bodies = [
            "requestBody",
            "backendRequestBody",
            "responseBody",
            "backendResponseBody",
            "requestHeaders",
        ];
        rest.insert("properties".to_owned(), without(&properties, &bodies));
    }
    // A body over 8 KiB is cut, and is no JSON any more.
    let cut = bodies.iter().any(Value::is_string);
    let base = Draft::new(record, correlation.clone(), at(record, "time"), context)
        .text("request_id", client.or(correlation))
        .text(
            "trace_id",
            header(&headers, "traceparent").and_then(|said| trace_of(&said)),
        )
        .text("user_id", said(&properties, &["userId"]))
        .text("api_key_id", said(&properties, &["apimSubscriptionId"]))
        .address(said(record, &["callerIpAddress"]))
        .text("endpoint", said(&properties, &["url"]))
        .label_of("application", said(&properties, &["apiId"]))
        .label("body_cut", if cut { "true" } else { "" })
        .rest("azure_apim", &rest);
    Ok(finding::events(base, &azure_filter::hits(body)))
}
