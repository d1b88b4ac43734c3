//! A `nats-server` that the load test starts for itself, on a free port.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::error::Error;

const READY_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// When a server syncs what it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before it does, as the product demands.
    Always,
    /// Every two minutes, which is the server's own default: what is acknowledged can be lost.
    Later,
}

impl Sync {
    /// What its settings call it.
    #[must_use]
    pub const fn interval(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Later => "2m",
        }
    }

    /// Settings that sync always, with this instead.
    #[must_use]
    pub fn instead(self, settings: &str) -> String {
        let named = |sync: Self| format!("sync_interval: {}", sync.interval());
        settings.replace(&named(Self::Always), &named(self))
    }
}

/// One that runs; it ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Host and port.
    pub addr: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn broken(what: impl ToString) -> Error {
    Error::Broker {
        what: what.to_string(),
    }
}

impl Server {
    /// Starts one in a folder of its own with these settings; the free port and the place where it
    /// says which are added. Blocks.
    ///
    /// # Errors
    /// It cannot be started, or does not become ready.
    pub fn start(program: &Path, folder: &Path, settings: &str) -> Result<Self, Error> {
        let conf = folder.join("nats.conf");
        let text = format!("{settings}\nports_file_dir: {folder:?}\n");
        std::fs::write(&conf, text).map_err(broken)?;
        let log = std::fs::File::create(folder.join("nats.log")).map_err(broken)?;
        let child = Command::new(program)
            .arg("-c")
            .arg(conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|source| Error::Start {
                program: program.to_path_buf(),
                source,
            })?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let ports = folder.join(format!("{name}_{}.ports", child.id()));
        let mut server = Self {
            child,
            addr: String::new(),
        };
        let until = Instant::now() + READY_MAX;
        while Instant::now() < until {
            let text = std::fs::read_to_string(&ports).unwrap_or_default();
            let found: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(url) = found.pointer("/nats/0").and_then(Value::as_str) {
                url.trim_start_matches("nats://")
                    .clone_into(&mut server.addr);
                return Ok(server);
            }
            std::thread::park_timeout(POLL);
        }
        Err(Error::NotReady {
            program: program.to_path_buf(),
        })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}
