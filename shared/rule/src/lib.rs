//! The rule language of Balefire: Sigma rules and correlations, checked and compiled
//! into matchers on [`balefire_event::Event`].
//!
//! Pure: no files, no clock, no state. Windows are counted elsewhere; this crate says which events
//! a rule looks for, and what it counts.
//!
//! # What is Sigma here, and what is ours
//! - Text compares without regard to case, `*` and `?` are wildcards, `cased` turns the first off.
//!   Keywords are looked for anywhere in every text field but identities.
//! - Empty text, JSON null and an absent field are one: nothing was said. `field: null`,
//!   `field: ''` and `exists: false` ask for it.
//! - `category`, `severity` and `timing` are closed lists; a word outside them is a diagnostic.
//! - `labels.NAME` is a label; an unknown name is an extension, nested ones joined by dots. A list
//!   matches when any of its members does.
//! - `logsource` restricts nothing; `product: ai_security` is the custom of the baseline pack.
//! - Everything Sigma has no word for stands under one key, `balefire`.
//! - Identities have no readable value for rules, and what a join may fill cannot be negated
//!   (SEMANTICS §3, §8): a match is never taken back.

mod baseline;
mod cidr;
mod condition;
mod correlation;
mod detection;
mod diagnostic;
mod document;
mod draft;
mod expression;
mod extension;
mod field;
mod item;
mod measure;
mod modifier;
mod pattern;
mod rule;
mod set;
mod sheet;
mod test;
mod words;

pub use baseline::{BASELINE, baseline};
pub use condition::{NUMBER_MAX, THRESHOLD_MAX};
pub use correlation::{
    GROUP_BY_MAX, REARM_MAX, REARM_PARTS, REFERENCES_MAX, STEPS_MAX, TYPES, WINDOW_MAX,
};
pub use diagnostic::{Code, Diagnostic};
pub use draft::{DOCUMENTS_MAX, FILE_BYTES_MAX, Reader};
pub use extension::LIST_MAX;
pub use item::{REGEX_BYTES_MAX, VALUES_MAX};
pub use measure::{AtClose, CloseMeasure, Measure, Measured, Threshold};
pub use rule::{Rule, RuleKind};
pub use set::RuleSet;
pub use sheet::CONDITION_BYTES_MAX;
pub use test::Comparison;
