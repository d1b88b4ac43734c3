//! One program of the product: started, asked for its addresses, killed, started again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::Error;

const READY_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(20);

/// A program that runs; it is killed with this value.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    child: Child,
    facts: BTreeMap<String, String>,
}

/// The last lines a program wrote.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

fn facts(line: &str) -> BTreeMap<String, String> {
    let pairs = line.split(' ').filter_map(|fact| fact.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl Program {
    /// Starts it and waits for its line `ready …`. What it says on standard error is added to `log`.
    ///
    /// # Errors
    /// It cannot be started, or does not become ready.
    pub async fn start(path: &Path, arguments: &[OsString], log: &Path) -> Result<Self, Error> {
        let stderr = std::fs::File::options().create(true).append(true).open(log);
        let stderr = stderr.map_err(|source| Error::File {
            path: log.to_path_buf(),
            source,
        })?;
        let mut child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // Ctrl-C in a terminal is for the load test: the report still has to ask this one.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Start {
                program: path.to_path_buf(),
                source,
            })?;
        let stdout = child.stdout.take().ok_or_else(|| Error::NotReady {
            program: path.to_path_buf(),
        })?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(rest) = line.strip_prefix("ready ") {
                    return Some(facts(rest));
                }
            }
            None
        };
        let Ok(Some(facts)) = timeout(READY_MAX, ready).await else {
            return Err(Error::Malformed {
                path: path.to_path_buf(),
                reason: format!("it did not become ready: {}", tail(log)),
            });
        };
        // What else it says is read away, so that it can go on saying it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            path: path.to_path_buf(),
            arguments: arguments.to_vec(),
            log: log.to_path_buf(),
            child,
            facts,
        })
    }

    /// Address of its gRPC server.
    #[must_use]
    pub fn addr(&self) -> String {
        self.facts.get("grpc").cloned().unwrap_or_default()
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It is not there any more.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let path = self.path.clone();
        let killed = self.child.kill().await;
        killed.map_err(|source| Error::File { path, source })
    }

    /// Starts it again with the same words.
    ///
    /// # Errors
    /// It cannot be started, or does not become ready.
    pub async fn again(&mut self) -> Result<(), Error> {
        *self = Self::start(&self.path, &self.arguments, &self.log).await?;
        Ok(())
    }

    /// Asks it to end, and ends it when it does not.
    pub async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _gone = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_MAX, self.child.wait()).await.is_err() {
            let _gone = self.child.kill().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_killed_program_comes_again_as_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["-c", "echo ready grpc=here:1 nats=there; exec sleep 60"].map(OsString::from);
        let log = folder.path().join("log");
        let mut program = Program::start(Path::new("sh"), &words, &log).await.unwrap();
        assert_eq!(program.addr(), "here:1");
        let first = program.pid().unwrap();
        program.kill().await.unwrap();
        assert_eq!(program.pid(), None);
        program.again().await.unwrap();
        assert_ne!(program.pid(), Some(first));
        program.stop().await;
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["-c", "echo no disk >&2; exit 1"].map(OsString::from);
        let log = folder.path().join("log");
        let error = Program::start(Path::new("sh"), &words, &log)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no disk"), "{error}");
    }
}
