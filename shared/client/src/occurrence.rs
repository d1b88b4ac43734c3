//! Which of several identical records without an id a record is. The server makes the id from the
//! bytes and this number, so that sending the same file again makes the same ids.

use std::collections::HashMap;

use balefire_event::digest::FieldHasher;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Error;

/// Counts records without an id by their bytes.
pub(crate) struct Occurrences {
    counts: HashMap<[u8; 16], u32>,
    limit: usize,
}

#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, default)]
    event_id: Option<&'a RawValue>,
}

/// Whether a JSON record has an id of its own.
fn has_id(record: &[u8]) -> bool {
    if memchr::memmem::find(record, b"event_id").is_none() {
        return false;
    }
    let probe: Option<Probe<'_>> = serde_json::from_slice(record).ok();
    let id = probe.and_then(|probe| probe.event_id);
    id.is_some_and(|id| !matches!(id.get(), "null" | "\"\""))
}

impl Occurrences {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            counts: HashMap::new(),
            limit,
        }
    }

    /// How many byte-identical records came before this one; 0 for one with an id.
    ///
    /// # Errors
    /// Where there were too many different ones.
    pub(crate) fn count(&mut self, record: &[u8]) -> Result<u32, Error> {
        if has_id(record) {
            return Ok(0);
        }
        let digest = FieldHasher::new("balefire client record v1")
            .field(record)
            .id();
        let full = self.counts.len() >= self.limit;
        if full && !self.counts.contains_key(&digest) {
            return Err(Error::TooManyWithoutId { limit: self.limit });
        }
        let count = self.counts.entry(digest).or_insert(0);
        let before = *count;
        *count = before.saturating_add(1);
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identical_records_without_id_are_counted() {
        let mut occurrences = Occurrences::new(10);
        let count = |o: &mut Occurrences, r: &str| o.count(r.as_bytes()).unwrap();
        assert_eq!(count(&mut occurrences, "{\"a\":1}"), 0);
        assert_eq!(count(&mut occurrences, "{\"a\":1}"), 1);
        assert_eq!(count(&mut occurrences, "{\"a\":2}"), 0);
        assert_eq!(count(&mut occurrences, "{\"a\":1}"), 2);
    }

    #[test]
    fn records_with_an_id_are_not_counted() {
        let mut occurrences = Occurrences::new(10);
        for _ in 0..3 {
            assert_eq!(occurrences.count(br#"{"event_id":"e-1"}"#).unwrap(), 0);
        }
        assert!(occurrences.counts.is_empty());
    }

    #[test]
    fn an_id_that_is_empty_nested_or_broken_is_none() {
        for record in [
            r#"{"event_id":""}"#,
            r#"{"event_id":null}"#,
            r#"{"inner":{"event_id":"e-1"}}"#,
            r#"{"event_id":"e-1""#,
        ] {
            assert!(!has_id(record.as_bytes()), "{record}");
        }
        assert!(has_id(br#"{"a":{"b":[1]}, "event_id" : "e-1"}"#));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut occurrences = Occurrences::new(2);
        for record in ["1", "2", "1"] {
            assert!(occurrences.count(record.as_bytes()).is_ok());
        }
        let refused = occurrences.count(b"3");
        assert!(matches!(refused, Err(Error::TooManyWithoutId { limit: 2 })));
    }
}
