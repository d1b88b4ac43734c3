//! Owns a rule set while it is read: every document's parts, every fault found, and the links from
//! correlations to the rules they count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_event::RuleId;
use balefire_event::digest::FieldHasher;

use crate::correlation::{REFERENCES_MAX, STEPS_MAX};
use crate::detection;
use crate::diagnostic::{Code, Diagnostic, Finding};
use crate::document::Document;
use crate::expression::Expression;
use crate::measure::{Measure, Threshold};
use crate::rule::{Rule, RuleKind};
use crate::sheet::{Body, Sheet};

/// Largest rule file, bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Most documents of a set.
pub const DOCUMENTS_MAX: usize = 4_096;

/// Files that were read without a fault, so that a set that differs in one file reads one file. It
/// holds those of the last set and no others.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// Digest of the text, and its documents, by the file's name.
    files: BTreeMap<String, ([u8; 32], Vec<Arc<Sheet>>)>,
    /// The rules that escalated in the last set.
    rules: BTreeMap<RuleId, Arc<Rule>>,
}

impl Reader {
    /// These rules; what is as it was is not kept twice.
    pub(crate) fn shared(&mut self, rules: Vec<Rule>) -> Vec<Arc<Rule>> {
        let known = std::mem::take(&mut self.rules);
        let shared: Vec<Arc<Rule>> = rules
            .into_iter()
            .map(|rule| match known.get(&rule.id) {
                Some(known) if **known == rule => Arc::clone(known),
                Some(_) | None => Arc::new(rule),
            })
            .collect();
        self.rules = shared
            .iter()
            .map(|rule| (rule.id, Arc::clone(rule)))
            .collect();
        shared
    }
}

/// Documents that parsed, and what was found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    sheets: Vec<Arc<Sheet>>,
    diagnostics: Vec<Diagnostic>,
}

/// What correlations say about a rule they name.
#[derive(Debug, Clone, Copy, Default)]
struct Mention {
    counted: bool,
    generate: bool,
    /// Some correlation that names it is not decided at close.
    at_once: bool,
}

impl Draft {
    /// Reads every document of every file that the reader does not know.
    ///
    /// # Errors
    /// Everything found wrong, once the documents were also compared with each other.
    pub(crate) fn read<N: AsRef<str>, Y: AsRef<str>>(
        reader: &mut Reader,
        files: &[(N, Y)],
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut draft = Self::default();
        let mut count = 0;
        let known = std::mem::take(&mut reader.files);
        for (name, yaml) in files {
            let (name, yaml) = (name.as_ref(), yaml.as_ref());
            let digest = FieldHasher::new("rule file")
                .field(yaml.as_bytes())
                .digest();
            let same = known.get(name).filter(|(of, _)| *of == digest);
            if let Some((_, sheets)) = same.filter(|(_, s)| count + s.len() <= DOCUMENTS_MAX) {
                count += sheets.len();
                draft.sheets.extend(sheets.iter().cloned());
                reader
                    .files
                    .insert(name.to_owned(), (digest, sheets.clone()));
                continue;
            }
            let (before, faults) = (draft.sheets.len(), draft.diagnostics.len());
            for document in draft.split(name, yaml) {
                count += 1;
                if count == DOCUMENTS_MAX + 1 {
                    let message = format!("more than {DOCUMENTS_MAX} documents");
                    let help = "remove rules that are not used";
                    draft.report(&document, Finding::new(Code::TooLarge, "", message, help));
                }
                if count <= DOCUMENTS_MAX {
                    draft.document(document);
                }
            }
            if draft.diagnostics.len() == faults {
                let sheets = draft.sheets.iter().skip(before).cloned().collect();
                reader.files.insert(name.to_owned(), (digest, sheets));
            }
        }
        draft.refuse_duplicates();
        if draft.diagnostics.is_empty() {
            Ok(draft)
        } else {
            Err(draft.sorted())
        }
    }

    fn sorted(mut self) -> Vec<Diagnostic> {
        self.diagnostics
            .sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        self.diagnostics
    }

    fn report(&mut self, document: &Document, finding: Finding) {
        self.diagnostics.push(document.diagnose(finding));
    }

    fn split(&mut self, name: &str, yaml: &str) -> Vec<Document> {
        if yaml.len() > FILE_BYTES_MAX {
            self.diagnostics.push(Diagnostic {
                code: Code::TooLarge,
                file: name.to_owned(),
                rule: None,
                path: String::new(),
                line: None,
                message: format!(
                    "the file has {} bytes, at most {FILE_BYTES_MAX}",
                    yaml.len()
                ),
                help: "split it".to_owned(),
            });
            return Vec::new();
        }
        let (documents, diagnostics) = Document::split(name, yaml);
        self.diagnostics.extend(diagnostics);
        documents
    }

