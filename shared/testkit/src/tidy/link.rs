//! Files that the documentation names are there.

use std::collections::BTreeSet;

/// Folders of the checkout: a word in code font that begins with one is a path.
const FOLDERS: [&str; 8] = [
    "shared/",
    "services/",
    "proto/",
    "deploy/",
    "docs/",
    "loadtest/",
    ".config/",
    ".ci/",
];

/// Findings about one Markdown file. `paths` holds every file and folder of the checkout.
#[must_use]
pub fn check(path: &str, text: &str, paths: &BTreeSet<String>) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let linked = targets(text).map(|target| join(folder, target));
    let named = code_words(text).map(|word| join("", word));
    linked
        .chain(named)
        .filter(|target| !paths.contains(target))
        .map(|target| format!("{path} names {target}, which is not there"))
        .collect()
}

/// Every folder that holds one of these files, and the files.
#[must_use]
pub fn with_folders<'a>(files: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut all = BTreeSet::from([String::new()]);
    for file in files {
        let mut rest = file;
        all.insert(file.to_owned());
        while let Some((folder, _)) = rest.rsplit_once('/') {
            all.insert(folder.to_owned());
            rest = folder;
        }
    }
    all
}

/// Targets of `[text](target)` and `![text](target)` that are files, without the anchor.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?;
        let target = target.split('#').next()?.trim();
        let remote = target.contains("://") || target.starts_with("mailto:");
        (!target.is_empty() && !remote).then_some(target)
    })
}

/// Paths in code font: no spaces, patterns or placeholders, an optional `:line` left out.
fn code_words(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter_map(|word| {
        let plain = !word.contains([' ', '*', '<', '{', '…', '$', '\n']);
        let ours = FOLDERS.iter().any(|folder| word.starts_with(folder));
        let word = word.split(':').next()?;
        (plain && ours).then_some(word)
    })
}

fn join(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let files = ["docs/a.md", "docs/pictures/b.svg", "shared/bus/src/lib.rs"];
        check(path, text, &with_folders(files.into_iter()))
    }

    #[test]
    fn links_are_relative_to_their_file() {
        assert_eq!(
            found("docs/a.md", "![x](pictures/b.svg) [y](../shared/bus)"),
            [""; 0]
        );
        assert_eq!(
            found(
                "README.md",
                "[x](docs/a.md#part) [y](https://example.org/z)"
            ),
            [""; 0]
        );
        assert_eq!(found("docs/a.md", "[x](docs/a.md)").len(), 1);
        assert_eq!(found("README.md", "[x](docs/c.md)").len(), 1);
    }

    #[test]
    fn paths_in_code_font_are_looked_up() {
        assert_eq!(
            found(
                "README.md",
                "see `shared/bus/src/lib.rs:12` and `shared/bus/`"
            ),
            [""; 0]
        );
        assert_eq!(
            found("README.md", "`docs/runbooks/<code>.md`, `shared/*`"),
            [""; 0]
        );
        assert_eq!(found("README.md", "see `shared/bus/src/gone.rs`").len(), 1);
    }
}
