//! From the records of a file to those of Balefire.

use balefire_event::Timestamp;
use balefire_ingest_core::adapt::{self, Choice, Context};

use crate::Failure;
use crate::source::Record;

/// The source whose records are sent as they are.
const NATIVE: &str = "native";

/// What a record is read as.
#[derive(Clone, Copy)]
pub enum Reading {
    /// As it is.
    Native,
    /// A vendor's.
    Vendor(Choice, Context),
}

/// A record that is sent, or refused here.
pub struct Fed {
    /// Its line.
    pub line: u64,
    /// Source and JSON, or what is wrong.
    pub record: Result<(&'static str, Vec<u8>), &'static str>,
}

impl Reading {
    /// Of `--source`. A record that says no time is of the time `at`.
    ///
    /// # Errors
    /// A name that no source has.
    pub fn of(name: &str, at: Timestamp) -> Result<Self, Failure> {
        if name == NATIVE {
            return Ok(Self::Native);
        }
        let unknown = || {
            let names: Vec<&str> = adapt::ALL.iter().map(|adapter| adapter.name).collect();
            let names = names.join(", ");
            Failure::Usage(format!("--source {name:?}: expected auto, {names}"))
        };
        let choice = Choice::of(name).ok_or_else(unknown)?;
        Ok(Self::Vendor(choice, Context { at }))
    }

    /// Everything that one record of a file holds.
    pub fn feed(self, record: Record) -> Vec<Fed> {
        let line = record.line;
        let fed = |record| Fed { line, record };
        match self {
            Self::Native => vec![fed(Ok((NATIVE, record.bytes)))],
            Self::Vendor(choice, context) => adapt::read(choice, &record.bytes, &context)
                .into_iter()
                .map(|read| match read {
                    Ok(adapted) => fed(Ok((adapted.source, adapted.json))),
                    Err(refused) => fed(Err(refused.why)),
                })
                .collect(),
        }
    }
}
