//! The child's configuration file, and what it writes itself.

use std::path::{Path, PathBuf};

use super::{Ports, ServerOptions};
use crate::error::Error;

const LOG_TAIL_LINES: usize = 8;
/// Disk left to others, bytes, at most.
const RESERVE_MAX: u64 = 1 << 30;

pub(super) fn config_file(dir: &Path) -> PathBuf {
    dir.join("nats.conf")
}

pub(super) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("nats.pid")
}

fn store(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// Ports to listen on; `-1` lets the server choose.
#[derive(Debug, Clone)]
pub(super) struct Listen {
    pub(super) client: String,
    pub(super) monitoring: String,
}

impl Listen {
    pub(super) fn anywhere() -> Self {
        Self {
            client: "127.0.0.1:-1".into(),
            monitoring: "127.0.0.1:-1".into(),
        }
    }

    /// Where it listened before.
    pub(super) fn again(ports: &Ports) -> Self {
        let authority = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
        Self {
            client: authority(&ports.url),
            monitoring: authority(&ports.monitoring_url),
        }
    }
}

/// Writes the configuration.
pub(super) fn write(dir: &Path, listen: &Listen, options: &ServerOptions) -> Result<(), Error> {
    let path = config_file(dir);
    let shown = dir.display();
    let sync = if options.sync_always {
        "sync_interval: always"
    } else {
        ""
    };
    let max_file = limit(dir, options);
    let text = format!(
        "# written by balefire at each start: changes are lost\n\
         listen: \"{client}\"\n\
         http: \"{monitoring}\"\n\
         ports_file_dir: \"{shown}\"\n\
         pid_file: \"{pid}\"\n\
         log_file: \"{shown}/nats.log\"\n\
         log_size_limit: 64MB\n\
         log_max_num: 3\n\
         max_payload: 1MB\n\
         jetstream {{\n  store_dir: \"{store}\"\n  max_file: {max_file}\n  max_mem: 256MB\n  {sync}\n}}\n\
         {authorization}",
        client = listen.client,
        monitoring = listen.monitoring,
        pid = pid_file(dir).display(),
        store = store(dir).display(),
        authorization = options.authorization,
    );
    std::fs::write(&path, text).map_err(|source| Error::Io {
        doing: "write",
        path,
        source,
    })
}

/// What a store that is started now may grow to, bytes.
pub(super) fn limit(dir: &Path, options: &ServerOptions) -> u64 {
    options
        .store_bytes_max
        .unwrap_or_else(|| room_for_store(dir))
}

/// Bytes of the disk that are free; 0 where it does not say.
pub(super) fn free(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// What the store may grow to. The server's own default is three quarters of what is free at
/// its start, so that a store larger than that would refuse everything after a restart.
fn room_for_store(dir: &Path) -> u64 {
    let used = size_of(&store(dir));
    let free = free(dir);
    used + free - (free / 10).min(RESERVE_MAX)
}

fn size_of(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size_of(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The addresses a server wrote down; `None` until it has.
pub(super) fn read_ports(dir: &Path, pid: u32) -> Option<Ports> {
    let text = std::fs::read(ports_file(dir, pid)?).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let first = |key: &str| Some(value.get(key)?.get(0)?.as_str()?.to_owned());
    Some(Ports {
        url: first("nats")?,
        monitoring_url: first("monitoring")?,
    })
}

/// `<program>_<pid>.ports`: the program's name is whatever the binary is called.
fn ports_file(dir: &Path, pid: u32) -> Option<PathBuf> {
    let end = format!("_{pid}.ports");
    ports_files(dir).find(|path| path.to_string_lossy().ends_with(&end))
}

fn ports_files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "ports"))
}

/// Removes the addresses of servers that died: a later one may get the same pid.
pub(super) fn forget_ports(dir: &Path) {
    for path in ports_files(dir) {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "stale ports file stays");
        }
    }
}

/// The last lines of the server's log, in one line.
pub(super) fn log_tail(dir: &Path) -> String {
    let log = std::fs::read(dir.join("nats.log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    let mut lines: Vec<&str> = text.lines().rev().take(LOG_TAIL_LINES).collect();
    lines.reverse();
    lines.join(" | ")
}
