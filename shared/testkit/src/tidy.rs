//! The rules about this code that can be checked by reading it. Each check takes text and answers
//! findings, so that a made-up tree can show that it fails; `tests/tidy.rs` runs them on the real
//! one.

pub mod edge;
pub mod link;
pub mod page;
pub mod promise;
pub mod proto;
pub mod source;
pub mod tree;
