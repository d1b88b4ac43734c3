//! The only crate that knows protobuf: the generated contract, and the way between its bytes and
//! the vocabulary of `balefire-event`.
//!
//! - [`event_codec`]: an event's bytes, written in two parts and read without a copy.
//! - [`batch`]: a log message, written from encoded records and read record by record.
//! - [`record`]: one record of a batch.
//! - [`letter`]: a dead letter of which many are kept.
//! - [`codec`]: gRPC messages, counted before they are decoded.
//! - `convert`: `From` and `TryFrom` between event types and generated types.
//!
//! Never panics on any bytes. Never reads a clock, never does IO.

pub mod batch;
mod bytes_reader;
mod bytes_writer;
pub mod codec;
mod convert;
mod error;
pub mod event_codec;
mod generated;
pub mod hint_codec;
pub mod letter;
mod part_codec;
mod quick;
pub mod record;

pub use batch::{BatchView, BatchWriter, Header, RawRecord, event_record_len};
pub use error::Error;
pub use generated::{
    control, deadletter, delivery, escalation, event, ingest, join, log, rule, schema, status,
    whatif,
};
pub use record::{RecordRef, RecordView, encode_record};

/// Descriptors of every message and service, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor.bin");

/// How many bytes a generated message takes, for those who keep limits.
#[must_use]
pub fn encoded_len(message: &impl prost::Message) -> usize {
    message.encoded_len()
}
