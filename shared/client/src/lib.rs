//! For producers: sends events to a Balefire and tells what became of each.
//!
//! [`Client::sender`] is the way for many events: it batches, keeps several batches in flight,
//! tries again what the server could not take, and answers in order. Sending again is harmless:
//! an event's identity is fixed before its first attempt.
//!
//! ```no_run
//! # async fn send(lines: Vec<bytes::Bytes>) -> Result<(), Box<dyn std::error::Error>> {
//! use balefire_client::{AppendOptions, Client, Options};
//!
//! let client = Client::connect("127.0.0.1:7400", Options::default()).await?;
//! let (mut sender, mut outcomes) = client.sender(AppendOptions::default());
//! let reader = tokio::spawn(async move {
//!     while let Some(outcome) = outcomes.next().await {
//!         if let Err(error) = outcome.result {
//!             eprintln!("record {}: {error}", outcome.number);
//!         }
//!     }
//! });
//! for line in lines {
//!     sender.send_raw(line).await?;
//! }
//! drop(sender);
//! reader.await?;
//! # Ok(())
//! # }
//! ```
//!
//! Never reads files, never prints, never decides what an event means.

mod batch;
mod connection;
mod error;
mod occurrence;
mod options;
mod retry;
mod sender;

pub use balefire_wire::ingest::v1::{
    AppendOptions, AppendResult, AppendStatus, NativeEvent, Place, Violation,
};
pub use connection::Client;
pub use error::Error;
pub use options::{Options, Retry};
pub use sender::{Outcome, Outcomes, Sender};
