//! What a source file may not be or hold.

use crate::tidy::tree::File;

/// Most lines of a file before its tests begin.
pub const CODE_LINES_MAX: usize = 400;
/// Most lines of a file with its tests, or of a test.
pub const FILE_LINES_MAX: usize = 600;

/// Written so that this file does not hold what it forbids.
const IGNORED: &str = concat!("#[", "ignore");
const TODO: &str = concat!("todo", "!(");

/// Findings about one file of the tree.
#[must_use]
pub fn check(file: &File) -> Vec<String> {
    let path = file.path.as_str();
    let mut found = Vec::new();
    if path.ends_with(".rs") && !path.contains("/generated/") {
        length(file, &mut found);
        if path.ends_with("/mod.rs") {
            found.push(format!("{path}: name the module by its file, not mod.rs"));
        }
        if file.text.contains(IGNORED) {
            found.push(format!(
                "{path}: a test that is not run proves nothing; mend or delete it"
            ));
        }
        if file.text.contains(TODO) {
            found.push(format!("{path}: holds {TODO}…): finish it or leave it out"));
        }
    }
    if path.ends_with("clippy.toml") && path != "clippy.toml" {
        found.push(format!(
            "{path}: silently replaces the one at the root; delete it"
        ));
    }
    if path == ".config/nextest.toml" {
        retries(file, &mut found);
    }
    found
}

fn length(file: &File, found: &mut Vec<String>) {
    let path = &file.path;
    let all = file.text.lines().count();
    if all > FILE_LINES_MAX {
        found.push(format!(
            "{path} has {all} lines, {FILE_LINES_MAX} at most: split by what it owns"
        ));
    }
    if is_test(path) {
        return;
    }
    let code = file
        .text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .count();
    if code > CODE_LINES_MAX {
        found.push(format!(
            "{path} has {code} lines before its tests, {CODE_LINES_MAX} at most: split by what it owns"
        ));
    }
}

fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.contains("/tests/") || name == "tests.rs" || name.ends_with("_tests.rs")
}

fn retries(file: &File, found: &mut Vec<String>) {
    for line in file.text.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        if key.trim() == "retries" && value.trim() != "0" {
            found.push(format!(
                "{}: a flake is a bug, nothing is tried twice",
                file.path
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let file = File {
            path: path.into(),
            text: text.into(),
        };
        check(&file).len()
    }

    #[test]
    fn a_file_may_have_400_lines_and_600_with_its_tests() {
        assert_eq!(found("a/src/b.rs", &"x\n".repeat(400)), 0);
        assert_eq!(found("a/src/b.rs", &"x\n".repeat(401)), 1);
        let tested =
            |tests: usize| format!("{}#[cfg(test)]\n{}", "x\n".repeat(400), "x\n".repeat(tests));
        assert_eq!(found("a/src/b.rs", &tested(199)), 0);
        assert_eq!(found("a/src/b.rs", &tested(200)), 1);
    }

    #[test]
    fn a_test_file_may_have_600_lines() {
        assert_eq!(found("a/tests/b.rs", &"x\n".repeat(600)), 0);
        assert_eq!(found("a/src/b_tests.rs", &"x\n".repeat(601)), 1);
    }

    #[test]
    fn generated_code_has_no_limit() {
        assert_eq!(found("a/src/generated/b.rs", &"x\n".repeat(5000)), 0);
    }

    #[test]
    fn forbidden_shapes_are_found() {
        assert_eq!(found("a/src/b/mod.rs", ""), 1);
        assert_eq!(
            found("a/tests/b.rs", &format!("{IGNORED}]\nfn x() {{}}")),
            1
        );
        assert_eq!(found("a/src/b.rs", &format!("fn x() {{ {TODO}) }}")), 1);
        assert_eq!(found("a/clippy.toml", ""), 1);
        assert_eq!(found("clippy.toml", ""), 0);
        assert_eq!(found(".config/nextest.toml", "retries = 0\n"), 0);
        assert_eq!(
            found(".config/nextest.toml", "[x]\nretries = { count = 2 }\n"),
            1
        );
    }
}
