//! The thread that owns the child process.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;
use tokio::time::Instant;

use super::config::{self, Listen};
use super::{Ports, ServerOptions, ServerState, orphan, room};
use crate::error::Error;
use crate::http;

/// A server told to stop is killed after this time.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
/// A server must answer within this time; a large store takes long to open.
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// How often its state is looked at.
const STARTING_POLL: Duration = Duration::from_millis(5);
const RUNNING_POLL: Duration = Duration::from_millis(50);
const HEALTH_POLL: Duration = Duration::from_secs(1);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// Every so many looks at its health it is asked for room.
const ROOM_EVERY: u32 = 2;
/// So many "JetStream is off" in a row (it turns itself off on a full disk) mean a restart.
const HEALTH_FAILURES_MAX: u32 = 5;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A server that lived this long starts the backoff anew.
const STABLE: Duration = Duration::from_secs(10);
/// More threads than CPUs: several block in fsync at a time. Halves the median latency.
const SERVER_THREADS: &str = "16";

pub(super) struct Supervisor {
    pub(super) binary: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) options: ServerOptions,
    pub(super) state: watch::Sender<ServerState>,
    pub(super) ports: watch::Sender<Ports>,
    pub(super) stop: Receiver<()>,
}

/// Why a server's life ended.
enum End {
    Stopped,
    Died(String),
}

