//! Amazon API Gateway's access log, in the JSON of docs/sources/aws-gateway.md.

use super::Adapter;
use super::draft::Draft;
use super::view::{at, said, without};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "aws-gateway",
    about: "Amazon API Gateway access logs as JSON",
    recognises: |record| {
        at(record, "requestId").is_string()
            && at(record, "httpMethod").is_string()
            && at(record, "requestTime").is_string()
    },
    adapt: |record, context| {
        let rest = without(
            record,
            &["requestId", "ip", "requestTime", "apiKeyId", "resourcePath"],
        );
        let draft = Draft::new(
            record,
            said(record, &["requestId"]),
            at(record, "requestTime"),
            context,
        )
        .text("request_id", said(record, &["requestId"]))
        .text(
            "user_id",
            said(record, &["user", "cognitoSub", "principalId"]),
        )
        .text("api_key_id", said(record, &["apiKeyId"]))
        .text("service_principal", said(record, &["caller", "userArn"]))
        .address(said(record, &["ip"]))
        .text("endpoint", said(record, &["resourcePath"]))
        .rest("aws_gateway", &rest);
        Ok(vec![draft])
    },
};
