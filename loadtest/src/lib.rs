//! The load test's hands: sends a plan, receives what comes of it, measures itself first.
//!
//! What is planned, expected and judged is `balefire_loadtest_core`'s. Never knows how the product
//! works: it speaks its public contract only.

pub mod baseline;
pub mod between;
pub mod calibrate;
pub mod clock;
pub mod command;
pub mod day;
pub mod error;
pub mod figures;
pub mod hop;
pub mod machine;
pub mod nats;
pub mod null;
mod options;
pub mod print;
pub mod process;
pub mod product;
pub mod program;
pub mod prove;
pub mod receiver;
pub mod run;
pub mod sending;
pub mod sockets;
pub mod standing;
mod suite;
pub mod track;
