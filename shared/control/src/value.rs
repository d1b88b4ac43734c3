//! [`Value`]: what a field of a spec can hold.

use std::collections::BTreeMap;

use balefire_event::digest::FieldHasher;

/// What a field holds. Empty ones are never kept: absent and empty are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// A list of texts, order kept.
    Texts(Vec<String>),
    /// Text by text.
    Words(BTreeMap<String, String>),
}

/// What an object says: values by field, none of them empty.
pub type Spec = BTreeMap<String, Value>;

impl Value {
    /// Whether it says no more than an absent field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Number(number) => *number == 0,
            Self::Flag(flag) => !flag,
            Self::Texts(texts) => texts.is_empty(),
            Self::Words(words) => words.is_empty(),
        }
    }

    /// The text, where it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Flag(_) | Self::Texts(_) | Self::Words(_) => None,
        }
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Number(_) | Self::Flag(_) => 8,
            Self::Texts(texts) => texts.iter().map(|text| text.len() + 2).sum(),
            Self::Words(words) => words.iter().map(|(k, v)| k.len() + v.len() + 4).sum(),
        }
    }

    pub(crate) fn hash(&self, hasher: &mut FieldHasher) {
        match self {
            Self::Text(text) => hasher.number(1).field(text.as_bytes()),
            Self::Number(number) => hasher.number(2).number(*number),
            Self::Flag(flag) => hasher.number(3).number(i64::from(*flag)),
            Self::Texts(texts) => {
                hasher.number(4).field(&texts.len().to_le_bytes());
                for text in texts {
                    hasher.field(text.as_bytes());
                }
                hasher
            }
            Self::Words(words) => {
                hasher.number(5).field(&words.len().to_le_bytes());
                for (word, meaning) in words {
                    hasher.field(word.as_bytes()).field(meaning.as_bytes());
                }
                hasher
            }
        };
    }
}
