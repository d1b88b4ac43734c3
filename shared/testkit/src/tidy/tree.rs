//! The files of a checkout.

use std::path::Path;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path below the root, with `/`.
    pub path: String,
    /// Its text; empty where it is not UTF-8.
    pub text: String,
}

/// What is not ours, or not source.
const SKIPPED: [&str; 6] = [
    "target",
    "node_modules",
    ".git",
    ".venv",
    ".tools",
    "__pycache__",
];

/// Largest file that is read, bytes.
const TEXT_MAX: u64 = 2 * 1024 * 1024;

/// Every file below `root`, sorted by path. Files that vanish meanwhile are left out.
///
/// # Errors
/// Where `root` cannot be listed.
pub fn read(root: &Path) -> std::io::Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(_) if folder != root => continue,
            Err(error) => return Err(error),
        };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() && !SKIPPED.iter().any(|s| name.to_str() == Some(s)) {
                folders.push(path);
            } else if kind.is_file() && entry.metadata().is_ok_and(|m| m.len() <= TEXT_MAX) {
                let shown = path.strip_prefix(root).unwrap_or(&path);
                found.push(File {
                    path: shown.to_string_lossy().replace('\\', "/"),
                    text: std::fs::read_to_string(&path).unwrap_or_default(),
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_output_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["src/lib.rs", "target/debug/x.rs", "a/b/c.md"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let paths: Vec<String> = read(dir.path())
            .unwrap()
            .into_iter()
            .map(|f| f.path)
            .collect();
        assert_eq!(paths, ["a/b/c.md", "src/lib.rs"]);
    }
}
