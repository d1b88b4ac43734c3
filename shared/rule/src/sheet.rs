//! Owns one document that parsed: a rule with its compiled detection, or a correlation with what
//! it counts. Knows no other document.

use std::borrow::Cow;
use std::collections::BTreeSet;

use balefire_event::{Field, IdentityKind, RuleId, Severity};
use rsigma_parser::{CorrelationRule, Level, SigmaRule, parse_sigma_yaml};
use yaml_serde::{Mapping, Value};

use crate::correlation;
use crate::detection;
use crate::diagnostic::{Code, Finding};
use crate::document::Document;
use crate::expression::Expression;
use crate::extension::{Extension, is_word};
use crate::field::readable;
use crate::rule::RuleKind;

/// One document that parsed.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) document: Document,
    pub(crate) id: RuleId,
    pub(crate) name: Option<String>,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) level: Option<Level>,
    pub(crate) shows: Vec<Field>,
    pub(crate) extension: Extension,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Rule(Expression),
    Correlation {
        rules: Vec<String>,
        generate: bool,
        kind: RuleKind,
    },
}

/// Longest condition, bytes: the parser goes one call deeper with every `not` in it.
pub const CONDITION_BYTES_MAX: usize = 2_048;

/// Conditions anywhere in the document that are too long for the parser. The YAML crate bounds how
/// deep a document can be.
fn check_conditions(path: &str, value: &Value, findings: &mut Vec<Finding>) {
    let fields = value.as_mapping().into_iter().flatten();
    for (key, value) in fields.filter_map(|(key, value)| Some((key.as_str()?, value))) {
        let path = if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        };
        let alone = std::slice::from_ref(value);
        let texts = value.as_sequence().map_or(alone, Vec::as_slice);
        let length = texts
            .iter()
            .filter_map(Value::as_str)
            .map(str::len)
            .sum::<usize>();
        if key == "condition" && length > CONDITION_BYTES_MAX {
            findings.push(Finding::new(
                Code::TooLarge,
                path.as_str(),
                format!("the condition has {length} bytes, at most {CONDITION_BYTES_MAX}"),
                "use `1 of name*` and `all of name*`, or split the rule",
            ));
        }
        for value in texts {
            check_conditions(&path, value, findings);
        }
    }
}

/// Sigma constructs that would be passed over in silence.
fn unsupported(document: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refuse = |path: &str, message: &str, help: &str| {
        findings.push(Finding::new(Code::Unsupported, path, message, help));
    };
    if document.get("action").is_some() {
        let message = "collections (`action: global`, `repeat`) are not carried out";
        refuse("action", message, "write every rule in full");
    }
    if document.get("filter").is_some() {
        let message = "Sigma filters are not carried out";
        refuse(
            "filter",
            message,
            "write the exception into the rule's condition",
        );
    }
    let correlation = document.get("correlation").is_some();
    if !correlation && document.get("generate").is_some() {
        let message = "`generate` belongs to a correlation";
        refuse(
            "generate",
            message,
            "write balefire.escalate: true in the rule",
        );
    }
    let keys = document
        .as_mapping()
        .into_iter()
        .flat_map(|mapping| mapping.keys());
    for key in keys
        .filter_map(Value::as_str)
        .filter(|key| key.starts_with("rsigma."))
    {
        refuse(
            key,
            "extensions of another engine are not carried out",
            "use the balefire block",
        );
    }
    findings
}

enum Sigma {
    Rule(Box<SigmaRule>),
    Correlation(Box<CorrelationRule>),
}

fn parsed(document: &Document) -> Result<Sigma, Vec<Finding>> {
    const HELP: &str = "see the Sigma specification 2.1 for what stands there";
    let finding = |message: String| {
        let code = if message.starts_with("invalid level") {
            Code::Level
        } else {
            Code::Sigma
        };
        let path = if code == Code::Level {
            "level"
        } else {
            path_of(&message)
        };
        Finding::new(code, path, message, HELP)
    };
    let text = parsable(document).map_err(|error| vec![finding(error)])?;
    let mut collection =
        parse_sigma_yaml(&text).map_err(|error| vec![finding(error.to_string())])?;
    if collection.has_errors() {
        return Err(collection.errors.into_iter().map(finding).collect());
    }
    match (collection.rules.pop(), collection.correlations.pop()) {
        (Some(rule), None) => Ok(Sigma::Rule(Box::new(rule))),
        (None, Some(rule)) => Ok(Sigma::Correlation(Box::new(rule))),
        (_, _) => Err(vec![finding("neither a rule nor a correlation".to_owned())]),
    }
}

/// The document as the parser takes it: it refuses fractions in the condition of a correlation,
/// which is read from the YAML itself.
fn parsable(document: &Document) -> Result<Cow<'_, str>, String> {
    let correlation = document.value.get("correlation");
    if correlation.and_then(|c| c.get("condition")).is_none() {
        return Ok(Cow::Borrowed(&document.text));
    }
    let mut value = document.value.clone();
    if let Some(Value::Mapping(correlation)) = value.get_mut("correlation") {
        let stand_in = Mapping::from_iter([(Value::from("gt"), Value::from(0))]);
        correlation.insert(Value::from("condition"), Value::Mapping(stand_in));
    }
    let text = yaml_serde::to_string(&value).map_err(|error| error.to_string())?;
    Ok(Cow::Owned(text))
}

/// Where the parser's message points; it gives no path itself.
fn path_of(message: &str) -> &'static str {
    let places = [
        ("Condition parse error", "detection.condition"),
        ("'condition'", "detection.condition"),
        ("orrelation condition", "correlation.condition"),
        ("requires a condition", "correlation.condition"),
        ("timeframe", "correlation.timespan"),
        ("timespan", "correlation.timespan"),
        ("status", "status"),
        ("related", "related"),
        ("etection", "detection"),
        ("odifier", "detection"),
        ("orrelation", "correlation"),
    ];
    places
        .iter()
        .find(|(sign, _)| message.contains(sign))
        .map_or("", |(_, path)| *path)
}