    fn document(&mut self, document: Document) {
        match Sheet::read(document.clone()) {
            Ok(sheet) => self.sheets.push(Arc::new(sheet)),
            Err(findings) => findings.into_iter().for_each(|f| self.report(&document, f)),
        }
    }

    fn refuse_duplicates(&mut self) {
        let mut ids = BTreeMap::new();
        let mut names = BTreeMap::new();
        let mut found = Vec::new();
        for sheet in &self.sheets {
            let place = || sheet.document.place();
            if let Some(first) = other(ids.entry(sheet.id).or_insert_with(place), sheet) {
                found.push(sheet.document.diagnose(duplicate("id", &first)));
            }
            let name = sheet.name.as_deref();
            let first = name.and_then(|n| other(names.entry(n).or_insert_with(place), sheet));
            if let Some(first) = first {
                found.push(sheet.document.diagnose(duplicate("name", &first)));
            }
        }
        self.diagnostics.extend(found);
    }

    /// Links correlations to the rules they count, and makes the rules that escalate.
    ///
    /// # Errors
    /// Everything found wrong.
    pub(crate) fn link(mut self) -> Result<Vec<Rule>, Vec<Diagnostic>> {
        let mentions = self.mentions();
        let mut rules = Vec::new();
        let mut found = Vec::new();
        for (index, sheet) in self.sheets.iter().enumerate() {
            let mention = mentions.get(&index).copied().unwrap_or_default();
            match self.rule(sheet, mention) {
                Ok(rule) => rules.extend(rule),
                Err(findings) => {
                    found.extend(findings.into_iter().map(|f| sheet.document.diagnose(f)));
                }
            }
        }
        self.diagnostics.extend(found);
        if self.diagnostics.is_empty() {
            Ok(rules)
        } else {
            Err(self.sorted())
        }
    }

    /// By place in `sheets`: what correlations say about each rule.
    fn mentions(&self) -> BTreeMap<usize, Mention> {
        let mut mentions: BTreeMap<usize, Mention> = BTreeMap::new();
        for sheet in &self.sheets {
            let Body::Correlation {
                rules,
                generate,
                kind,
            } = &sheet.body
            else {
                continue;
            };
            let named = rules.iter().chain(sheet.extension.absence.iter().flatten());
            for (index, _) in named.filter_map(|reference| self.find(reference)) {
                let mention = mentions.entry(index).or_default();
                mention.counted = true;
                mention.generate |= generate;
                mention.at_once |= !matches!(kind, RuleKind::AtClose(_));
            }
        }
        mentions
    }

    /// A rule by its name, or its id in any spelling.
    fn find(&self, reference: &str) -> Option<(usize, &Sheet)> {
        let id = RuleId::from_uuid(reference).ok();
        self.sheets
            .iter()
            .enumerate()
            .map(|(index, sheet)| (index, &**sheet))
            .find(|(_, sheet)| sheet.name.as_deref() == Some(reference) || id == Some(sheet.id))
    }

    /// The rule of a sheet, if it escalates.
    fn rule(&self, sheet: &Sheet, mention: Mention) -> Result<Option<Rule>, Vec<Finding>> {
        let (kind, expression, steps, escalates) = match &sheet.body {
            Body::Rule(expression) => {
                let escalates = !mention.counted || mention.generate;
                let escalates = sheet.extension.escalate.unwrap_or(escalates);
                if escalates || mention.at_once || !mention.counted {
                    check_monotone(expression)?;
                }
                let none = Box::default();
                (RuleKind::Single, expression.clone(), none, escalates)
            }
            Body::Correlation { rules, kind, .. } => {
                let (expression, steps) = self.looked_for(rules, sheet, kind)?;
                let escalates = sheet.extension.escalate.unwrap_or(true);
                (kind.clone(), expression, steps, escalates)
            }
        };
        if !escalates {
            return Ok(None);
        }
        let (id, name, severity) = sheet.escalating()?;
        let extension = &sheet.extension;
        Ok(Some(Rule {
            id,
            name,
            title: sheet.title.clone(),
            description: sheet.description.clone(),
            severity,
            kind,
            shows: sheet.shows.clone(),
            actions: extension.actions.clone(),
            audiences: extension.audiences.clone(),
            atlas: extension.atlas.clone(),
            owasp: extension.owasp.clone(),
            summary: extension.summary.clone(),
            first_steps: extension.first_steps.clone(),
            shadow: extension.shadow,
            expression,
            steps,
        }))
    }

