//! The source documents' own record: passed on as it is.

use super::view::at;
use super::{Adapter, Unfit};

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
