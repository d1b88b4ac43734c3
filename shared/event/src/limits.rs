//! Limits of what one record may be. Each is checked at the door.

/// Largest event without its bodies, bytes.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Largest evidence kept whole, bytes; beyond it head and tail are kept.
pub const EVIDENCE_BYTES_MAX: usize = 1024 * 1024;
/// Most events of one request or log batch.
pub const BATCH_EVENTS_MAX: usize = 512;
/// Largest request on the wire, bytes.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest log batch, bytes.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Largest log batch of the bulk lane, bytes.
pub const BULK_BATCH_BYTES_MAX: usize = 32 * 1024;
/// Largest part of a step, bytes.
pub const STEP_PART_BYTES_MAX: usize = 512 * 1024;
/// Longest id, key or name, bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Most labels of an event.
pub const LABELS_MAX: usize = 32;
/// Most correlation keys of an event.
pub const KEYS_MAX: usize = 4;
/// Deepest nesting of a JSON record.
pub const NESTING_MAX: usize = 64;
/// First and last so many events are shown as evidence of an escalation.
pub const EVIDENCE_ITEMS: usize = 32;
