//! Any bytes as OTLP protobuf: read or not, and what was read goes through the adapters.

use balefire_event::Timestamp;
use balefire_ingest_core::adapt::{self, Choice, Context, otlp_wire};

/// What the target does.
pub fn run(bytes: &[u8]) {
    let context = Context::at(Timestamp(1_770_820_200_000_000_000));
    for value in [otlp_wire::traces(bytes), otlp_wire::logs(bytes)]
        .into_iter()
        .flatten()
    {
        let _read = adapt::read_value(Choice::Auto, &value, &context);
    }
}
