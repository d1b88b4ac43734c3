//! The load test's hands: sends a plan, receives what comes of it, measures itself first.
//!
//! What is planned, expected and judged is `balefire_loadtest_core`'s. Never knows how the product
//! works: it speaks its public contract only.

pub mod calibrate;
pub mod clock;
pub mod command;
pub mod error;
pub mod figures;
pub mod hop;
pub mod machine;
pub mod null;
pub mod print;
pub mod process;
pub mod product;
pub mod receiver;
pub mod run;
pub mod sending;
mod suite;
pub mod track;