impl Supervisor {
    pub(super) fn run(self) {
        if self.end_orphan() == Pause::Stop {
            self.state.send_replace(ServerState::Stopped);
            return;
        }
        let mut listen = Listen::anywhere();
        let mut backoff = BACKOFF_FIRST;
        loop {
            let begun = Instant::now();
            let (end, was_ready) = match self.live(&listen) {
                Ok(end) => end,
                Err(error) => (End::Died(error.to_string()), false),
            };
            let reason = match end {
                End::Stopped => {
                    self.state.send_replace(ServerState::Stopped);
                    return;
                }
                End::Died(reason) => reason,
            };
            let known = !self.ports.borrow().url.is_empty();
            if !was_ready && !known {
                // The very first start: whoever waits for it must know.
                self.state.send_replace(ServerState::Failed { reason });
                return;
            }
            tracing::error!(reason, "nats-server is gone, starting it again");
            metrics::counter!("balefire_nats_restarts_total").increment(1);
            self.state.send_replace(ServerState::Restarting { reason });
            // On the same port: clients come back by themselves.
            listen = Listen::again(&self.ports.borrow());
            if begun.elapsed() >= STABLE {
                backoff = BACKOFF_FIRST;
            }
            if self.pause(backoff) == Pause::Stop {
                self.state.send_replace(ServerState::Stopped);
                return;
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One life of the server; tells whether it was ready in it.
    fn live(&self, listen: &Listen) -> Result<(End, bool), Error> {
        config::write(&self.dir, listen, &self.options)?;
        config::forget_ports(&self.dir);
        let mut child = self.spawn()?;
        let end = match self.until_ready(&mut child) {
            Ok(ports) => {
                self.ports.send_replace(ports.clone());
                self.state
                    .send_replace(ServerState::Ready { pid: child.id() });
                tracing::info!(url = ports.url, pid = child.id(), "nats-server is ready");
                (self.watch(&mut child, &ports), true)
            }
            Err(end) => (end, false),
        };
        self.finish(&mut child);
        Ok(end)
    }

    fn spawn(&self) -> Result<Child, Error> {
        let mut command = match self.options.launcher.as_deref() {
            Some([program, words @ ..]) => {
                let mut command = Command::new(program);
                command
                    .args(words)
                    .arg(std::process::id().to_string())
                    .arg(&self.binary);
                command
            }
            Some([]) | None => Command::new(&self.binary),
        };
        command
            .arg("-c")
            .arg(config::config_file(&self.dir))
            .env("GOMAXPROCS", SERVER_THREADS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal goes to the whole group: the parent drains first, then
            // stops the server itself.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Io {
                doing: "start",
                path: self.binary.clone(),
                source,
            })
    }

    fn until_ready(&self, child: &mut Child) -> Result<Ports, End> {
        let deadline = Instant::now() + READY_DEADLINE;
        let was_short = room::is_short(&self.dir);
        while Instant::now() < deadline {
            if let Some(end) = ended(child) {
                return Err(end);
            }
            if let Some(ports) = config::read_ports(&self.dir, child.id())
                && matches!(
                    http::get(&ports.monitoring_url, "/healthz", HEALTH_TIMEOUT),
                    Ok((200, _))
                )
            {
                return Ok(ports);
            }
            if was_short && !room::is_short(&self.dir) {
                return Err(End::Died("it started on a full disk".into()));
            }
            if self.pause(STARTING_POLL) == Pause::Stop {
                return Err(End::Stopped);
            }
        }
        let full = if was_short {
            ", and the disk is full"
        } else {
            ""
        };
        Err(End::Died(format!(
            "not ready after {} s{full}",
            READY_DEADLINE.as_secs()
        )))
    }

    /// Until it ends, is to stop, or must be replaced.
    fn watch(&self, child: &mut Child, ports: &Ports) -> End {
        let mut looked = Instant::now();
        let (mut failures, mut looks) = (0, 0_u32);
        loop {
            if let Some(end) = ended(child) {
                return end;
            }
            if self.pause(RUNNING_POLL) == Pause::Stop {
                return End::Stopped;
            }
            if looked.elapsed() < HEALTH_POLL {
                continue;
            }
            looked = Instant::now();
            let path = "/healthz?js-enabled-only=true";
            match http::get(&ports.monitoring_url, path, HEALTH_TIMEOUT) {
                Ok((503, _)) => failures += 1,
                // Slow is not off: a paused server comes back with what it has.
                Ok(_) | Err(_) => failures = 0,
            }
            if failures >= HEALTH_FAILURES_MAX {
                return End::Died("JetStream is off (a full disk turns it off)".into());
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(ROOM_EVERY)
                && let Some(why) = room::again(&self.dir, &self.options, ports, HEALTH_TIMEOUT)
            {
                return End::Died(why.into());
            }
        }
    }

    /// Ends what may still run, and reaps it.
    fn finish(&self, child: &mut Child) {
        let deadline = Instant::now() + STOP_GRACE;
        if ended(child).is_none()
            && let Err(errno) = kill_process(Pid::from_child(child), Signal::TERM)
        {
            tracing::debug!(%errno, "nats-server was gone already");
        }
        while ended(child).is_none() {
            if Instant::now() >= deadline {
                tracing::warn!(pid = child.id(), "nats-server does not stop, killing it");
                // Gone already is as good.
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::park_timeout(STARTING_POLL);
        }
    }

    fn end_orphan(&self) -> Pause {
        let Some(pid) = orphan::find(&self.dir) else {
            return Pause::Over;
        };
        tracing::warn!(
            pid = pid.as_raw_nonzero().get(),
            "ending a nats-server of an earlier run"
        );
        orphan::signal(pid, Signal::TERM);
        let deadline = Instant::now() + STOP_GRACE;
        while orphan::runs_ours(pid, &self.dir) {
            if Instant::now() >= deadline {
                orphan::signal(pid, Signal::KILL);
            }
            if self.pause(RUNNING_POLL) == Pause::Stop {
                return Pause::Stop;
            }
        }
        Pause::Over
    }

    /// Waits, or learns that it is to stop.
    fn pause(&self, time: Duration) -> Pause {
        match self.stop.recv_timeout(time) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Pause::Stop,
            Err(RecvTimeoutError::Timeout) => Pause::Over,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Pause {
    Over,
    Stop,
}

fn ended(child: &mut Child) -> Option<End> {
    match child.try_wait() {
        Ok(Some(status)) => Some(End::Died(format!("it ended with {status}"))),
        Ok(None) => None,
        Err(error) => Some(End::Died(format!("it cannot be watched: {error}"))),
    }
}
