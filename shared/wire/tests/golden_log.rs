//! Every message of the log of every release decodes, record by record. What does not is what the
//! release laid aside as a dead letter.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::collections::{BTreeMap, BTreeSet};

use balefire_golden::Recording;
use balefire_wire::log::v1::record::Kind;
use balefire_wire::record::kind;
use balefire_wire::{BatchView, Error, RecordView};

/// Stream, sequence, index of the record; no index: the whole message.
type Place = (String, u64, Option<u32>);

fn recordings() -> Vec<(String, Recording)> {
    let versions = balefire_golden::versions().unwrap();
    assert!(versions.iter().any(|golden| golden.version == "0.1.0"));
    let logs = versions
        .into_iter()
        .map(|golden| (golden.version.clone(), golden.log().unwrap()));
    logs.collect()
}

#[derive(Default)]
struct Read {
    kinds: BTreeMap<u32, usize>,
    unreadable: BTreeMap<Place, &'static str>,
    letters: BTreeMap<Place, String>,
}

fn read(recording: &Recording) -> Read {
    let mut read = Read::default();
    for (stream, messages) in recording.streams() {
        for message in messages {
            let place = |index| (stream.to_owned(), message.sequence, index);
            let batch = match BatchView::parse(&message.payload) {
                Ok(batch) => batch,
                Err(error) => {
                    read.unreadable.insert(place(None), reason(&error));
                    continue;
                }
            };
            for (index, raw) in (0..).zip(batch.raw_records()) {
                let viewed = raw.and_then(|raw| Ok((raw.kind, raw.view()?)));
                match viewed {
                    Ok((kind, view)) => {
                        *read.kinds.entry(kind).or_default() += 1;
                        letter(&view, &mut read.letters);
                    }
                    Err(error) => {
                        read.unreadable.insert(place(Some(index)), reason(&error));
                    }
                }
            }
        }
    }
    read
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::UnknownVersion { .. } => "unknown_schema",
        _ => "malformed_record",
    }
}

fn letter(view: &RecordView<'_>, letters: &mut BTreeMap<Place, String>) {
    if let RecordView::Other(Kind::DeadLetter(letter)) = view {
        let place = (letter.stream.clone(), letter.sequence, letter.index);
        letters.insert(place, letter.reason.clone());
    }
}

#[test]
fn every_record_decodes_but_those_that_were_laid_aside() {
    for (version, recording) in recordings() {
        let read = read(&recording);
        for (place, reason) in &read.unreadable {
            let laid_aside = read.letters.get(place).map(String::as_str);
            assert_eq!(laid_aside, Some(*reason), "{version} {place:?}");
        }
        let reasons: BTreeSet<&str> = read.unreadable.values().copied().collect();
        assert_eq!(
            reasons,
            BTreeSet::from(["malformed_record", "unknown_schema"])
        );
    }
}

#[test]
fn every_kind_of_record_is_in_the_first_recording() {
    let all = recordings();
    let (_, recording) = all.iter().find(|(version, _)| version == "0.1.0").unwrap();
    let read = read(recording);
    let missing: Vec<u32> = (kind::EVENT..=kind::RESOLUTION)
        .filter(|kind| !read.kinds.contains_key(kind))
        .collect();
    assert_eq!(missing, [0; 0], "{:?}", read.kinds);
    assert!(read.kinds[&kind::EVENT] > 300, "{:?}", read.kinds);
}

#[test]
fn a_damaged_byte_of_a_header_is_noticed() {
    let (_, recording) = recordings().remove(0);
    let message = &recording.messages("CONTROL")[0];
    assert!(BatchView::parse(&message.payload).is_ok());
    let mut payload = message.payload.to_vec();
    payload[1] = 0xff;
    assert!(BatchView::parse(&payload).is_err());
}
