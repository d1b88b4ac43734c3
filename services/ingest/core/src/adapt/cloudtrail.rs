//! AWS CloudTrail: who called Bedrock, and who took a guardrail or a log away.

use serde_json::Value;

use super::draft::Draft;
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, said, without};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "cloudtrail",
    about: "AWS CloudTrail events of Bedrock: identity, tampering",
    recognises: |record| {
        at(record, "eventSource").is_string()
            && at(record, "eventName").is_string()
            && at(record, "userIdentity").is_object()
    },
    adapt,
};

/// Calls that take a protection or a trace away.
const TAMPERING: [&str; 8] = [
    "UpdateGuardrail",
    "DeleteGuardrail",
    "DeleteGuardrailVersion",
    "DeleteEnforcedGuardrailConfiguration",
    "DeleteModelInvocationLoggingConfiguration",
    "PutModelInvocationLoggingConfiguration",
    "StopLogging",
    "DeleteTrail",
];

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let arn = said(record, &["userIdentity.arn"]);
    let name = said(record, &["eventName"]).unwrap_or_default();
    let rest = without(
        record,
        &[
            "userIdentity.arn",
            "eventTime",
            "requestID",
            "eventID",
            "sourceIPAddress",
            "userIdentity.accessKeyId",
        ],
    );
    let base = Draft::new(
        record,
        said(record, &["eventID"]),
        at(record, "eventTime"),
        context,
    )
    .text("request_id", said(record, &["requestID"]))
    .text("user_id", user(record, arn.as_deref()))
    .text("service_principal", arn)
    .text("api_key_id", said(record, &["userIdentity.accessKeyId"]))
    .address(said(record, &["sourceIPAddress"]))
    .text("model", said(record, &["requestParameters.modelId"]))
    .text("endpoint", Some(name.clone()))
    .rest("cloudtrail", &rest);
    if !TAMPERING.contains(&name.as_str()) {
        return Ok(vec![base]);
    }
    // Refused by IAM it is an attempt.
    let action = match at(record, "errorCode").is_null() {
        true => Action::Blocked,
        false => Action::Detected,
    };
    let done = if action == Action::Blocked {
        "succeeded"
    } else {
        "denied"
    };
    let hit = Hit::new(Finding::ControlTamper, action, name);
    let events = finding::events(base, &[hit]).into_iter();
    Ok(events
        .map(|event| event.text("guardrail_result", Some(done.to_owned())))
        .collect())
}

/// The human, where the record names one: an IAM user, or who signed in through Identity Center.
/// The session of any other role is a workload.
fn user(record: &Value, arn: Option<&str>) -> Option<String> {
    if at(record, "userIdentity.type") == "IAMUser" {
        return said(record, &["userIdentity.userName"]);
    }
    let (_, session) = arn?.split_once("assumed-role/AWSReservedSSO_")?;
    session.split_once('/').map(|(_, user)| user.to_owned())
}
