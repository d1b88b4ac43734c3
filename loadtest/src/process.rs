//! What processes take, by `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::sockets;

/// Clock ticks of a second in `/proc/*/stat`; Linux says 100 to every program.
const TICKS_PER_SECOND: u64 = 100;
const MICROS_PER_TICK: u64 = 1_000_000 / TICKS_PER_SECOND;

/// One process at one time.
#[derive(Debug, Clone, Serialize)]
pub struct Usage {
    /// Program.
    pub name: String,
    /// Process id.
    pub pid: u32,
    /// CPU time so far, microseconds.
    pub cpu_us: u64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Bytes written to files so far; 0 where the system does not say.
    pub written_bytes: u64,
    /// Payload bytes sent and received so far over each TCP connection it has, by the socket's
    /// inode; what it closed is not there any more. `None`: the system does not tell.
    pub tcp: Option<BTreeMap<u64, u64>>,
}

fn read(pid: u32, file: &str) -> Option<String> {
    std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(file)).ok()
}

fn line(text: &str, key: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    let number = value.and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Inodes of the sockets that a process holds.
fn sockets(pid: u32) -> Vec<u64> {
    let folder = Path::new("/proc").join(pid.to_string()).join("fd");
    let Ok(files) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let inode = |file: std::fs::DirEntry| {
        let target = std::fs::read_link(file.path()).ok()?;
        let name = target.to_str()?.strip_prefix("socket:[")?;
        name.strip_suffix(']')?.parse().ok()
    };
    files.flatten().filter_map(inode).collect()
}

/// Of one process; `tcp` is what the machine's connections have carried.
fn usage(pid: u32, tcp: Option<&BTreeMap<u64, u64>>) -> Option<Usage> {
    let stat = read(pid, "stat")?;
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let status = read(pid, "status")?;
    Some(Usage {
        name: head.split_once('(')?.1.to_owned(),
        pid,
        cpu_us: (ticks(11)? + ticks(12)?) * MICROS_PER_TICK,
        rss_bytes: line(&status, "VmRSS:") * 1024,
        tcp: tcp.map(|all| {
            let own = sockets(pid).into_iter();
            own.filter_map(|inode| Some((inode, *all.get(&inode)?)))
                .collect()
        }),
        written_bytes: line(&read(pid, "io").unwrap_or_default(), "write_bytes:"),
    })
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")) else {
        return Vec::new();
    };
    let lists = tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let ids = lists.flat_map(|list| {
        list.split_whitespace()
            .filter_map(|id| id.parse().ok())
            .collect::<Vec<u32>>()
    });
    ids.collect()
}

/// Of processes and everything they started, each once.
#[must_use]
pub fn families(pids: impl Iterator<Item = u32>) -> Vec<Usage> {
    let tcp = sockets::carried();
    let mut waiting: Vec<u32> = pids.collect();
    let mut seen = BTreeSet::new();
    while let Some(pid) = waiting.pop() {
        if seen.insert(pid) {
            waiting.extend(children(pid));
        }
    }
    seen.into_iter()
        .filter_map(|pid| usage(pid, tcp.as_ref()))
        .collect()
}

/// Load average of the last minute.
#[must_use]
pub fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Model of the CPU and how many there are.
#[must_use]
pub fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .and_then(|rest| rest.split_once(':'))
        .map_or("", |(_, name)| name.trim());
    let count = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{count} × {model}")
}

/// Release of the kernel.
#[must_use]
pub fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// Type of the file system that holds a folder: the longest mount point above it.
#[must_use]
pub fn filesystem(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut best = ("", "unknown");
    for mount in mounts.lines() {
        let mut fields = mount.split(' ').skip(1);
        let (Some(point), Some(kind)) = (fields.next(), fields.next()) else {
            continue;
        };
        if folder.starts_with(point) && point.len() >= best.0.len() {
            best = (point, kind);
        }
    }
    best.1.to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_process_is_told_of_itself() {
        let family = families(std::iter::once(std::process::id()));
        let own = family.first().unwrap();
        assert_eq!(own.pid, std::process::id());
        assert!(own.rss_bytes > 1_000_000);
    }

    #[test]
    fn what_went_over_a_connection_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(&[7; 5_000]).unwrap();
        far.read_exact(&mut [0; 5_000]).unwrap();
        far.write_all(&[7; 300]).unwrap();
        near.read_exact(&mut [0; 300]).unwrap();
        let family = families(std::iter::once(std::process::id()));
        // Where the system does not tell, nothing is claimed.
        let Some(tcp) = &family.first().unwrap().tcp else {
            return;
        };
        let both = tcp.values().filter(|bytes| **bytes >= 5_000);
        // Who opened it counts that as a byte.
        let both: Vec<_> = both.map(|bytes| bytes - 5_300).collect();
        assert!(
            both.len() == 2 && both.iter().all(|more| *more <= 1),
            "{both:?}"
        );
    }

    #[test]
    fn the_machine_has_a_name() {
        assert!(!kernel().is_empty() && load().is_some());
        assert_ne!(filesystem(Path::new("/proc")), "unknown");
    }
}
