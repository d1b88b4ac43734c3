//! A server left over from an earlier run on the same directory.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::config::{config_file, pid_file};

/// The process of the pid file, if it still runs our configuration.
pub(super) fn find(dir: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file(dir)).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    runs_ours(pid, dir).then_some(pid)
}

/// A pid is used again by others: only the configuration's path on its command line makes it ours.
pub(super) fn runs_ours(pid: Pid, dir: &Path) -> bool {
    let ours = config_file(dir);
    let ours = ours.as_os_str().as_encoded_bytes();
    std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))
        .is_ok_and(|line| line.split(|&byte| byte == 0).any(|word| word == ours))
}

/// Asks it to end.
pub(super) fn signal(pid: Pid, signal: Signal) {
    if let Err(errno) = kill_process(pid, signal) {
        tracing::debug!(pid = pid.as_raw_nonzero().get(), %errno, "orphan was gone already");
    }
}
