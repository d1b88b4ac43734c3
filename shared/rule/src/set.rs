//! Owns the rules in force and answers which of them an event concerns. Holds no state.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, Reader};
use crate::rule::Rule;
use balefire_event::digest::FieldHasher;
use balefire_event::{Category, Event, Field, RuleId};

/// The rules in force: those that escalate, compiled.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    /// Places in `rules`, by category number.
    by_category: Vec<Box<[usize]>>,
    digest: [u8; 32],
}

impl RuleSet {
    /// Parses, checks and compiles files, each a name (for messages and the digest) and its YAML.
    /// Rules come out ordered by name; the order of the files has no influence.
    ///
    /// # Errors
    /// Every fault of every file: a set with a fault is not used.
    pub fn parse<N: AsRef<str>, Y: AsRef<str>>(files: &[(N, Y)]) -> Result<Self, Vec<Diagnostic>> {
        Self::parse_with(&mut Reader::default(), files)
    }

    /// The same, without reading again what the reader knows; a rule that is as it was in the
    /// reader's last set is the same in memory. The order of the files has no influence, nor has
    /// what the reader knows.
    ///
    /// # Errors
    /// As [`RuleSet::parse`].
    pub fn parse_with<N: AsRef<str>, Y: AsRef<str>>(
        reader: &mut Reader,
        files: &[(N, Y)],
    ) -> Result<Self, Vec<Diagnostic>> {
        let rules = Draft::read(reader, files)?.link()?;
        Ok(Self::new(reader.shared(rules), digest(files)))
    }

    fn new(mut rules: Vec<Arc<Rule>>, digest: [u8; 32]) -> Self {
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        let last = Category::ALL
            .iter()
            .map(|category| *category as usize)
            .max()
            .unwrap_or(0);
        let mut by_category = vec![Vec::new(); last + 1];
        for category in Category::ALL {
            if let Some(places) = by_category.get_mut(*category as usize) {
                places.extend(
                    rules
                        .iter()
                        .enumerate()
                        .filter(|(_, r)| r.concerns(*category))
                        .map(|(i, _)| i),
                );
            }
        }
        Self {
            rules,
            by_category: by_category.into_iter().map(Into::into).collect(),
            digest,
        }
    }

    /// The rules that escalate, by name.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The rule of an id.
    #[must_use]
    pub fn rule(&self, id: &RuleId) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.id == *id)
            .map(AsRef::as_ref)
    }

    /// The rule of a name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.name == name)
            .map(AsRef::as_ref)
    }

    /// The rules that an event of the category could match, by name; the others need not be asked.
    pub fn candidates(&self, category: Category) -> impl Iterator<Item = &Rule> {
        self.by_category
            .get(category as usize)
            .into_iter()
            .flatten()
            .filter_map(|place| self.rules.get(*place).map(AsRef::as_ref))
    }

    /// The rules that match the event, by name.
    pub fn matching<'s, 'e: 's>(
        &'s self,
        event: &'e Event<'e>,
    ) -> impl Iterator<Item = &'s Rule> + 's {
        self.candidates(event.category)
            .filter(move |rule| rule.matches(event))
    }

    /// Whether any rule reads the field or groups by it.
    #[must_use]
    pub fn reads(&self, field: &Field) -> bool {
        self.rules.iter().any(|rule| rule.reads(field))
    }

    /// BLAKE3 over names and contents of the files, whatever order they came in.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

fn digest<N: AsRef<str>, Y: AsRef<str>>(files: &[(N, Y)]) -> [u8; 32] {
    let mut sorted: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, yaml)| (name.as_ref(), yaml.as_ref()))
        .collect();
    sorted.sort_unstable();
    let mut hasher = FieldHasher::new("balefire rule set v1");
    for (name, yaml) in sorted {
        hasher.field(name.as_bytes()).field(yaml.as_bytes());
    }
    hasher.digest()
}
