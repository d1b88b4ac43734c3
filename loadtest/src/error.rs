//! What can keep a load test from being run.

use std::path::PathBuf;

/// What was being done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is there.
    #[error("connect to the server under test")]
    Connect {
        /// Why.
        source: tonic::transport::Error,
    },
    /// A socket of our own.
    #[error("listen on this machine")]
    Listen {
        /// Why.
        source: std::io::Error,
    },
    /// A program under test.
    #[error("start {program}")]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It ended, or took too long.
    #[error("{program} did not become ready")]
    NotReady {
        /// Which.
        program: PathBuf,
    },
    /// A thread of our own.
    #[error("start a thread of the generator")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// A file.
    #[error("access {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path} is not understood: {reason}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A question to the server under test.
    #[error("ask the server under test: {0}")]
    Asked(#[from] tonic::Status),
    /// The same, by the client.
    #[error("ask the server under test")]
    Client(#[from] balefire_client::Error),
    /// Killing an owner takes processes of our own.
    #[error("failover kills a service, which takes --binary with the four services beside it")]
    NeedsBinary,
    /// A highest rate without targets means nothing.
    #[error("max looks for the highest rate at which the targets hold, which takes --slo FILE")]
    NeedsTargets,
    /// Generator and receiver need a core each.
    #[error("the proof takes two cores, one for the generator and one for its receiver")]
    OneCore,
    /// A latency read by a clock that was not calibrated means nothing.
    #[error("--books-only calibrates no clock, and --slo has targets of latency: leave one out")]
    NeedsCalibration,
    /// The bare broker.
    #[error("measure the bare broker: {what}")]
    Broker {
        /// What it said, or did not.
        what: String,
    },
}
