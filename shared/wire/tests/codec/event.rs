//! The hand-written event codec against itself and against the generated code.

use crate::arbitrary;
use std::borrow::Cow;

use balefire_event::{Event, Field, Timestamp, Timing};
use balefire_wire::Error;
use balefire_wire::event::v1;
use balefire_wire::event_codec::{self, Kept};
use proptest::prelude::*;
use prost::Message;

fn encoded(event: &Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    event_codec::encode(event, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn an_event_survives_its_bytes(event in arbitrary::event()) {
        let bytes = encoded(&event);
        prop_assert_eq!(event_codec::decode(&bytes).unwrap(), event);
    }

    #[test]
    fn the_generated_reader_reads_what_is_written_by_hand(event in arbitrary::event()) {
        let bytes = encoded(&event);
        prop_assert_eq!(v1::Event::decode(bytes.as_slice()).unwrap(), v1::Event::from(&event));
    }

    #[test]
    fn what_the_generated_writer_writes_is_read_by_hand(event in arbitrary::event()) {
        let message = v1::Event::from(&event);
        let bytes = message.encode_to_vec();
        prop_assert_eq!(&event_codec::decode(&bytes).unwrap(), &event);
        prop_assert_eq!(Event::try_from(&message).unwrap(), event);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = event_codec::decode(&bytes);
    }

    #[test]
    fn mutated_bytes_are_read_as_the_generated_reader_reads_them(
        event in arbitrary::event(),
        place in any::<prop::sample::Index>(),
        bits in 1..=255u8,
    ) {
        let mut bytes = encoded(&event);
        let place = place.index(bytes.len());
        bytes[place] ^= bits;
        // Whatever both accept means the same. Either may be the stricter one.
        if let (Ok(own), Ok(generated)) =
            (event_codec::decode(&bytes), v1::Event::decode(bytes.as_slice()))
        {
            let own = v1::Event::from(&own);
            prop_assert_eq!(own.occurred_at_ns, generated.occurred_at_ns);
            prop_assert_eq!(own.reason, generated.reason);
            prop_assert_eq!(own.labels, generated.labels);
            prop_assert_eq!(own.extensions, generated.extensions);
            prop_assert_eq!(own.lateness_ns, generated.lateness_ns);
        }
    }

    #[test]
    fn truncated_bytes_never_read_as_the_whole_event(event in arbitrary::event(), cut in 1..40usize) {
        let bytes = encoded(&event);
        let short = &bytes[..bytes.len().saturating_sub(cut)];
        prop_assert_ne!(event_codec::decode(short).ok(), Some(event));
    }
}

proptest! {
    #[test]
    fn what_is_not_kept_comes_out_unsaid_and_the_rest_as_it_is(event in arbitrary::event()) {
        let bytes = encoded(&event);
        prop_assert_eq!(&event_codec::decode_kept(&bytes, Kept::ALL).unwrap(), &event);
        let nothing = event_codec::decode_kept(&bytes, Kept::of(|_| false, false)).unwrap();
        let unsaid = Event {
            source: "".into(),
            actors: Vec::new(),
            keys: Vec::new(),
            model: "".into(),
            judge_model: "".into(),
            judge_verdict: "".into(),
            policy_violated: "".into(),
            guardrail_result: "".into(),
            endpoint: "".into(),
            tool: "".into(),
            attack_type: "".into(),
            reason: "".into(),
            src_ip: "".into(),
            extensions: Vec::new(),
            ..event
        };
        prop_assert_eq!(nothing, unsaid);
    }

    #[test]
    fn each_field_that_is_looked_at_is_kept(event in arbitrary::event(), name in 0..NAMES.len()) {
        let field = Field::parse(NAMES[name]);
        let bytes = encoded(&event);
        let kept = event_codec::decode_kept(&bytes, Kept::of(|one| *one == field, false)).unwrap();
        prop_assert_eq!(kept.get(&field), event.get(&field));
        prop_assert_eq!(kept.key_part(&field), event.key_part(&field));
        let extensions = event_codec::decode_kept(&bytes, Kept::of(|_| false, true)).unwrap();
        prop_assert_eq!(extensions.extensions, event.extensions);
    }

    #[test]
    fn bytes_are_no_event_whatever_is_kept_of_it(
        event in arbitrary::event(),
        place in any::<prop::sample::Index>(),
        bits in 1..=255u8,
    ) {
        let mut bytes = encoded(&event);
        let place = place.index(bytes.len());
        bytes[place] ^= bits;
        let nothing = event_codec::decode_kept(&bytes, Kept::of(|_| false, false));
        prop_assert_eq!(event_codec::decode(&bytes).err(), nothing.err());
    }
}

/// Every field that has a name of its own.
const NAMES: [&str; 27] = [
    "category",
    "severity",
    "timing",
    "event_id",
    "source",
    "user_id",
    "agent_id",
    "service_principal",
    "api_key_id",
    "session_id",
    "request_id",
    "trace_id",
    "model",
    "judge_model",
    "judge_score",
    "judge_verdict",
    "policy_violated",
    "guardrail_result",
    "tokens_in",
    "tokens_out",
    "endpoint",
    "risk_tier",
    "tool",
    "tool_allowed",
    "attack_type",
    "reason",
    "src_ip",
];

#[test]
fn texts_are_borrowed_from_the_bytes() {
    let event = Event {
        event_id: Cow::Borrowed("e-1"),
        reason: Cow::Borrowed("blocked"),
        labels: vec![(Cow::Borrowed("app"), Cow::Borrowed("chat"))],
        ..Event::default()
    };
    let bytes = encoded(&event);
    let decoded = event_codec::decode(&bytes).unwrap();
    assert!(matches!(decoded.event_id, Cow::Borrowed("e-1")));
    assert!(matches!(decoded.reason, Cow::Borrowed("blocked")));
    assert!(matches!(decoded.labels[0].0, Cow::Borrowed("app")));
}

#[test]
fn later_stamps_replace_earlier_ones_even_by_zero() {
    let mut bytes = Vec::new();
    event_codec::encode_static(&Event::default(), &mut bytes);
    event_codec::encode_stamps(Timestamp(7), Timestamp(8), Timing::Late, 9, &mut bytes);
    event_codec::encode_stamps(Timestamp(0), Timestamp(5), Timing::OnTime, 0, &mut bytes);
    let event = event_codec::decode(&bytes).unwrap();
    assert_eq!((event.received_at, event.t), (Timestamp(0), Timestamp(5)));
    assert_eq!((event.timing, event.control_revision), (Timing::OnTime, 0));
}

#[test]
fn stamps_stay_within_their_named_length() {
    let mut bytes = Vec::new();
    event_codec::encode_stamps(
        Timestamp::MIN,
        Timestamp::MAX,
        Timing::Future,
        u64::MAX,
        &mut bytes,
    );
    assert_eq!(bytes.len(), event_codec::STAMPS_LEN_MAX);
}

#[test]
fn an_event_without_stamps_is_refused() {
    let mut bytes = Vec::new();
    event_codec::encode_static(&Event::default(), &mut bytes);
    let refused = event_codec::decode(&bytes);
    assert_eq!(refused, Err(Error::Malformed { what: "timing" }));
}

#[test]
fn unknown_words_and_short_ids_are_refused() {
    let good = v1::Event::from(&Event::default());
    let refused = |change: fn(&mut v1::Event)| {
        let mut event = good.clone();
        change(&mut event);
        event_codec::decode(&event.encode_to_vec()).map(Event::into_owned)
    };
    let malformed = |what| Err(Error::Malformed { what });
    assert_eq!(refused(|e| e.category = 99), malformed("category"));
    assert_eq!(refused(|e| e.severity = 0), malformed("severity"));
    assert_eq!(
        refused(|e| e.dedup_id = vec![1; 15].into()),
        malformed("dedup_id")
    );
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    let mut bytes = encoded(&Event::default());
    // Fields 100: a varint, a run of bytes, a fixed 64 and a fixed 32.
    bytes.extend_from_slice(&[0xa0, 0x06, 0x01, 0xa2, 0x06, 0x02, 1, 2]);
    bytes.extend_from_slice(&[0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xa5, 0x06, 1, 2, 3, 4]);
    assert_eq!(event_codec::decode(&bytes).unwrap(), Event::default());
}

#[test]
fn of_two_labels_of_one_name_the_last_counts() {
    let mut bytes = encoded(&Event::default());
    for (name, value) in [(b'b', b'1'), (b'a', b'2'), (b'b', b'3')] {
        bytes.extend_from_slice(&[0xf2, 0x01, 6, 10, 1, name, 18, 1, value]);
    }
    let event = event_codec::decode(&bytes).unwrap();
    let generated = v1::Event::decode(bytes.as_slice()).unwrap();
    assert_eq!(v1::Event::from(&event).labels, generated.labels);
    assert_eq!(event.labels.len(), 2);
    assert_eq!(event.labels[0].0, "a");
}
