//! Owns a rule file as text: its YAML documents, and which line a field stands on.
//!
//! Knows no Sigma. Lines are found in the text, since the YAML crate keeps no positions in values.

use crate::diagnostic::{Code, Diagnostic, Finding};
use yaml_serde::Value;

/// One YAML document of a file.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// Name of the file.
    pub(crate) file: String,
    /// The document's text, without its `---` line.
    pub(crate) text: String,
    /// Line of the file on which the text begins, from 1.
    pub(crate) line: u32,
    /// The parsed text; always a mapping.
    pub(crate) value: Value,
}

impl Document {
    /// Splits a file into its documents. Empty documents (comments only) are left out.
    ///
    /// # Errors
    /// A diagnostic for every document that is not YAML, or not a mapping.
    pub(crate) fn split(file: &str, yaml: &str) -> (Vec<Self>, Vec<Diagnostic>) {
        let mut documents = Vec::new();
        let mut diagnostics = Vec::new();
        for (line, text) in texts(yaml) {
            match yaml_serde::from_str::<Value>(&text) {
                Ok(Value::Null) => {}
                Ok(value @ Value::Mapping(_)) => {
                    documents.push(Document {
                        file: file.to_owned(),
                        text,
                        line,
                        value,
                    });
                }
                Ok(
                    Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Sequence(_)
                    | Value::Tagged(_),
                ) => diagnostics.push(yaml_diagnostic(
                    file,
                    line,
                    "the document is not a mapping".to_owned(),
                )),
                Err(error) => {
                    let inner = error
                        .location()
                        .and_then(|location| u32::try_from(location.line()).ok())
                        .unwrap_or(1);
                    let at = line.saturating_add(inner.saturating_sub(1));
                    diagnostics.push(yaml_diagnostic(file, at, error.to_string()));
                }
            }
        }
        (documents, diagnostics)
    }

    /// What people call the rule: name, else id, else title.
    pub(crate) fn label(&self) -> Option<String> {
        ["name", "id", "title"]
            .iter()
            .find_map(|key| self.value.get(*key).and_then(Value::as_str))
            .map(str::to_owned)
    }

    /// File and line on which it begins.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// Completes a finding with the place of this document.
    pub(crate) fn diagnose(&self, finding: Finding) -> Diagnostic {
        let line = self.line + locate(&self.text, &finding.path).unwrap_or(0);
        Diagnostic {
            code: finding.code,
            file: self.file.clone(),
            rule: self.label(),
            path: finding.path,
            line: Some(line),
            message: finding.message,
            help: finding.help,
        }
    }
}

fn yaml_diagnostic(file: &str, line: u32, message: String) -> Diagnostic {
    Diagnostic {
        code: Code::Yaml,
        file: file.to_owned(),
        rule: None,
        path: String::new(),
        line: Some(line),
        message,
        help: "correct the YAML; one rule is one mapping, documents are separated by ---".into(),
    }
}

/// The texts between `---` lines with the line each begins on. YAML allows `---` at the start of a
/// line nowhere else, not even inside block scalars.
fn texts(yaml: &str) -> Vec<(u32, String)> {
    let mut texts = Vec::new();
    let mut current = String::new();
    let mut start = 1;
    let mut next = 1;
    for line in yaml.lines() {
        next += 1;
        let marker = line == "---" || line.starts_with("--- ") || line == "...";
        if marker {
            texts.push((start, std::mem::take(&mut current)));
            start = next;
        } else {
            current.push_str(line);
            current.push('\n');
        }
    }
    texts.push((start, current));
    texts
}

/// Line offset, from 0, of the deepest part of a dotted path that can be found. The end of the path
/// may be one key with dots in it (`labels.app`).
fn locate(text: &str, path: &str) -> Option<u32> {
    let mut found = None;
    let mut from = 0;
    let mut parent = None;
    let mut rest = path;
    while !rest.is_empty() {
        let (part, after) = rest.split_once('.').unwrap_or((rest, ""));
        let key = part.split('[').next().unwrap_or(part);
        let whole = find_key(text, rest, from, parent).map(|place| (place, ""));
        let Some(((line, indent), left)) =
            whole.or_else(|| find_key(text, key, from, parent).map(|place| (place, after)))
        else {
            break;
        };
        found = u32::try_from(line).ok();
        from = line + 1;
        parent = Some(indent);
        rest = left;
    }
    found
}

/// The first line at or after `from` that opens `key` (with or without modifiers) deeper than `parent`, before the parent ends.
fn find_key(text: &str, key: &str, from: usize, parent: Option<usize>) -> Option<(usize, usize)> {
    for (number, line) in text.lines().enumerate().skip(from) {
        let body = line.trim_start_matches([' ', '-']);
        let indent = line.len() - body.len();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        if parent.is_some_and(|parent| indent <= parent && !line.trim_start().starts_with('-')) {
            return None;
        }
        let opens = body
            .trim_start_matches(['"', '\''])
            .strip_prefix(key)
            .is_some_and(|rest| rest.trim_start_matches(['"', '\'']).starts_with([':', '|']));
        if opens && (parent.is_some() || indent == 0) {
            return Some((number, indent));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_on_its_line_in_the_second_document() {
        let yaml = "title: one\n---\n# note\ntitle: two\ncorrelation:\n  type: event_count\n  group-by:\n    - user_id\nlevel: high\n";
        let (documents, diagnostics) = Document::split("f", yaml);
        assert!(diagnostics.is_empty());
        assert_eq!(documents.len(), 2);
        let finding = Finding::new(Code::GroupBy, "correlation.group-by", "", "");
        assert_eq!(documents[1].diagnose(finding).line, Some(7));
        let finding = Finding::new(Code::Level, "level", "", "");
        assert_eq!(documents[1].diagnose(finding).line, Some(9));
        let (documents, _) = Document::split(
            "f",
            "a:\n  labels.app|re: 5\n  b:\n    - name: x\n      class: y\n",
        );
        let line = |path: &str| {
            documents[0]
                .diagnose(Finding::new(Code::Level, path, "", ""))
                .line
        };
        assert_eq!(line("a.labels.app"), Some(2));
        assert_eq!(line("a.b[0].class"), Some(5));
    }

    #[test]
    fn what_is_not_there_is_placed_at_its_parent() {
        let (documents, _) = Document::split("f", "---\ncorrelation:\n  type: x\nabsent: 1\n");
        let finding = Finding::new(Code::Level, "correlation.absent", "", "");
        assert_eq!(documents[0].diagnose(finding).line, Some(2));
    }

    #[test]
    fn broken_yaml_is_named_by_its_line_in_the_file() {
        let (documents, diagnostics) = Document::split("f", "title: one\n---\na: 1\nb: [1\n");
        assert_eq!(documents.len(), 1);
        assert_eq!(diagnostics.len(), 1);
        assert_eq!(diagnostics[0].code, Code::Yaml);
        assert!(
            diagnostics[0]
                .line
                .is_some_and(|line| (3..=5).contains(&line))
        );
    }

    #[test]
    fn comments_only_are_no_document_and_a_list_is_refused() {
        let (documents, diagnostics) = Document::split("f", "# nothing\n---\n- a\n");
        assert!(documents.is_empty());
        assert_eq!(diagnostics[0].line, Some(3));
    }
}
