//! Batches: written, read, copied, damaged.

use crate::arbitrary;
use balefire_event::{BarrierId, Escalation, Event, Hint, Stub, Timestamp};
use balefire_wire::log::v1::{self, InputRun, Step};
use balefire_wire::record::kind;
use balefire_wire::{
    BatchView, BatchWriter, Error, Header, RecordRef, RecordView, event_codec, event_record_len,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

fn header() -> Header {
    Header {
        tenant: "acme".to_owned(),
        writer_id: [7; 16],
        writer_seq: 300,
        lateness_max: 3_600_000_000_000,
        key_epoch: 2,
        received_at_max: Timestamp(1_770_820_200_000_000_000),
        control_revision_max: 12,
        ..Header::default()
    }
}

fn step() -> Step {
    Step {
        number: 9,
        source_partition: 3,
        inputs: vec![InputRun {
            lane: 1,
            first_sequence: 4_000,
            count: 17,
        }],
        part: 1,
        last_part: true,
        claim: false,
        owner_id: vec![1; 16].into(),
        whole_below: Some(12),
    }
}

fn batch(event: &Event<'_>, hint: &Hint<'_>, stub: &Stub, escalation: &Escalation) -> Vec<u8> {
    let mut writer = BatchWriter::default();
    writer.push(RecordRef::Event(event));
    writer.push(RecordRef::Hint(hint));
    writer.push(RecordRef::Stub(stub));
    writer.push(RecordRef::Tick(Timestamp(5)));
    writer.push(RecordRef::Barrier {
        id: BarrierId([3; 16]),
        at: Timestamp(6),
    });
    writer.push(RecordRef::Watermark {
        partition: 2,
        at: Timestamp(-1),
    });
    writer.push(RecordRef::Escalation(escalation));
    writer.finish(&header(), Some(&step()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_comes_back_in_order(
        event in arbitrary::event(),
        hint in arbitrary::hint(),
        stub in arbitrary::stub(),
        escalation in arbitrary::escalation(),
    ) {
        let bytes = batch(&event, &hint, &stub, &escalation);
        let view = BatchView::parse(&bytes).unwrap();
        prop_assert_eq!(&view.header, &header());
        prop_assert_eq!(view.step.as_ref(), Some(&step()));
        let records: Vec<_> = view.records().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(records, vec![
            RecordView::Event(event),
            RecordView::Hint(hint),
            RecordView::Stub(stub),
            RecordView::Tick(Timestamp(5)),
            RecordView::Barrier { id: BarrierId([3; 16]), at: Timestamp(6) },
            RecordView::Watermark { partition: 2, at: Timestamp(-1) },
            RecordView::Escalation(Box::new(escalation)),
        ]);
    }

    #[test]
    fn records_are_copied_byte_by_byte(events in vec(arbitrary::event(), 0..5)) {
        let mut writer = BatchWriter::default();
        for event in &events {
            writer.push(RecordRef::Event(event));
        }
        let bytes = writer.finish(&header(), None);
        let view = BatchView::parse(&bytes).unwrap();
        let mut copy = BatchWriter::with_capacity(bytes.len());
        for (index, raw) in view.raw_records().enumerate() {
            let raw = raw.unwrap();
            prop_assert_eq!(raw.index as usize, index);
            prop_assert_eq!(raw.kind, kind::EVENT);
            copy.push_encoded(raw.bytes);
        }
        prop_assert_eq!(copy.count(), view.len());
        prop_assert_eq!(copy.finish(&header(), None), bytes);
    }

    #[test]
    fn an_event_in_parts_is_the_event_and_has_the_length_told(event in arbitrary::event()) {
        let (mut fixed, mut stamps) = (Vec::new(), Vec::new());
        event_codec::encode_static(&event, &mut fixed);
        event_codec::encode_stamps(
            event.received_at, event.t, event.timing, event.control_revision, &mut stamps,
        );
        let mut writer = BatchWriter::default();
        writer.push_event_parts(&fixed, &stamps);
        prop_assert_eq!(writer.len(), event_record_len(fixed.len() + stamps.len()));
        let mut whole = BatchWriter::default();
        whole.push(RecordRef::Event(&event));
        prop_assert_eq!(writer.finish(&header(), None), whole.finish(&header(), None));
    }

    #[test]
    fn damaged_bytes_never_panic(
        event in arbitrary::event(),
        hint in arbitrary::hint(),
        stub in arbitrary::stub(),
        escalation in arbitrary::escalation(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = batch(&event, &hint, &stub, &escalation);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        read_all(&bytes);
        read_all(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }
}

fn read_all(bytes: &[u8]) {
    if let Ok(view) = BatchView::parse(bytes) {
        assert_eq!(view.records().count(), view.len());
    }
}

#[test]
fn the_generated_reader_reads_a_batch() {
    let mut writer = BatchWriter::default();
    writer.push(RecordRef::Tick(Timestamp(5)));
    writer.push(RecordRef::Event(&Event::default()));
    let bytes = writer.finish(&header(), Some(&step()));
    let batch = v1::Batch::decode(bytes.as_slice()).unwrap();
    let told = batch.header.unwrap();
    assert_eq!(told.tenant, "acme");
    assert_eq!(told.writer_id, [7; 16].as_slice());
    assert_eq!(told.writer_seq, 300);
    assert_eq!(told.semantics_version, 1);
    assert_eq!(told.lateness_max_ns, 3_600_000_000_000);
    assert_eq!(told.key_epoch, 2);
    assert_eq!(told.received_at_max_ns, 1_770_820_200_000_000_000);
    assert_eq!(told.control_revision_max, 12);
    assert_eq!(batch.step, Some(step()));
    assert_eq!(batch.records.len(), 2);
}

#[test]
fn one_bad_record_leaves_the_others_readable() {
    let mut writer = BatchWriter::default();
    writer.push(RecordRef::Tick(Timestamp(1)));
    writer.push_encoded(&[10, 200, 1]);
    writer.push_encoded(&[]);
    writer.push(RecordRef::Tick(Timestamp(2)));
    let bytes = writer.finish(&header(), None);
    let view = BatchView::parse(&bytes).unwrap();
    let records: Vec<_> = view.records().collect();
    assert_eq!(records[0], Ok(RecordView::Tick(Timestamp(1))));
    assert_eq!(records[1], Err(Error::Malformed { what: "record" }));
    assert_eq!(
        records[2],
        Err(Error::Malformed {
            what: "record kind"
        })
    );
    assert_eq!(records[3], Ok(RecordView::Tick(Timestamp(2))));
    let indices: Vec<_> = view.raw_records().flatten().map(|raw| raw.index).collect();
    assert_eq!(indices, [0, 3]);
}

#[test]
fn a_later_version_stops_the_reader() {
    let later = Header {
        semantics_version: 2,
        ..header()
    };
    let bytes = BatchWriter::default().finish(&later, None);
    let refused = BatchView::parse(&bytes).map(|view| view.header);
    assert_eq!(refused, Err(Error::UnknownVersion { version: 2 }));
}

#[test]
fn a_batch_without_header_or_writer_is_malformed() {
    let refused = |bytes: &[u8]| BatchView::parse(bytes).map(|view| view.header);
    let malformed = |what| Err(Error::Malformed { what });
    assert_eq!(refused(&[]), malformed("batch header"));
    let message = v1::Batch {
        header: Some(v1::Header {
            semantics_version: 1,
            ..v1::Header::default()
        }),
        ..v1::Batch::default()
    };
    assert_eq!(
        refused(&message.encode_to_vec()),
        malformed("header writer_id")
    );
}

#[test]
fn a_claim_is_a_batch_without_records() {
    let claim = Step {
        claim: true,
        ..step()
    };
    let bytes = BatchWriter::default().finish(&header(), Some(&claim));
    let view = BatchView::parse(&bytes).unwrap();
    assert!(view.is_empty());
    assert!(view.step.unwrap().claim);
}
