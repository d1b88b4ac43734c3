//! What Balefire answers, as Terraform shows it.

use balefire_control::{Fault, Kind, Object};
use rmpv::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::dynamic::{Fields, of_own, of_words};
use crate::plan::{error, of_fault, state};
use crate::platform::Platform;
use crate::{schema, tfplugin6 as tf};

/// What a refusal looks like in Terraform: fields on their lines, else what to do.
pub fn refused(doing: &str, status: &Status) -> Vec<tf::Diagnostic> {
    let bad = status
        .get_details_bad_request()
        .map(|bad| bad.field_violations);
    let faults: Vec<tf::Diagnostic> = bad
        .into_iter()
        .flatten()
        .map(|violation| {
            of_fault(&Fault {
                path: violation.field,
                message: violation.description,
            })
        })
        .collect();
    if !faults.is_empty() {
        return faults;
    }
    let (summary, hint) = match status.code() {
        Code::Aborted => (
            "Changed since the plan was made",
            "Plan again: terraform plan shows what is there now.",
        ),
        Code::AlreadyExists => (
            "It is there already",
            "Import it: terraform import ADDRESS NAME.",
        ),
        Code::FailedPrecondition => (
            "Refused",
            "To take over what another tool owns, set override = true in the provider block.",
        ),
        Code::Unavailable => (
            "Balefire does not answer",
            "See that it runs, and that endpoint in the provider block is its address.",
        ),
        Code::Unauthenticated | Code::PermissionDenied => (
            "Not allowed",
            "The token in the provider block needs the scope operate.",
        ),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::ResourceExhausted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => ("Refused", ""),
    };
    let detail = format!("{doing}: {}\n{hint}", status.message());
    vec![error(summary, detail.trim_end(), None)]
}

/// What a data source tells of an object.
pub fn told(kind: Kind, object: &Object) -> Fields {
    let mut fields = state(kind, object, &Fields::new());
    fields.remove(schema::TOKEN);
    fields.remove(schema::TOKEN_VERSION);
    fields.insert("labels".into(), of_words(&object.labels));
    fields.insert("managed_by".into(), Value::from(object.managed_by.as_str()));
    for field in kind.fields().iter().filter(|field| field.operational) {
        let value = object.spec.get(field.name).map_or(Value::Nil, of_own);
        fields.insert(field.name.into(), value);
    }
    fields
}

/// What `balefire_platform` tells.
///
/// # Errors
/// Where Balefire does not answer.
pub async fn platform_state(platform: &Platform) -> Result<Fields, Vec<tf::Diagnostic>> {
    let services = platform.status().await;
    let services = services.map_err(|status| refused("read the status", &status))?;
    let revision = services
        .iter()
        .flat_map(|service| &service.counters)
        .find(|counter| counter.name == "control_revision")
        .map_or(Value::Nil, |counter| Value::from(counter.value));
    let version = services.first().map(|service| service.version.as_str());
    let names = services
        .iter()
        .map(|service| Value::from(service.service.as_str()));
    Ok([
        ("id".to_owned(), Value::from(platform.endpoint.as_str())),
        (
            "ready".to_owned(),
            Value::from(services.iter().all(|service| service.ready)),
        ),
        (
            "version".to_owned(),
            version.map_or(Value::Nil, Value::from),
        ),
        ("control_revision".to_owned(), revision),
        ("services".to_owned(), Value::Array(names.collect())),
    ]
    .into())
}
