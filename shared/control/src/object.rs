//! [`Object`] and [`Change`]: what is kept, and what the log holds.

use std::collections::BTreeMap;

use balefire_event::Timestamp;

use crate::{Kind, Spec};

/// What names an object, for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Whose.
    pub tenant: String,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What names it.
    pub key: Key,
    /// Counts the changes of the name from 1, over deletions too.
    pub revision: u64,
    /// The tool that owns it; empty: nobody.
    pub managed_by: String,
    /// Words for people.
    pub labels: BTreeMap<String, String>,
    /// When and by whom it was created.
    pub created: (Timestamp, String),
    /// When and by whom it was last changed.
    pub updated: (Timestamp, String),
    /// What it says.
    pub spec: Spec,
    /// Control revision from which it is as it is.
    pub control_revision: u64,
}

impl Object {
    /// The text of a field; empty where it is absent.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.spec
            .get(field)
            .and_then(|value| value.text())
            .unwrap_or_default()
    }
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of what.
    pub key: Key,
    /// Revision before; 0: it was not there.
    pub old_revision: u64,
    /// Revision after.
    pub new_revision: u64,
    /// The object as it is after; `None`: deleted.
    pub object: Option<Object>,
    /// To what end.
    pub purpose: String,
    /// Of an object that another tool owns.
    pub overridden: bool,
    /// The caller's; empty: none.
    pub request_id: String,
    /// Of what was asked.
    pub request_digest: [u8; 32],
}

/// A change, and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence in CONTROL.
    pub control_revision: u64,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub change: Change,
}
