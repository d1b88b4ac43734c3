//! Rule files of a folder.

use std::path::{Path, PathBuf};

/// Deepest folder below the rules folder that is read.
const DEPTH_MAX: usize = 8;

/// Why rule files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file or folder.
    #[error("read rules in {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// None there.
    #[error("{path}: no .yml or .yaml file in it")]
    None {
        /// The folder.
        path: PathBuf,
    },
}

/// Name and YAML of every rule file below a folder, sorted by name.
///
/// # Errors
/// Where a file cannot be read, or there is none.
pub fn rule_files(dir: &Path) -> Result<Vec<(String, String)>, FilesError> {
    let mut found = Vec::new();
    collect(dir, dir, DEPTH_MAX, &mut found)?;
    found.sort();
    if found.is_empty() {
        return Err(FilesError::None {
            path: dir.to_path_buf(),
        });
    }
    Ok(found)
}

/// The baseline pack, as files.
#[must_use]
pub fn baseline_files() -> Vec<(String, String)> {
    let files = balefire_rule::BASELINE.iter();
    files
        .map(|(name, yaml)| ((*name).to_owned(), (*yaml).to_owned()))
        .collect()
}

fn collect(
    root: &Path,
    dir: &Path,
    depth: usize,
    found: &mut Vec<(String, String)>,
) -> Result<(), FilesError> {
    let read = |path: &Path, source| FilesError::Read {
        path: path.to_path_buf(),
        source,
    };
    for entry in std::fs::read_dir(dir).map_err(|e| read(dir, e))? {
        let path = entry.map_err(|e| read(dir, e))?.path();
        if path.is_dir() && depth > 0 {
            collect(root, &path, depth - 1, found)?;
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            let yaml = std::fs::read_to_string(&path).map_err(|e| read(&path, e))?;
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            found.push((name, yaml));
        }
    }
    Ok(())
}
