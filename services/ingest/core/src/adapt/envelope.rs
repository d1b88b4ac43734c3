//! What transports wrap records in, taken off: arrays, CloudWatch subscriptions, Kinesis and
//! Firehose, EventBridge, Event Hubs and diagnostic settings, Event Grid, CloudEvents, Alertmanager's
//! webhook; gzip and base64 within.

use std::io::Read as _;

use balefire_event::limits::REQUEST_BYTES_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::view::{at, list, parse};
use super::{Context, Refused};

/// Wrappings within each other, at most.
pub const DEPTH_MAX: usize = 6;
/// Records of one body, at most.
pub const RECORDS_MAX: usize = 16_384;

const NO_JSON: &str = "not a JSON object or array of at most 64 levels";
const TOO_DEEP: &str = "too many wrappings within each other";
const TOO_LARGE: &str = "unpacked, a body may have 4 MiB";
const TOO_MANY: &str = "a body may hold 16384 records; split it";

/// A record, and what its wrapping says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The record.
    pub record: Value,
    /// Of the innermost CloudEvent it came in, or of the body.
    pub context: Context,
}

/// The records of a body, each parsed.
#[must_use]
pub fn open(bytes: &[u8], context: &Context) -> Vec<Result<Opened, Refused>> {
    let mut opening = Opening {
        records: Vec::new(),
        bytes_left: REQUEST_BYTES_MAX,
    };
    opening.packed(bytes, context, 0);
    opening.records
}

struct Opening {
    records: Vec<Result<Opened, Refused>>,
    /// Of what may be unpacked: a bomb is refused before it is unpacked whole.
    bytes_left: usize,
}

impl Opening {
    fn refuse(&mut self, why: &'static str, record: &[u8]) {
        let record = record.to_vec();
        self.records.push(Err(Refused { why, record }));
    }

    fn packed(&mut self, bytes: &[u8], context: &Context, depth: usize) {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            match self.unpack(bytes) {
                Some(unpacked) => self.packed_text(&unpacked, context, depth),
                None => self.refuse(TOO_LARGE, &[]),
            }
            return;
        }
        self.packed_text(bytes, context, depth);
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let limit = u64::try_from(self.bytes_left).unwrap_or(u64::MAX);
        let mut unpacked = Vec::new();
        let reader = flate2::read::MultiGzDecoder::new(bytes);
        reader.take(limit + 1).read_to_end(&mut unpacked).ok()?;
        self.bytes_left = self.bytes_left.checked_sub(unpacked.len())?;
        Some(unpacked)
    }

    fn packed_text(&mut self, bytes: &[u8], context: &Context, depth: usize) {
        match parse(bytes) {
            Some(value) => self.value(value, context, depth),
            // Firehose and CloudWatch join documents by nothing or by an end of line.
            None => match lines(bytes) {
                Some(values) => values
                    .into_iter()
                    .for_each(|value| self.value(value, context, depth)),
                None => self.refuse(NO_JSON, bytes),
            },
        }
    }

    fn value(&mut self, value: Value, context: &Context, depth: usize) {
        if self.records.len() >= RECORDS_MAX {
            if self.records.len() == RECORDS_MAX {
                self.refuse(TOO_MANY, &[]);
            }
            return;
        }
        if depth > DEPTH_MAX {
            self.refuse(TOO_DEEP, value.to_string().as_bytes());
            return;
        }
        let of_event = cloud_event(&value, context).or_else(|| grid_event(&value, context));
        let context = of_event.as_ref().unwrap_or(context);
        match inner(&value) {
            Inner::Record => self.records.push(Ok(Opened {
                record: value,
                context: context.clone(),
            })),
            Inner::Nothing => {}
            Inner::Values(values) => {
                for value in values.iter().cloned() {
                    self.value(value, context, depth + 1);
                }
            }
            Inner::Texts(texts) => {
                for text in texts {
                    self.packed_text(text.as_bytes(), context, depth + 1);
                }
            }
            Inner::Packed(texts) => {
                for text in texts {
                    match STANDARD.decode(text.trim()) {
                        Ok(bytes) => self.packed(&bytes, context, depth + 1),
                        Err(_) => self.refuse("data is no base64", &[]),
                    }
                }
            }
        }
    }
}

