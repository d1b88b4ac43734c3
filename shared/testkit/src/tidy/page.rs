//! Every code that an operator meets has a page in `docs/runbooks/`.

/// How a constant is documented whose value is a dead letter's reason.
const REASON_DOC: &str = "/// Reason of ";
/// How a comment announces a list of codes.
const LIST: &str = "a page of docs/runbooks:";

/// Dead letters' reason codes that a Rust file gives out.
#[must_use]
pub fn reasons(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut codes = Vec::new();
    let mut documented = false;
    for line in lines {
        if line.starts_with("///") {
            documented |= line.starts_with(REASON_DOC);
            continue;
        }
        if documented && line.contains("const ") {
            codes.extend(line.split('"').nth(1).map(str::to_owned));
        }
        documented = false;
    }
    codes
}

/// Codes that a comment lists behind "a page of docs/runbooks:", up to the full stop.
#[must_use]
pub fn listed(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once(LIST) else {
        return Vec::new();
    };
    let list = rest.split('.').next().unwrap_or_default();
    list.split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
        .filter(|word| word.contains('_'))
        .map(str::to_owned)
        .collect()
}

/// Variants of `pub enum Error` in a Rust file.
#[must_use]
pub fn variants(text: &str) -> Vec<String> {
    let Some((_, body)) = text.split_once("pub enum Error {") else {
        return Vec::new();
    };
    body.lines()
        .take_while(|line| *line != "}")
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .filter_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()).next())
        .map(str::to_owned)
        .collect()
}

/// Findings: codes without a page. `pages` are file names without `.md`.
#[must_use]
pub fn missing(codes: &[String], pages: &[&str]) -> Vec<String> {
    codes
        .iter()
        .filter(|code| !pages.contains(&code.as_str()))
        .map(|code| format!("{code} is operator-visible and has no docs/runbooks/{code}.md"))
        .collect()
}

/// Findings: variants of an error that the table gives neither a page nor a reason to have none.
#[must_use]
pub fn unassigned(variants: &[String], table: &[(&str, &str)]) -> Vec<String> {
    let known = |variant: &str| table.iter().any(|(name, _)| *name == variant);
    let new = variants
        .iter()
        .filter(|variant| !known(variant))
        .map(|variant| {
            format!("error {variant} has no runbook page: name one in shared/testkit/tests/tidy.rs")
        });
    let stale = table
        .iter()
        .filter(|(name, _)| !variants.iter().any(|variant| variant == name))
        .map(|(name, _)| format!("the table of runbook pages names {name}, which is no error"));
    new.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_from_documented_constants() {
        let text = "/// Reason of a bad one.\npub const BAD: &str = \"bad_one\";\n\
                    /// Something else.\nconst X: &str = \"other\";\n";
        assert_eq!(reasons(text), ["bad_one"]);
    }

    #[test]
    fn lists_are_read_from_comments() {
        let text = "  // Stable code, a page of docs/runbooks: bad_one,\n  // worse_one. Never bodies_x.\n";
        assert_eq!(listed(text), ["bad_one", "worse_one"]);
    }

    #[test]
    fn a_code_without_a_page_is_found() {
        let codes = ["bad_one".to_owned(), "other_one".to_owned()];
        assert_eq!(missing(&codes, &["bad_one"]).len(), 1);
    }

    #[test]
    fn a_new_error_and_a_gone_one_are_found() {
        let text = "pub enum Error {\n    /// A.\n    Full {\n        /// B.\n        Path: X,\n    },\n    Gone,\n    Odd(u8),\n}\n";
        let all = variants(text);
        assert_eq!(all, ["Full", "Gone", "Odd"]);
        let found = unassigned(&all, &[("Full", "x"), ("Gone", "x"), ("Old", "x")]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
