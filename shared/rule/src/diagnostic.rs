//! What is wrong with a rule file, where, and what to write instead.
//!
//! Never says only "invalid": an analyst must be able to fix the file from the line alone.

use std::fmt;

/// Stable reason of a [`Diagnostic`], for scripts and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The text is not YAML, or a document is not a mapping.
    Yaml,
    /// A file, a list or the whole set is over a named limit.
    TooLarge,
    /// A Sigma construct that is valid but not carried out here (filters, collections, arrays …).
    Unsupported,
    /// The Sigma parser refused the document.
    Sigma,
    /// `id` is missing or no UUID.
    Id,
    /// `name` is missing or not snake_case.
    Name,
    /// Two rules have one `id` or one `name`.
    Duplicate,
    /// `level` is missing or does not escalate.
    Level,
    /// A correlation names a rule that is not there, or another correlation.
    Reference,
    /// A correlation type that is not carried out yet.
    CorrelationType,
    /// `timespan`, or a window mode.
    Window,
    /// The condition of a correlation.
    Threshold,
    /// `group-by`.
    GroupBy,
    /// `balefire.rearm`.
    Rearm,
    /// Another part of the `balefire` block.
    Extension,
    /// The condition of a detection.
    Condition,
    /// A modifier, or a combination of them.
    Modifier,
    /// A value that the field can never have.
    Value,
    /// A field that no rule may read, or that looks misspelt.
    Field,
    /// A test whose answer a later record could take back.
    NotMonotone,
}

impl Code {
    /// Its name in outputs, snake_case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Sigma => "sigma",
            Self::Id => "id",
            Self::Name => "name",
            Self::Duplicate => "duplicate",
            Self::Level => "level",
            Self::Reference => "reference",
            Self::CorrelationType => "correlation_type",
            Self::Window => "window",
            Self::Threshold => "threshold",
            Self::GroupBy => "group_by",
            Self::Rearm => "rearm",
            Self::Extension => "extension",
            Self::Condition => "condition",
            Self::Modifier => "modifier",
            Self::Value => "value",
            Self::Field => "field",
            Self::NotMonotone => "not_monotone",
        }
    }
}

/// One finding in one rule file. Every diagnostic is an error: a set with any is not used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// Stable reason.
    pub code: Code,
    /// Name of the file as it was handed in.
    pub file: String,
    /// Name of the rule, else its id, else its title; absent where none could be read.
    pub rule: Option<String>,
    /// Dotted path of the field inside the document (`correlation.group-by`). Empty: the document.
    pub path: String,
    /// Line in the file, from 1, of the field or the nearest thing above it that was found.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do instead.
    pub help: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.code.as_str())?;
        if let Some(rule) = &self.rule {
            write!(f, ": rule {rule}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}; {}", self.message, self.help)
    }
}

impl std::error::Error for Diagnostic {}

/// A finding before the document it belongs to is known: the inner passes make these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Finding {
    pub(crate) fn new(
        code: Code,
        path: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            code,
            path: path.into(),
            message: message.into(),
            help: help.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_reads_as_one_line_from_place_to_remedy() {
        let diagnostic = Diagnostic {
            code: Code::Id,
            file: "a.yml".into(),
            rule: Some("burst".into()),
            path: "id".into(),
            line: Some(3),
            message: "`id` is missing".into(),
            help: "add a UUID".into(),
        };
        assert_eq!(
            diagnostic.to_string(),
            "a.yml:3: id: rule burst: id: `id` is missing; add a UUID"
        );
    }
}
