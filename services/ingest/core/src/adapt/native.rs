//! The source documents' own record: passed on as it is.

use serde_json::Value;

use super::view::at;
use super::{Adapted, Adapter, Context, Unfit};

/// The source's name.
pub const NAME: &str = "native";

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: NAME,
    about: "the JSON event of docs/events.md",
    recognises: |record| {
        at(record, "event_type") == "ai_security"
            || at(record, "category").is_string() && at(record, "timestamp").is_string()
    },
    adapt: |_, _| Err(Unfit("is passed on as it is")),
};

/// A record as it is; one without an id gets that of its delivery.
#[must_use]
pub fn named(json: Vec<u8>, record: &Value, context: &Context) -> Adapted {
    let has_id = !at(record, "event_id").is_null();
    let open = json.iter().position(|byte| *byte == b'{');
    let json = match open {
        Some(open) if !has_id && !context.delivery.is_empty() => {
            let (before, after) = json.split_at(open + 1);
            let id = format!("\"event_id\":\"{}\",", context.delivery);
            [before, id.as_bytes(), after].concat()
        }
        Some(_) | None => json,
    };
    Adapted { source: NAME, json }
}
