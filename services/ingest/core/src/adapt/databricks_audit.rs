//! Databricks' audit log, `system.access.audit`: who called which serving endpoint.

use serde_json::Value;

use super::draft::Draft;
use super::view::{at, first, opened, said, without};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "databricks-audit",
    about: "Databricks system.access.audit",
    recognises: |record| {
        let named = |snake: &str, camel: &str| {
            at(record, snake).is_string() || at(record, camel).is_string()
        };
        named("service_name", "serviceName")
            && named("action_name", "actionName")
            && (!at(record, "user_identity").is_null() || !at(record, "userIdentity").is_null())
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    // A struct in the table, text where it was exported.
    let identity = opened(first(record, &["user_identity", "userIdentity"]));
    let who = said(&identity, &["email", "subject_name", "subjectName"]);
    let (user, principal) = match who {
        Some(email) if email.contains('@') => (Some(email), None),
        other => (None, other),
    };
    let rest = without(
        record,
        &[
            "user_identity",
            "userIdentity",
            "source_ip_address",
            "sourceIPAddress",
            "event_time",
            "request_id",
            "identity_metadata",
        ],
    );
    let parameters = opened(first(record, &["request_params", "requestParams"]));
    let time = first(record, &["event_time", "timestamp"]);
    let draft = Draft::new(
        record,
        said(record, &["event_id", "eventId", "request_id", "requestId"]),
        time,
        context,
    )
    .text("request_id", said(record, &["request_id", "requestId"]))
    .text("session_id", said(record, &["session_id", "sessionId"]))
    .text("user_id", user)
    .text("service_principal", principal)
    .address(said(record, &["source_ip_address", "sourceIPAddress"]))
    .text("endpoint", said(record, &["action_name", "actionName"]))
    .label_of("application", said(&parameters, &["name"]))
    .rest("databricks_audit", &rest);
    Ok(vec![draft])
}
