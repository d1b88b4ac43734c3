//! The transport: JetStream, and nothing else. The only crate that knows async-nats.
//!
//! It moves opaque bytes: payloads are built and read by callers. It decides nothing about an
//! event; it knows streams, subjects, sequences, acknowledgements and who may do what.
//!
//! - [`topology`]: names of streams and subjects, as a function of generation and partitions
//! - [`provision`]: creates streams (provisioner) and verifies them (everybody, at start)
//! - [`credential`]: one credential a role
//! - [`permission`]: what the server lets each role do
//! - [`server`]: the supervised child `nats-server`
//! - [`connection`]: a connected role, [`Bus`]
//! - [`commit`]: group commit, the hot path of ingest
//! - [`reader`]: the lanes of a partition, urgent first, with a minimum share
//! - [`step`]: fenced publishes of stateful stages
//! - [`lease`]: which process owns which partition
//! - [`log`]: the low-rate logs
//! - [`deadletter`]: what cannot go on

pub mod commit;
pub mod connection;
pub mod credential;
pub mod deadletter;
pub mod error;
mod http;
pub mod lease;
pub mod lock;
pub mod log;
pub mod message;
pub mod permission;
pub mod provision;
mod publish;
mod pump;
pub mod reader;
pub mod server;
pub mod step;
pub mod topology;

pub use commit::{Former, GroupCommit, Limits, Places, Refused, Target, Ticket, Weight};
pub use connection::Bus;
pub use credential::{Credential, Credentials, Role};
pub use deadletter::DeadLetters;
pub use error::Error;
pub use lease::{InstanceId, Leases, Tenure};
pub use lock::DirLock;
pub use log::{Log, Tail};
pub use message::{Message, Place, StreamInfo};
pub use permission::Permissions;
pub use provision::{SyncProof, Verification};
pub use reader::{LaneReader, LaneStart, Start};
pub use server::{Server, ServerOptions, ServerState, become_child};
pub use step::Fence;
pub use topology::{Retention, Topology};
