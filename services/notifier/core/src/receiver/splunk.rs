//! Splunk HTTP Event Collector, event endpoint. Dedup: none by Splunk; `escalation_id` is in every
//! event for `| dedup escalation_id`. Resolve: none; Splunk appends.

use balefire_event::{Event, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Call;
use crate::body::data;
use crate::classify::{Item, Response, Verdict};
use crate::feed;
use crate::json::{Object, name};
use crate::view::View;

/// Where events go.
pub(crate) const PATH: &str = "/services/collector/event";

/// Configuration of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Index; absent: the token's default.
    #[serde(default)]
    pub index: Option<String>,
    /// Source type. Default: balefire:escalation.
    #[serde(default)]
    pub sourcetype: Option<String>,
    /// The token has indexer acknowledgement: what is sent counts when Splunk says that it is
    /// indexed.
    #[serde(default)]
    pub ack: bool,
}

/// The number under which Splunk says later whether what it took is indexed.
#[must_use]
pub fn ack_id(response: &Response<'_>) -> Option<u64> {
    response.json().get("ackId").and_then(Value::as_u64)
}

/// Asks whether it is.
#[must_use]
pub fn ask(ack_id: u64) -> Call {
    Call::post("/services/collector/ack", &json!({ "acks": [ack_id] }))
}

/// Whether it is; `None`: that is no answer to the question.
#[must_use]
pub fn is_indexed(response: &Response<'_>, ack_id: u64) -> Option<bool> {
    let json = response.json();
    json.get("acks")?.get(ack_id.to_string())?.as_bool()
}

/// One event object.
#[must_use]
pub fn encode(config: &Config, view: &View) -> Call {
    let record = view.record();
    let mut event = json!({
        "time": seconds(record.breach_at),
        "host": "balefire",
        "source": "balefire",
        "sourcetype": config.sourcetype.as_deref().unwrap_or("balefire:escalation"),
        "event": data(record),
        "fields": { "tenant": record.tenant },
    });
    if let (Some(index), Some(map)) = (&config.index, event.as_object_mut()) {
        map.insert("index".into(), index.as_str().into());
    }
    Call::post(PATH, &event)
}

/// One event of the feed. Objects stand one behind the other.
pub fn event(out: &mut Vec<u8>, config: &Config, event: &Event<'_>, tenant: &str) {
    let mut object = Object::open(out);
    write_seconds(object.field(name!("time")), event.occurred_at);
    object.text(name!("host"), "balefire");
    object.text(name!("source"), "balefire");
    let sourcetype = config.sourcetype.as_deref();
    object.text(name!("sourcetype"), sourcetype.unwrap_or("balefire:event"));
    object.only(name!("index"), config.index.as_deref());
    feed::write_document(object.field(name!("event")), event, tenant);
    let mut fields = Object::open(object.field(name!("fields")));
    fields.text(name!("tenant"), tenant);
    fields.close();
    object.close();
}

/// Seconds since 1970 with three decimals.
fn seconds(at: Timestamp) -> f64 {
    let millis = at.0.div_euclid(1_000_000);
    // Whole below 2^53, so that the quotient is the float next to the decimal.
    #[expect(clippy::cast_precision_loss, reason = "13 digits")]
    let seconds = millis as f64 / 1000.0;
    seconds
}

/// The same, as that float is written: digits enough to tell it, and one decimal at least.
fn write_seconds(out: &mut Vec<u8>, at: Timestamp) {
    let millis = at.0.div_euclid(1_000_000);
    if millis < 0 {
        out.push(b'-');
    }
    // The highest i64 has 13 digits as milliseconds.
    let mut digits = *b"0000000000000";
    let mut rest = millis.unsigned_abs();
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    let (whole, decimals) = digits.split_at(10);
    let first = whole.iter().position(|digit| *digit != b'0').unwrap_or(9);
    let last = decimals
        .iter()
        .rposition(|digit| *digit != b'0')
        .unwrap_or(0);
    out.extend_from_slice(whole.get(first..).unwrap_or_default());
    out.push(b'.');
    out.extend_from_slice(decimals.get(..=last).unwrap_or_default());
}

/// By HEC's own code where there is one.
#[must_use]
pub fn classify(response: &Response<'_>) -> Verdict {
    match response.json().get("code").and_then(Value::as_u64) {
        Some(0 | 24 | 25) if response.status == 200 => Verdict::Delivered,
        Some(8 | 9 | 18..=20 | 23 | 26 | 27) => response.again(),
        Some(_) => Verdict::Permanent,
        None => response.by_status(),
    }
}

/// Of a batch of `sent` events: those before `invalid-event-number` are indexed already, that one
/// is refused, those behind it must be sent again.
#[must_use]
pub fn classify_batch(response: &Response<'_>, sent: usize) -> Verdict {
    let json = response.json();
    let refused = json.get("invalid-event-number").and_then(Value::as_u64);
    let Some(refused) = refused.and_then(|number| usize::try_from(number).ok()) else {
        return classify(response);
    };
    let item = |index: usize| match index.cmp(&refused) {
        std::cmp::Ordering::Less => Item::Delivered,
        std::cmp::Ordering::Equal => Item::Permanent,
        std::cmp::Ordering::Greater => Item::Retry { after: None },
    };
    Verdict::Partial((0..sent).map(item).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(at: i64) -> String {
        let mut out = Vec::new();
        write_seconds(&mut out, Timestamp(at));
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn seconds_are_what_serde_writes(at in any::<i64>(), near in -5_000_000_000_i64..5_000_000_000) {
            for at in [at, near, at / 1_000_000_000 * 1_000_000_000] {
                prop_assert_eq!(written(at), serde_json::to_string(&seconds(Timestamp(at))).unwrap());
            }
        }
    }

    #[test]
    fn the_ends_of_time_are_what_serde_writes() {
        for at in [0, 1, -1, 999_999, 1_000_000, -1_000_000, i64::MIN, i64::MAX] {
            assert_eq!(
                written(at),
                serde_json::to_string(&seconds(Timestamp(at))).unwrap()
            );
        }
    }
}
