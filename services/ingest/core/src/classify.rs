//! How an event is to be handled: a label on each.
//!
//! The words are those of the usual handling rules. A producer's own word is raised where more is
//! found, never lowered.

use std::borrow::Cow;

use balefire_event::Event;
use balefire_event::event::Text;

use crate::redact::Masked;

/// The label that says it.
pub const LABEL: &str = "classification";
/// Where a producer's own word stands that is none of the four.
pub const LABEL_SAID: &str = "classification_said";
/// The label with the counts of what was masked.
pub const LABEL_MASKED: &str = "masked";

/// How an event is to be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Classification {
    /// Anybody may see it. Only a producer says so.
    Public,
    /// Nothing in it is a person's.
    Internal,
    /// It names a person or an address, or has bodies.
    Confidential,
    /// A card, an account, a social security number or a secret was masked in it.
    Restricted,
}

impl Classification {
    const ALL: [Self; 4] = [
        Self::Public,
        Self::Internal,
        Self::Confidential,
        Self::Restricted,
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let is = |one: &Self| one.as_str().eq_ignore_ascii_case(word.trim());
        Self::ALL.into_iter().find(is)
    }

    /// What is found, whatever the producer says.
    fn found(event: &Event<'_>, masked: &Masked) -> Option<Self> {
        if masked.is_restricted() {
            Some(Self::Restricted)
        } else if event.user.is_some()
            || event.evidence.is_some()
            || !event.src_ip.is_empty()
            || !masked.is_empty()
        {
            Some(Self::Confidential)
        } else {
            None
        }
    }
}

/// Labels an event, after its masking.
pub fn label(event: &mut Event<'_>, masked: &Masked) {
    let found = Classification::found(event, masked);
    let place = event.labels.iter().position(|(name, _)| name == LABEL);
    let said = place.map(|place| event.labels.remove(place).1);
    let word = said.as_deref().and_then(Classification::parse);
    if let Some(other) = said.filter(|_| word.is_none()) {
        put(&mut event.labels, LABEL_SAID, other);
    }
    let class = word.or(Some(Classification::Internal)).max(found);
    let class = class.unwrap_or(Classification::Internal);
    put(&mut event.labels, LABEL, Cow::Borrowed(class.as_str()));
    if !masked.is_empty() {
        put(&mut event.labels, LABEL_MASKED, Cow::Owned(masked.told()));
    }
}

/// Puts a label in its place; one of the same name goes.
fn put<'a>(labels: &mut Vec<(Text<'a>, Text<'a>)>, name: &'static str, value: Text<'a>) {
    let label = (Cow::Borrowed(name), value);
    match labels.binary_search_by(|(other, _)| other.as_ref().cmp(name)) {
        Ok(place) => {
            if let Some(there) = labels.get_mut(place) {
                *there = label;
            }
        }
        Err(place) => labels.insert(place, label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact;

    fn labelled(
        reason: &'static str,
        said: Option<&'static str>,
        src_ip: &'static str,
    ) -> Vec<(String, String)> {
        let mut event = Event {
            reason: reason.into(),
            src_ip: src_ip.into(),
            labels: said
                .map(|said| (LABEL.into(), said.into()))
                .into_iter()
                .collect(),
            ..Event::default()
        };
        event.labels.push(("team".into(), "a".into()));
        let masked = redact::event(&mut event);
        label(&mut event, &masked);
        assert!(event.labels.is_sorted());
        let labels = event.labels.into_iter();
        labels
            .filter(|(name, _)| name != "team")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    #[test]
    fn the_word_is_what_was_found_and_never_less_than_what_was_said() {
        let class = |word: &str| vec![(LABEL.to_owned(), word.to_owned())];
        assert_eq!(labelled("", None, ""), class("internal"));
        assert_eq!(labelled("", Some("Public"), ""), class("public"));
        assert_eq!(
            labelled("", Some("public"), "192.0.2.1"),
            class("confidential")
        );
        assert_eq!(labelled("", Some("restricted"), ""), class("restricted"));
        let mut told = class("confidential");
        told.push((LABEL_MASKED.into(), "email:1".into()));
        assert_eq!(labelled("to a@b.example", Some("public"), ""), told);
        let mut told = class("restricted");
        told.push((LABEL_MASKED.into(), "card:1".into()));
        assert_eq!(labelled("4111 1111 1111 1111", None, ""), told);
        let mut told = class("internal");
        told.push((LABEL_SAID.into(), "tlp:red".into()));
        assert_eq!(labelled("", Some("tlp:red"), ""), told);
    }
}
