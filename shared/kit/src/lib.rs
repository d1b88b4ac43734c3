//! What every main needs: the clock, configuration, callers, telemetry, status and the server.
//!
//! Never knows what a service does.

pub mod broker;
pub mod caller;
pub mod clock;
pub mod config;
pub mod dead_man;
mod http;
pub mod process;
#[cfg(feature = "sabotage")]
pub mod sabotage;
pub mod self_alert;
pub mod server;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod violation;
pub mod watch;

pub use caller::{Authenticator, Caller, CallerLayer, Scope};
pub use server::{Listeners, Service, serve};
pub use status::{StatusSource, Statuses};

/// Chooses the one crypto provider of the process. Call it first in every main.
pub fn install_crypto() {
    // Fails only where one is chosen already: then that one stays.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
