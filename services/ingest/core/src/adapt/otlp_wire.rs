//! OTLP's protobuf as the JSON that [`super::otlp`] reads: the subset that it looks at, by the
//! documented field numbers of opentelemetry-proto 1.x. Other fields are passed over.

use serde_json::{Map, Value};

/// Messages within each other, at most.
const DEPTH_MAX: usize = 40;
/// Fields of one request, at most: a tree of empty messages would weigh far more than its bytes.
const FIELDS_MAX: usize = 400_000;

/// How a field is read.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// An id, as hexadecimal.
    Id,
    Fixed,
    Whole,
    Flag,
    Double,
    One(&'static [Field]),
    Many(&'static [Field]),
}

/// Number, name, kind.
type Field = (u64, &'static str, Kind);

static ANY: [Field; 5] = [
    (1, "stringValue", Kind::Text),
    (2, "boolValue", Kind::Flag),
    (3, "intValue", Kind::Whole),
    (4, "doubleValue", Kind::Double),
    (5, "arrayValue", Kind::One(&ARRAY)),
];
static ARRAY: [Field; 1] = [(1, "values", Kind::Many(&ANY))];
static PAIR: [Field; 2] = [(1, "key", Kind::Text), (2, "value", Kind::One(&ANY))];
static RESOURCE: [Field; 1] = [(1, "attributes", Kind::Many(&PAIR))];
static EVENT: [Field; 3] = [
    (1, "timeUnixNano", Kind::Fixed),
    (2, "name", Kind::Text),
    (3, "attributes", Kind::Many(&PAIR)),
];
static SPAN: [Field; 7] = [
    (1, "traceId", Kind::Id),
    (2, "spanId", Kind::Id),
    (5, "name", Kind::Text),
    (7, "startTimeUnixNano", Kind::Fixed),
    (8, "endTimeUnixNano", Kind::Fixed),
    (9, "attributes", Kind::Many(&PAIR)),
    (11, "events", Kind::Many(&EVENT)),
];
static LOG: [Field; 8] = [
    (1, "timeUnixNano", Kind::Fixed),
    (2, "severityNumber", Kind::Whole),
    (5, "body", Kind::One(&ANY)),
    (6, "attributes", Kind::Many(&PAIR)),
    (9, "traceId", Kind::Id),
    (10, "spanId", Kind::Id),
    (11, "observedTimeUnixNano", Kind::Fixed),
    (12, "eventName", Kind::Text),
];
static SCOPE_SPANS: [Field; 1] = [(2, "spans", Kind::Many(&SPAN))];
static SCOPE_LOGS: [Field; 1] = [(2, "logRecords", Kind::Many(&LOG))];
static SPANS: [Field; 2] = [
    (1, "resource", Kind::One(&RESOURCE)),
    (2, "scopeSpans", Kind::Many(&SCOPE_SPANS)),
];
static LOGS: [Field; 2] = [
    (1, "resource", Kind::One(&RESOURCE)),
    (2, "scopeLogs", Kind::Many(&SCOPE_LOGS)),
];

/// An `ExportTraceServiceRequest`. `None` where the bytes are none.
#[must_use]
pub fn traces(bytes: &[u8]) -> Option<Value> {
    request(bytes, &[(1, "resourceSpans", Kind::Many(&SPANS))])
}

/// An `ExportLogsServiceRequest`. `None` where the bytes are none.
#[must_use]
pub fn logs(bytes: &[u8]) -> Option<Value> {
    request(bytes, &[(1, "resourceLogs", Kind::Many(&LOGS))])
}

fn request(bytes: &[u8], fields: &[Field]) -> Option<Value> {
    let mut fields_left = FIELDS_MAX;
    message(bytes, fields, DEPTH_MAX, &mut fields_left)
}

/// What stands behind a tag.
enum Raw<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

fn message(mut bytes: &[u8], fields: &[Field], depth: usize, left: &mut usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut object = Map::new();
    while !bytes.is_empty() {
        *left = left.checked_sub(1)?;
        let tag = varint(&mut bytes)?;
        let raw = raw(&mut bytes, tag & 7)?;
        let field = fields.iter().find(|(number, ..)| *number == tag >> 3);
        let Some((_, name, kind)) = field else {
            continue;
        };
        let (value, many) = match (kind, raw) {
            (Kind::One(inner), Raw::Bytes(bytes)) => (message(bytes, inner, depth, left)?, false),
            (Kind::Many(inner), Raw::Bytes(bytes)) => (message(bytes, inner, depth, left)?, true),
            (kind, raw) => (plain(*kind, &raw)?, false),
        };
        let entry = object.entry((*name).to_owned());
        if many {
            let list = entry.or_insert_with(|| Value::Array(Vec::new()));
            list.as_array_mut()?.push(value);
        } else {
            *entry.or_insert(Value::Null) = value;
        }
    }
    Some(Value::Object(object))
}

fn plain(kind: Kind, raw: &Raw<'_>) -> Option<Value> {
    Some(match (kind, raw) {
        (Kind::Text, Raw::Bytes(bytes)) => Value::from(std::str::from_utf8(bytes).ok()?),
        (Kind::Id, Raw::Bytes(bytes)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Value::from(hex)
        }
        (Kind::Fixed, Raw::Number(number)) => Value::from(number.to_string()),
        (Kind::Whole, Raw::Number(number)) => Value::from(number.cast_signed()),
        (Kind::Flag, Raw::Number(number)) => Value::from(*number != 0),
        (Kind::Double, Raw::Number(number)) => Value::from(f64::from_bits(*number)),
        // A field of another type than documented.
        (
            Kind::Text
            | Kind::Id
            | Kind::Fixed
            | Kind::Whole
            | Kind::Flag
            | Kind::Double
            | Kind::One(_)
            | Kind::Many(_),
            Raw::Number(_) | Raw::Bytes(_),
        ) => return None,
    })
}

fn raw<'b>(bytes: &mut &'b [u8], wire_type: u64) -> Option<Raw<'b>> {
    Some(match wire_type {
        0 => Raw::Number(varint(bytes)?),
        1 => Raw::Number(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?)),
        2 => {
            let len = usize::try_from(varint(bytes)?).ok()?;
            Raw::Bytes(take(bytes, len)?)
        }
        5 => Raw::Number(u64::from(u32::from_le_bytes(
            take(bytes, 4)?.try_into().ok()?,
        ))),
        _ => return None,
    })
}