/// Documents behind each other, where there are several.
fn lines(bytes: &[u8]) -> Option<Vec<Value>> {
    let text = std::str::from_utf8(bytes).ok()?;
    if !text.trim_start().starts_with('{') || crate::json::too_deep(text) {
        return None;
    }
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let values: Vec<Value> = values
        .take(RECORDS_MAX + 1)
        .collect::<Result<_, _>>()
        .ok()?;
    Some(values)
}

/// What a value is.
enum Inner<'v> {
    /// A record itself.
    Record,
    /// An envelope that says only that somebody is there.
    Nothing,
    /// An envelope of values.
    Values(&'v [Value]),
    /// An envelope of JSON texts.
    Texts(Vec<&'v str>),
    /// An envelope of base64.
    Packed(Vec<&'v str>),
}

fn is_cloud_event(value: &Value) -> bool {
    at(value, "specversion").is_string() && at(value, "type").is_string()
}

/// What a CloudEvent says of its data; `None` of anything else.
fn cloud_event(value: &Value, context: &Context) -> Option<Context> {
    if !is_cloud_event(value) {
        return None;
    }
    let said = |name| at(value, name).as_str().unwrap_or_default();
    Some(context.of_cloud_event(said("source"), said("id"), said("time")))
}

/// An event in Event Grid's own schema.
fn is_grid_event(value: &Value) -> bool {
    let is = |name| at(value, name).is_string();
    is("eventType") && is("eventTime") && is("subject") && at(value, "data").is_object()
}

/// What Event Grid says of its data; `None` of anything else.
fn grid_event(value: &Value, context: &Context) -> Option<Context> {
    if !is_grid_event(value) {
        return None;
    }
    let said = |name| at(value, name).as_str().unwrap_or_default();
    Some(context.of_cloud_event(said("topic"), said("id"), said("eventTime")))
}

fn inner(value: &Value) -> Inner<'_> {
    if let Value::Array(values) = value {
        return Inner::Values(values);
    }
    let one = |path| std::slice::from_ref(at(value, path));
    if at(value, "logEvents").is_array() && at(value, "logGroup").is_string() {
        if at(value, "messageType") == "CONTROL_MESSAGE" {
            return Inner::Nothing;
        }
        return Inner::Texts(texts(list(at(value, "logEvents")), "message"));
    }
    if is_cloud_event(value) {
        return match at(value, "data_base64").as_str() {
            Some(packed) => Inner::Packed(vec![packed]),
            None if at(value, "data").is_object() => Inner::Values(one("data")),
            None => Inner::Record,
        };
    }
    if is_grid_event(value) {
        return Inner::Values(one("data"));
    }
    if at(value, "detail-type").is_string() && at(value, "detail").is_object() {
        return Inner::Values(one("detail"));
    }
    if at(value, "groupKey").is_string()
        && let Some(alerts) = at(value, "alerts").as_array()
    {
        return Inner::Values(alerts);
    }
    wrapped(value).unwrap_or(Inner::Record)
}

/// Lists under the name `records`: Firehose's, Kinesis', CloudTrail's, diagnostic settings'.
fn wrapped(value: &Value) -> Option<Inner<'_>> {
    let records = ["records", "Records"].map(|name| at(value, name));
    let records = records.into_iter().find_map(Value::as_array)?;
    let first = records.first();
    let has = |path: &str| first.is_some_and(|first| at(first, path).is_string());
    Some(if has("kinesis.data") {
        Inner::Packed(texts(records, "kinesis.data"))
    } else if has("data") && at(value, "requestId").is_string() {
        Inner::Packed(texts(records, "data"))
    } else {
        Inner::Values(records)
    })
}

