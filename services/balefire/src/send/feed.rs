//! From the records of a file to those of Balefire.

use std::collections::BTreeMap;
use std::sync::Arc;

use balefire_event::Timestamp;
use balefire_ingest_core::adapt::map::FieldMap;
use balefire_ingest_core::adapt::{self, Choice, Context, native};

use crate::Failure;
use crate::source::Record;

/// The source whose records are sent as they are.
const NATIVE: &str = "native";

/// What a record is read as.
#[derive(Clone)]
pub enum Reading {
    /// As it is.
    Native,
    /// A vendor's.
    Vendor(Choice, Context),
    /// A customer's own.
    Mapped(Arc<FieldMap>, Context),
}

/// A record that is sent, or refused here.
pub struct Fed {
    /// Its line.
    pub line: u64,
    /// Source and JSON, or what is wrong.
    pub record: Result<(String, Vec<u8>), &'static str>,
}

impl Fed {
    /// The producer's time, where it says one that can be read.
    pub fn time(&self) -> Option<Timestamp> {
        let (_, json) = self.record.as_ref().ok()?;
        let fields: BTreeMap<String, serde_json::Value> = serde_json::from_slice(json).ok()?;
        Timestamp::parse(fields.get("timestamp")?.as_str()?).ok()
    }
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
        Ok(Self::Vendor(choice, Context::at(at)))
    }

    /// The same of a record at a place of its own, which is its id where it has none.
    pub fn feed_placed(&self, record: Record, place: &str) -> Vec<Fed> {
        let named = |at: Timestamp| Context::at(at).of_place(place, &record.bytes);
        match self {
            Self::Native => {
                let Ok(value) = serde_json::from_slice(&record.bytes) else {
                    return self.feed(record);
                };
                // Without a time it is refused by its field, as without a place.
                let context = named(Timestamp(0));
                let adapted = native::named(record.bytes, &value, &context);
                vec![Fed {
                    line: record.line,
                    record: Ok((NATIVE.to_owned(), adapted.json)),
                }]
            }
            Self::Vendor(choice, context) => Self::Vendor(*choice, named(context.at)).feed(record),
            Self::Mapped(map, context) => {
                Self::Mapped(Arc::clone(map), named(context.at)).feed(record)
            }
        }
    }

    /// Everything that one record of a file holds.
    pub fn feed(&self, record: Record) -> Vec<Fed> {
        let line = record.line;
        let fed = |record| Fed { line, record };
        match self {
            Self::Native => vec![fed(Ok((NATIVE.to_owned(), record.bytes)))],
            Self::Vendor(choice, context) => adapt::read(*choice, &record.bytes, context)
                .into_iter()
                .map(|read| match read {
                    Ok(adapted) => fed(Ok((adapted.source.to_owned(), adapted.json))),
                    Err(refused) => fed(Err(refused.why)),
                })
                .collect(),
            Self::Mapped(map, context) => map
                .read(&record.bytes, context)
                .into_iter()
                .map(|read| match read {
                    Ok(adapted) => fed(Ok((map.source.clone(), adapted.json))),
                    Err(refused) => fed(Err(refused.why)),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_time_is_read_as_its_adapter_reads_it() {
        let at = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
        let times = |source: &str, json: &str| -> Vec<_> {
            let reading = Reading::of(source, at).unwrap();
            let record = Record {
                line: 1,
                bytes: json.as_bytes().to_vec(),
            };
            let fed = reading.feed(record);
            fed.iter().map(Fed::time).collect()
        };
        let moment = Timestamp::parse("2026-11-22T10:30:00Z").ok();
        let trail = r#"{"Records":[{"eventSource":"bedrock.amazonaws.com","eventName":"Converse",
            "userIdentity":{},"eventTime":"2026-11-22T10:30:00Z"}]}"#;
        assert_eq!(times("cloudtrail", trail), [moment]);
        assert_eq!(times("auto", trail), [moment]);
        assert_eq!(
            times("native", r#"{"timestamp":"2026-11-22T10:30:00Z"}"#),
            [moment]
        );
        assert_eq!(times("native", trail), [None]);
        assert_eq!(times("auto", "no json"), [None]);
    }
}
