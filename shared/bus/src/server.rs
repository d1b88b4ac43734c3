//! The supervised child `nats-server`: started, watched, started again when it dies, stopped
//! with its parent.
//!
//! A thread of its own owns the process, for as long as the server lives: the kernel's "tell me
//! when my parent dies" means the thread that started the child.

mod binary;
mod config;
mod orphan;
mod room;
mod supervisor;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::sync::watch;

use crate::error::Error;
use crate::lock::DirLock;
use crate::provision::SyncProof;
use supervisor::Supervisor;

/// What to start and where.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Everything of the server lies here: configuration, log, pid file, store.
    pub dir: PathBuf,
    /// This binary; `None` looks in `.tools` and on PATH.
    pub binary: Option<PathBuf>,
    /// A command that ends in [`become_child`], such as `["balefire", "nats-child", "--"]`: the
    /// server then dies with this process even on `kill -9`. The parent's pid, the binary and
    /// its arguments are appended.
    pub launcher: Option<Vec<OsString>>,
    /// The `authorization` block, from [`crate::Credentials::authorization`]; empty for none.
    pub authorization: String,
    /// `sync_interval: always`. Without it acknowledged is not durable.
    pub sync_always: bool,
    /// Largest store, bytes; `None` leaves a tenth of the free disk (at most 1 GiB) to others.
    pub store_bytes_max: Option<u64>,
}

impl ServerOptions {
    /// In `dir`, synced, everything else found or left out.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            binary: None,
            launcher: None,
            authorization: String::new(),
            sync_always: true,
            store_bytes_max: None,
        }
    }
}

/// What the child is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerState {
    /// Started, not yet answering.
    Starting,
    /// Answering.
    Ready {
        /// Its process.
        pid: u32,
    },
    /// Gone; it is started again on the same port.
    Restarting {
        /// Why it went.
        reason: String,
    },
    /// Stopped on request.
    Stopped,
    /// It never became ready; nothing runs.
    Failed {
        /// What was seen.
        reason: String,
    },
}

/// A running child server. Stops it when dropped.
#[derive(Debug)]
pub struct Server {
    url: String,
    monitoring_url: String,
    dir: PathBuf,
    sync: SyncProof,
    state: watch::Receiver<ServerState>,
    stop: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
    _lock: DirLock,
}

/// The server's addresses, known once it is ready.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    url: String,
    monitoring_url: String,
}

impl Server {
    /// Finds the binary, locks the directory, ends an orphan of an earlier run, starts the
    /// server on free loopback ports and waits until it answers.
    ///
    /// # Errors
    /// [`Error::NoServerBinary`], [`Error::ServerTooOld`], [`Error::Locked`], [`Error::Io`],
    /// [`Error::ServerNotReady`] with the end of its log.
    pub async fn start(options: ServerOptions) -> Result<Self, Error> {
        let lock = DirLock::acquire(&options.dir)?;
        let dir = std::fs::canonicalize(&options.dir).map_err(|source| Error::Io {
            doing: "find",
            path: options.dir.clone(),
            source,
        })?;
        let binary = binary::find(options.binary.as_deref())?;
        let (state_tx, mut state) = watch::channel(ServerState::Starting);
        let (ports_tx, ports) = watch::channel(Ports::default());
        let (stop, stop_rx) = sync_channel(1);
        let sync = if options.sync_always {
            SyncProof::Child
        } else {
            SyncProof::Unknown
        };
        let supervisor = Supervisor {
            binary,
            dir: dir.clone(),
            options,
            state: state_tx,
            ports: ports_tx,
            stop: stop_rx,
        };
        let thread = std::thread::Builder::new()
            .name("nats-server".into())
            .spawn(move || supervisor.run())
            .map_err(|source| Error::Io {
                doing: "start a thread for",
                path: dir.clone(),
                source,
            })?;
        let outcome = state
            .wait_for(|state| {
                matches!(
                    state,
                    ServerState::Ready { .. } | ServerState::Failed { .. }
                )
            })
            .await
            .map(|state| state.clone());
        match outcome {
            Ok(ServerState::Ready { .. }) => {}
            failed => {
                let reason = match failed {
                    Ok(ServerState::Failed { reason }) => reason,
                    _ => "its supervisor ended".to_owned(),
                };
                return Err(Error::ServerNotReady {
                    reason,
                    log_tail: config::log_tail(&dir),
                });
            }
        }
        let ports = ports.borrow().clone();
        Ok(Self {
            url: ports.url,
            monitoring_url: ports.monitoring_url,
            dir,
            sync,
            state,
            stop,
            thread: Some(thread),
            _lock: lock,
        })
    }

    /// The address of the server that another process runs in `dir`, as it wrote it down; `None`
    /// where none did.
    #[must_use]
    pub fn running_in(dir: &Path) -> Option<String> {
        let pid = std::fs::read_to_string(config::pid_file(dir)).ok()?;
        let ports = config::read_ports(dir, pid.trim().parse().ok()?)?;
        Some(ports.url)
    }

    /// `nats://127.0.0.1:port`; the same for as long as this lives.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `http://127.0.0.1:port` of `/healthz`, `/jsz`, `/varz`.
    #[must_use]
    pub fn monitoring_url(&self) -> &str {
        &self.monitoring_url
    }

    /// Whether it syncs before it acknowledges: we wrote its configuration.
    #[must_use]
    pub fn sync_proof(&self) -> SyncProof {
        self.sync.clone()
    }

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Tells each change of state.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.state.clone()
    }

    /// Its process, while it is ready.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match *self.state.borrow() {
            ServerState::Ready { pid } => Some(pid),
            ServerState::Starting
            | ServerState::Restarting { .. }
            | ServerState::Stopped
            | ServerState::Failed { .. } => None,
        }
    }

    /// Stops it: SIGTERM, after [`supervisor::STOP_GRACE`] SIGKILL; returns when it is gone.
    pub async fn shutdown(mut self) {
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take() {
            // A supervisor that panicked has nothing left to stop.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A full queue holds a stop already.
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Turns this process into the child server: it dies with its parent. `args` are what a
/// [`ServerOptions::launcher`] was given beyond its own words: the parent's pid, the binary,
/// its arguments. Returns only where that fails.
#[must_use]
pub fn become_child(args: &[OsString]) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    let invalid = || std::io::Error::other("expected: PARENT_PID PROGRAM [ARGUMENT]…");
    let mut args = args.iter();
    let parent = args
        .next()
        .and_then(|pid| pid.to_str())
        .and_then(|pid| pid.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        return invalid();
    };
    if let Err(errno) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return errno.into();
    }
    // It may have died before the kernel was asked to tell.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return std::io::Error::other("the parent is gone");
    }
    std::process::Command::new(program).args(args).exec()
}