fn texts<'v>(records: &'v [Value], path: &str) -> Vec<&'v str> {
    let texts = records.iter().map(|record| at(record, path).as_str());
    texts.map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn nowhere() -> Context {
        Context::at(balefire_event::Timestamp(0))
    }

    fn opened(value: &Value) -> Vec<Result<Value, &'static str>> {
        let records = open(value.to_string().as_bytes(), &nowhere());
        records
            .into_iter()
            .map(|one| {
                one.map(|opened| opened.record)
                    .map_err(|refused| refused.why)
            })
            .collect()
    }

    fn subscription(messages: &[&str]) -> Value {
        let events: Vec<Value> = messages
            .iter()
            .map(|message| json!({"message": message}))
            .collect();
        json!({"messageType": "DATA_MESSAGE", "logGroup": "g", "logEvents": events})
    }

    #[test]
    fn every_transports_wrapping_is_taken_off() {
        let record = json!({"a": 1});
        let packed = STANDARD.encode(gzip(subscription(&[r#"{"a":1}"#]).to_string().as_bytes()));
        let lines = STANDARD.encode(b"{\"a\":1}\n");
        for wrapped in [
            record.clone(),
            json!([record]),
            json!({"records": [record]}),
            json!({"Records": [record]}),
            json!({"requestId": "r", "timestamp": 1, "records": [{"data": packed}]}),
            json!({"requestId": "r", "timestamp": 1, "records": [{"data": lines}]}),
            json!({"Records": [{"kinesis": {"data": packed}}]}),
            json!({"detail-type": "AWS API Call via CloudTrail", "source": "aws.bedrock", "detail": record}),
            json!({"version": "4", "groupKey": "{}:{}", "status": "firing", "alerts": [record]}),
            json!({"specversion": "1.0", "type": "t", "source": "s", "id": "1", "data": record}),
            json!({"specversion": "1.0", "type": "t", "source": "s", "id": "1", "data_base64": lines}),
            json!([{"topic": "t", "subject": "s", "id": "1", "eventType": "e", "eventTime": "2026-11-22T10:30:00Z",
                "data": record, "dataVersion": "1"}]),
            subscription(&[r#"{"a":1}"#]),
        ] {
            assert_eq!(opened(&wrapped), [Ok(record.clone())], "{wrapped}");
        }
    }

    #[test]
    fn a_control_message_holds_nothing_and_a_bad_record_harms_no_other() {
        let mut control = subscription(&["CWL CONTROL MESSAGE: Checking health"]);
        control["messageType"] = json!("CONTROL_MESSAGE");
        assert_eq!(opened(&control), []);
        let mixed = subscription(&["plain text", r#"{"a":1}"#]);
        assert_eq!(opened(&mixed), [Err(NO_JSON), Ok(json!({"a": 1}))]);
    }

    #[test]
    fn bombs_and_nests_are_refused() {
        let bomb = STANDARD.encode(gzip(&vec![b' '; 8 * 1024 * 1024]));
        let firehose = json!({"requestId": "r", "records": [{"data": bomb}]});
        assert_eq!(opened(&firehose), [Err(TOO_LARGE)]);
        let half = STANDARD.encode(gzip(&vec![b' '; REQUEST_BYTES_MAX - 10]));
        let twice = json!({"requestId": "r", "records": [{"data": half}, {"data": half}]});
        assert_eq!(
            opened(&twice),
            [Err(NO_JSON), Err(TOO_LARGE)],
            "the sum counts"
        );
        let mut nested = json!({"a": 1});
        for _ in 0..DEPTH_MAX + 1 {
            nested = json!({"records": [nested]});
        }
        assert_eq!(opened(&nested).len(), 1);
        assert!(opened(&nested)[0].is_err());
        let deep = "[".repeat(65) + &"]".repeat(65);
        assert_eq!(
            open(deep.as_bytes(), &nowhere())[0]
                .as_ref()
                .unwrap_err()
                .why,
            NO_JSON
        );
    }
}