    /// What a correlation looks for, and its steps where it has any.
    fn looked_for(
        &self,
        rules: &[String],
        sheet: &Sheet,
        kind: &RuleKind,
    ) -> Result<(Expression, Box<[Expression]>), Vec<Finding>> {
        let named = self.named("correlation.rules", rules)?;
        if let Some(absent) = &sheet.extension.absence {
            let absent_path = "balefire.absence.of";
            let absent_rules = self.named(absent_path, absent)?;
            self.refuse_repeated(absent_path, rules.iter().chain(absent))?;
            let steps = vec![Expression::any(named), Expression::any(absent_rules)];
            return Ok((Expression::any(steps.clone()), steps.into()));
        }
        let RuleKind::Threshold(Threshold {
            measure: Measure::Sequence { steps, .. },
            ..
        }) = kind
        else {
            return Ok((Expression::any(named), Box::default()));
        };
        if !(2..=STEPS_MAX).contains(steps) {
            return Err(vec![Finding::new(
                Code::Reference,
                "correlation.rules",
                format!("{steps} rules named, 2 to {STEPS_MAX} make a sequence"),
                "name a rule for each step",
            )]);
        }
        self.refuse_repeated("correlation.rules", rules.iter())?;
        Ok((Expression::any(named.clone()), named.into()))
    }

    /// Refuses a rule that is named twice: one event would be both.
    fn refuse_repeated<'r>(
        &self,
        path: &str,
        references: impl Iterator<Item = &'r String>,
    ) -> Result<(), Vec<Finding>> {
        let mut seen = BTreeSet::new();
        for reference in references {
            if let Some((index, _)) = self.find(reference)
                && !seen.insert(index)
            {
                return Err(vec![Finding::new(
                    Code::Reference,
                    path,
                    format!("`{reference}` is named twice: one event would be both"),
                    "name different rules; event_count counts several events of one rule",
                )]);
            }
        }
        Ok(())
    }

    /// The conditions of the named rules.
    fn named(&self, path: &str, references: &[String]) -> Result<Vec<Expression>, Vec<Finding>> {
        let refuse = |code, message: String, help: &str| Finding::new(code, path, message, help);
        if references.is_empty() || references.len() > REFERENCES_MAX {
            let message = format!("{} rules named, 1 to {REFERENCES_MAX}", references.len());
            return Err(vec![refuse(
                Code::Reference,
                message,
                "list names or ids of rules",
            )]);
        }
        detection::gather(references.iter().map(|reference| {
            match self.find(reference).map(|(_, sheet)| &sheet.body) {
                Some(Body::Rule(expression)) => Ok(expression.clone()),
                Some(Body::Correlation { .. }) => Err(vec![refuse(
                    Code::Reference,
                    format!("`{reference}` is a correlation itself"),
                    "name the rules it counts; chains are not carried out yet",
                )]),
                None => Err(vec![refuse(
                    Code::Reference,
                    format!("there is no rule `{reference}` in the set"),
                    "name a rule by its `name` or `id`, and hand its file in too",
                )]),
            }
        }))
    }
}

/// Refuses what a later record could take back (SEMANTICS §3): a field that a join may still fill,
/// under a negation. Windowless rules too: whether a partial event or its amendment comes first
/// would otherwise decide. A rule that is only used at close may ask for it.
fn check_monotone(expression: &Expression) -> Result<(), Vec<Finding>> {
    let names = expression.retractable();
    if names.is_empty() {
        return Ok(());
    }
    Err(vec![Finding::new(
        Code::NotMonotone,
        "detection.condition",
        format!(
            "`not`, null or `exists: false` over {}: a join may fill it later and take the match back",
            names.join(", ")
        ),
        "name what it should be instead of what it should not be, or negate fields of the record's own; only a rule whose every use is decided at close (value_avg, value_percentile, balefire.absence) may ask this",
    )])
}

/// The place of the first holder, unless that is this sheet.
fn other(first: &mut String, sheet: &Sheet) -> Option<String> {
    (*first != sheet.document.place()).then(|| first.clone())
}

fn duplicate(field: &str, first: &str) -> Finding {
    Finding::new(
        Code::Duplicate,
        field,
        format!("the {field} is that of the rule at {first}"),
        format!("give each rule its own {field}"),
    )
}
