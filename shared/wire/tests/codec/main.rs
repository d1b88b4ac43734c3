//! The codec: laws of events and of batches.

mod arbitrary;
mod batch;
mod event;
