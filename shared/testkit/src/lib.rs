//! What tests share. A dev-dependency only: nothing that ships links it.

pub mod contract;
pub mod tidy;