fn take<'b>(bytes: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn field(number: u8, inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        assert!(inner.len() < 128 * 128);
        if inner.len() >= 128 {
            bytes.push(u8::try_from(inner.len() & 0x7f).unwrap() | 0x80);
            bytes.push(u8::try_from(inner.len() >> 7).unwrap());
        } else {
            bytes.push(u8::try_from(inner.len()).unwrap());
        }
        bytes.extend(inner);
        bytes
    }

    #[test]
    fn a_span_reads_as_its_json() {
        let value = field(1, b"gpt-4o");
        let pair = [field(1, b"gen_ai.request.model"), field(2, &value)].concat();
        let mut span = [field(1, &[0xab; 16]), field(2, &[1; 8]), field(9, &pair)].concat();
        span.push(7 << 3 | 1);
        span.extend(1_795_343_400_000_000_000_u64.to_le_bytes());
        span.extend(field(15, b"a status, passed over"));
        let spans = field(2, &field(2, &span));
        let expected = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
            "traceId": "ab".repeat(16), "spanId": "01".repeat(8),
            "startTimeUnixNano": "1795343400000000000",
            "attributes": [{"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}}],
        }]}]}]});
        assert_eq!(traces(&field(1, &spans)), Some(expected));
        assert_eq!(traces(&[0x0a, 0x05, 1]), None, "cut");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (traces(&bytes), logs(&bytes));
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let mut any = field(1, b"x");
        for _ in 0..DEPTH_MAX {
            any = field(5, &field(1, &any));
        }
        let pair = field(2, &any);
        let request = field(1, &field(1, &field(1, &pair)));
        assert_eq!(traces(&request), None);
    }
}