impl Sigma {
    fn sheet(self, document: Document) -> Result<Sheet, Vec<Finding>> {
        let mut findings = Vec::new();
        let extension = Extension::read(&document.value)
            .map_err(|found| findings.extend(found))
            .unwrap_or_default();
        let id = id(&document.value)
            .map_err(|finding| findings.push(finding))
            .ok();
        let name = name(&document.value)
            .map_err(|finding| findings.push(finding))
            .ok()
            .flatten();
        let (title, description, level, fields) = match &self {
            Self::Rule(rule) => (&rule.title, &rule.description, rule.level, &rule.fields),
            Self::Correlation(rule) => (&rule.title, &rule.description, rule.level, &rule.fields),
        };
        let (title, description) = (title.clone(), description.clone().unwrap_or_default());
        let shows = shows(fields)
            .map_err(|found| findings.extend(found))
            .unwrap_or_default();
        let body = self
            .body(&document, &extension)
            .map_err(|found| findings.extend(found))
            .ok();
        let (Some(id), Some(body), true) = (id, body, findings.is_empty()) else {
            return Err(findings);
        };
        Ok(Sheet {
            document,
            id,
            name,
            title,
            description,
            level,
            shows,
            extension,
            body,
        })
    }

    fn body(&self, document: &Document, extension: &Extension) -> Result<Body, Vec<Finding>> {
        match self {
            Self::Rule(rule) => {
                let expression = detection::compile(&rule.detection)?;
                let help = "leave it out, or put it on the correlation";
                if extension.rearm.is_some() {
                    let message = "a rule without a window has no re-arm period";
                    let finding = Finding::new(Code::Rearm, "balefire.rearm", message, help);
                    return Err(vec![finding]);
                }
                if extension.absence.is_some() {
                    let message = "a rule without a window cannot wait for what is absent";
                    let finding = Finding::new(Code::Extension, "balefire.absence", message, help);
                    return Err(vec![finding]);
                }
                Ok(Body::Rule(expression))
            }
            Self::Correlation(rule) => Ok(Body::Correlation {
                rules: rule.rules.clone(),
                generate: rule.generate,
                kind: correlation::read(rule, &document.value, extension)?,
            }),
        }
    }
}

fn id(document: &Value) -> Result<RuleId, Finding> {
    let refuse = |message: &str| {
        let help = "write one that stays for ever, as `uuidgen` makes it: it is part of every escalation id";
        Err(Finding::new(Code::Id, "id", message, help))
    };
    match document.get("id") {
        None => refuse("`id` is missing"),
        Some(value) => match value.as_str().map(RuleId::from_uuid) {
            Some(Ok(id)) => Ok(id),
            Some(Err(_)) | None => refuse("`id` is no UUID"),
        },
    }
}

fn name(document: &Value) -> Result<Option<String>, Finding> {
    let Some(value) = document.get("name") else {
        return Ok(None);
    };
    match value.as_str() {
        Some(name) if is_word(name) => Ok(Some(name.to_owned())),
        Some(_) | None => Err(Finding::new(
            Code::Name,
            "name",
            "`name` is not snake_case of at most 64 bytes",
            "write lower-case letters, digits and underscores, a letter first",
        )),
    }
}

/// The fields to show; the user where none are named.
fn shows(names: &[String]) -> Result<Vec<Field>, Vec<Finding>> {
    if names.is_empty() {
        return Ok(vec![Field::Identity(IdentityKind::User)]);
    }
    let mut fields = Vec::new();
    let mut findings = Vec::new();
    for name in names.iter().collect::<BTreeSet<_>>() {
        match readable("fields", name) {
            Ok(field) => fields.push(field),
            Err(finding) => findings.push(finding),
        }
    }
    fields.sort_by_key(|field| names.iter().position(|name| name.as_str() == field.name()));
    if findings.is_empty() {
        Ok(fields)
    } else {
        Err(findings)
    }
}

impl Sheet {
    /// Parses, checks and compiles a document.
    ///
    /// # Errors
    /// Every finding in it.
    pub(crate) fn read(document: Document) -> Result<Self, Vec<Finding>> {
        let mut findings = unsupported(&document.value);
        check_conditions("", &document.value, &mut findings);
        if document.value.get("correlation").is_some() {
            findings.extend(correlation::check_written(&document.value));
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        parsed(&document)?.sheet(document)
    }

    /// What a rule must have to escalate.
    pub(crate) fn escalating(&self) -> Result<(RuleId, String, Severity), Vec<Finding>> {
        let severity = match self.level {
            Some(Level::Low) => Some(Severity::Low),
            Some(Level::Medium) => Some(Severity::Medium),
            Some(Level::High) => Some(Severity::High),
            Some(Level::Critical) => Some(Severity::Critical),
            Some(Level::Informational) | None => None,
        };
        if let (Some(name), Some(severity)) = (&self.name, severity) {
            return Ok((self.id, name.clone(), severity));
        }
        let mut findings = Vec::new();
        if self.name.is_none() {
            let help = "write `name:` in snake_case; it may change later, the id may not";
            findings.push(Finding::new(Code::Name, "name", "`name` is missing", help));
        }
        if severity.is_none() {
            let message = match self.level {
                Some(_) => "an informational rule does not escalate",
                None => "`level` is missing: it is the severity of the escalations",
            };
            let help = "write low, medium, high or critical, or balefire.escalate: false";
            findings.push(Finding::new(Code::Level, "level", message, help));
        }
        Err(findings)
    }
}
