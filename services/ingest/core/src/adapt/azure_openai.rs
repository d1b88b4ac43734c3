//! Azure OpenAI's diagnostic logs: who called which deployment. They hold no prompt and no verdict
//! of a filter, and status 400 alone proves none.

use serde_json::Value;

use super::draft::Draft;
use super::view::{at, opened, said, without};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "azure-openai",
    about: "Azure OpenAI diagnostic logs (RequestResponse, Audit)",
    recognises: |record| {
        matches!(
            at(record, "category").as_str(),
            Some("RequestResponse" | "Audit")
        ) && at(record, "correlationId").is_string()
            && at(record, "time").is_string()
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let properties = opened(at(record, "properties"));
    let mut rest = without(
        record,
        &["properties", "time", "correlationId", "operationName"],
    );
    if let Some(rest) = rest.as_object_mut() {
        rest.insert(
            "properties".to_owned(),
            without(&properties, &["objectId", "modelName"]),
        );
    }
    let correlation = said(record, &["correlationId"]);
    let draft = Draft::new(record, correlation.clone(), at(record, "time"), context)
        // One call leaves a record in each category.
        .part(at(record, "category").as_str().unwrap_or_default())
        .text("request_id", correlation)
        .text("service_principal", said(&properties, &["objectId"]))
        .address(said(record, &["callerIpAddress"]))
        .text("model", said(&properties, &["modelName"]))
        .text("endpoint", said(record, &["operationName"]))
        .label_of("application", said(&properties, &["modelDeploymentName"]))
        .rest("azure_openai", &rest);
    Ok(vec![draft])
}
