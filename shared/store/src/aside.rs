//! Sets a doubtful directory aside, where a human may look at it; keeps the newest two.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// So many directories set aside are kept.
pub(crate) const ASIDE_KEPT: usize = 2;
const MARK: &str = ".aside-";

/// Renames `dir` to `<dir>.aside-<n>` with n above all others and removes all but the newest
/// two. Nothing where `dir` does not exist.
pub(crate) fn set_aside(dir: &Path) -> Result<(), Error> {
    if !dir.exists() {
        return Ok(());
    }
    let mut others = list(dir)?;
    let number = others.last().map_or(1, |(number, _)| number + 1);
    let mut name = dir.as_os_str().to_owned();
    name.push(format!("{MARK}{number}"));
    let target = PathBuf::from(name);
    std::fs::rename(dir, &target).map_err(|source| Error::Io {
        doing: "set aside",
        path: dir.to_owned(),
        source,
    })?;
    others.push((number, target));
    let surplus = others.len().saturating_sub(ASIDE_KEPT);
    for (_, old) in others.drain(..surplus) {
        std::fs::remove_dir_all(&old).map_err(|source| Error::Io {
            doing: "remove",
            path: old,
            source,
        })?;
    }
    Ok(())
}

/// What was set aside of `dir`, oldest first.
fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name().and_then(|n| n.to_str()))
    else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}{MARK}");
    let entries = std::fs::read_dir(parent).map_err(|source| Error::Io {
        doing: "list",
        path: parent.to_owned(),
        source,
    })?;
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_two_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("store");
        for _ in 0..5 {
            std::fs::create_dir(&dir).unwrap();
            set_aside(&dir).unwrap();
            assert!(!dir.exists());
        }
        set_aside(&dir).unwrap();
        let numbers: Vec<u64> = list(&dir).unwrap().into_iter().map(|(n, _)| n).collect();
        assert_eq!(numbers, [4, 5]);
    }
}
