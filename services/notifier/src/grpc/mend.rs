//! Which dead letters are asked for, and what may go back in place of one.

use balefire_event::limits::BATCH_BYTES_MAX;
use balefire_kit::violation::invalid;
use balefire_wire::BatchView;
use balefire_wire::deadletter::v1::{DeadLetter, DeadLetterFilter};
use tonic::Status;

/// Longest reason, bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// Whether a letter is one of those that are asked for.
pub(super) fn is_wanted(letter: &DeadLetter, filter: Option<&DeadLetterFilter>) -> bool {
    let Some(filter) = filter else {
        return true;
    };
    let is = |wanted: &str, has: &str| wanted.is_empty() || wanted == has;
    let texts = [
        &letter.id,
        &letter.detail,
        &letter.first_error,
        &letter.last_error,
    ];
    is(&filter.stage, &letter.stage)
        && is(&filter.reason, &letter.reason)
        && is(&filter.receiver, &letter.receiver)
        && texts.iter().any(|text| text.contains(&filter.contains))
}

/// What keeps a payload from going back in place of a letter's.
pub(super) fn unfit(letter: &DeadLetter, payload: &[u8]) -> Option<String> {
    if payload.len() > BATCH_BYTES_MAX {
        return Some(format!("at most {BATCH_BYTES_MAX} bytes"));
    }
    let view = match BatchView::parse(payload) {
        Ok(view) => view,
        Err(error) => return Some(format!("no batch: {error}")),
    };
    if view.header.tenant != letter.tenant && !letter.tenant.is_empty() {
        let (is, was) = (&view.header.tenant, &letter.tenant);
        return Some(format!("of tenant {is:?}; the letter is of {was:?}"));
    }
    if view.step.is_some() || view.is_empty() {
        return Some("a batch with at least one record and without a step".into());
    }
    let mut records = view.records().enumerate();
    let (index, error) = records.find_map(|(index, record)| Some((index, record.err()?)))?;
    Some(format!("record {index} cannot be read: {error}"))
}

pub(super) fn check_reason(reason: &str) -> Result<(), Status> {
    if reason.len() > REASON_BYTES_MAX {
        return Err(invalid("reason", "at most 1,024 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use balefire_wire::{BatchWriter, Header, RecordRef};

    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            id: "dl:EVENTS_g1_urgent_0:7".into(),
            stage: "rule-engine".into(),
            reason: "malformed_record".into(),
            last_error: "a broken field".into(),
            tenant: "acme".into(),
            ..DeadLetter::default()
        }
    }

    fn filter(stage: &str, contains: &str) -> DeadLetterFilter {
        DeadLetterFilter {
            stage: stage.into(),
            contains: contains.into(),
            ..DeadLetterFilter::default()
        }
    }

    #[test]
    fn a_filter_holds_where_all_of_it_does() {
        let letter = letter();
        assert!(is_wanted(&letter, None));
        assert!(is_wanted(&letter, Some(&DeadLetterFilter::default())));
        assert!(is_wanted(&letter, Some(&filter("rule-engine", "broken"))));
        assert!(!is_wanted(&letter, Some(&filter("ingest", "broken"))));
        assert!(!is_wanted(&letter, Some(&filter("rule-engine", "other"))));
    }

    fn batch(tenant: &str, records: &[&[u8]]) -> Vec<u8> {
        let mut writer = BatchWriter::default();
        for record in records {
            match record {
                [] => writer.push(RecordRef::Tick(balefire_event::Timestamp(1))),
                bytes => writer.push_encoded(bytes),
            }
        }
        let header = Header {
            tenant: tenant.into(),
            ..Header::default()
        };
        writer.finish(&header, None)
    }

    #[test]
    fn what_goes_back_is_of_the_same_tenant_and_can_be_read() {
        let letter = letter();
        assert_eq!(unfit(&letter, &batch("acme", &[&[]])), None);
        for (payload, part) in [
            (batch("other", &[&[]]), "of tenant"),
            (batch("acme", &[&[], &[0xff; 3]]), "record 1 cannot be read"),
            (b"\xff\xff rubbish".to_vec(), "no batch"),
            (vec![0; BATCH_BYTES_MAX + 1], "at most"),
            (batch("acme", &[]), "at least one"),
        ] {
            let fault = unfit(&letter, &payload).unwrap();
            assert!(fault.contains(part), "{fault}");
        }
    }
}
