//! Whoever asks for some categories alone learns of every record what all learn of it.

use balefire_event::limits::EVENT_BYTES_MAX;
use balefire_event::stamp::ClockPolicy;
use balefire_event::{Category, Timestamp};
use balefire_ingest_core::{Door, Looked, Provenance, Source, admit_json, admit_json_of};
use proptest::prelude::*;

fn door() -> Door {
    Door::new(
        "default",
        Source::undeclared("native", ClockPolicy::default()),
        2,
    )
}

fn agree(record: &str) {
    let door = door();
    let provenance = Provenance::default();
    let whole = admit_json(&door, record.as_bytes(), provenance);
    let of =
        |wanted: bool| admit_json_of(&door, record.as_bytes(), provenance, |_: Category| wanted);
    match whole {
        Ok(whole) => {
            let passed = of(false);
            let large = record.len() > EVENT_BYTES_MAX / 4;
            assert!(
                large || passed == Ok(Looked::Passed(whole.event.occurred_at)),
                "{record}"
            );
            assert_eq!(of(true), Ok(Looked::Wanted(whole)));
        }
        Err(violation) => {
            assert_eq!(of(false).as_ref().err(), Some(&violation), "{record}");
            assert_eq!(of(true).as_ref().err(), Some(&violation), "{record}");
        }
    }
}

/// A record with these further members.
fn record(members: &str) -> String {
    format!(r#"{{"timestamp":"2026-02-11T14:30:00Z","category":"judge_flag"{members}}}"#)
}

#[test]
fn a_good_record_passes_with_its_time_and_a_bad_one_is_refused_alike() {
    for members in [
        "",
        r#","user_id":"a@b.example","session_id":"s","api_key_id":"k","request":"secret""#,
        r#","user_id":"a\u0007b""#,
        r#","risk_tier":0"#,
        r#","judge_score":7"#,
        r#","labels":{"":"x"}"#,
        r#","labels":{"a":"x","a ":"y"}"#,
        r#","severity":"awful""#,
        r#","x":{"y":1},"x.y":2"#,
        r#","x":1,"x":2"#,
    ] {
        agree(&record(members));
    }
    agree("{}");
    agree("x");
    agree(r#"{"category":"judge_flag"}"#);
    agree(r#"{"timestamp":"1969-12-31T23:59:59Z","category":"judge_flag"}"#);
    agree(&record(&format!(r#","model":"{}""#, "m".repeat(300))));
    let (door, good) = (door(), record(""));
    let provenance = Provenance::default();
    let passed = admit_json_of(&door, good.as_bytes(), provenance, |_| false);
    assert_eq!(
        passed.unwrap(),
        Looked::Passed(Timestamp(1_770_820_200_000_000_000))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What masking lengthens most, over and over, up to where a record counts as small and beyond.
    #[test]
    fn no_small_record_becomes_too_large_by_being_masked(
        what in prop_oneof![
            Just("a@b.co "), Just("::1 "), Just("1.1.1.1 "), Just("+4915112345678 "), Just("4111111111111111 "),
        ],
        bytes in 1_usize..EVENT_BYTES_MAX / 3,
        split in any::<bool>(),
    ) {
        let text = what.repeat(bytes / what.len() + 1);
        if split {
            let members = text.split(' ').enumerate();
            let members: String = members.map(|(n, text)| format!(r#","x{n}":"{text}""#)).collect();
            agree(&record(&members));
        } else {
            agree(&record(&format!(r#","reason":"{text}""#)));
        }
    }
}
