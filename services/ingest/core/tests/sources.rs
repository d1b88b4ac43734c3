//! Every adapter against records of its vendor: the exact native records, recognised by exactly
//! one source, and refused where the shape is another.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use balefire_event::Timestamp;
use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::adapt::{self, Adapted, Choice, Context, Refused};
use balefire_ingest_core::{Door, Provenance, Source, admit_json};
use proptest::prelude::*;
use serde_json::{Value, json};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources")
}

fn context() -> Context {
    Context::at(Timestamp::parse("2026-11-22T12:00:00Z").unwrap())
}

/// The samples by name.
fn samples() -> Vec<(String, Vec<u8>)> {
    let mut samples: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".in.json"))
        .map(|path| {
            let name = path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .replace(".in.json", "");
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    samples.sort();
    assert!(samples.len() >= 45, "{}", samples.len());
    samples
}

fn told(read: &[Result<Adapted, Refused>]) -> Value {
    read.iter()
        .map(|one| match one {
            Ok(adapted) => json!({
                "source": adapted.source,
                "event": serde_json::from_slice::<Value>(&adapted.json).unwrap(),
            }),
            Err(refused) => json!({ "refused": refused.why }),
        })
        .collect()
}

fn auto(bytes: &[u8]) -> Vec<Result<Adapted, Refused>> {
    adapt::read(Choice::Auto, bytes, &context())
}

fn door(source: &str) -> Door {
    Door::new(
        "default",
        Source::undeclared(source, ClockPolicy::default()),
        2,
    )
}

#[test]
fn every_sample_makes_exactly_its_golden_events() {
    let mut wrong = Vec::new();
    for (name, bytes) in samples() {
        let golden = folder().join(format!("{name}.out.json"));
        let got = told(&auto(&bytes));
        let want: Value = std::fs::read(&golden)
            .map(|bytes| serde_json::from_slice(&bytes).unwrap())
            .unwrap_or_default();
        if got != want {
            wrong.push(format!(
                "{name}:\n{}",
                serde_json::to_string_pretty(&got).unwrap()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_event_that_an_adapter_makes_is_admitted() {
    for (name, bytes) in samples() {
        for adapted in auto(&bytes).into_iter().flatten() {
            let door = door(adapted.source);
            let admitted = admit_json(&door, &adapted.json, Provenance::default());
            let admitted = admitted.unwrap_or_else(|violation| panic!("{name}: {violation}"));
            assert!(admitted.id_said || adapted.source == "native", "{name}");
        }
    }
}

#[test]
fn a_replayed_record_is_the_same_detection() {
    for (name, bytes) in samples() {
        let ids = |read: Vec<Result<Adapted, Refused>>| -> Vec<_> {
            let admitted = read.into_iter().flatten().map(|adapted| {
                let door = door(adapted.source);
                admit_json(&door, &adapted.json, Provenance::default())
                    .unwrap()
                    .event
                    .dedup_id
            });
            admitted.collect()
        };
        let once = ids(auto(&bytes));
        assert_eq!(once, ids(auto(&bytes)), "{name}");
        let mut distinct = once.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(
            distinct.len(),
            once.len(),
            "{name}: each event of a record has its own id"
        );
    }
}

#[test]
fn a_record_has_the_shape_of_one_source() {
    for (name, bytes) in samples() {
        for opened in adapt::envelope::open(&bytes, &context())
            .into_iter()
            .flatten()
        {
            let record = opened.record;
            let fitting: Vec<_> = adapt::ALL
                .iter()
                .filter(|adapter| (adapter.recognises)(&record))
                .map(|adapter| adapter.name)
                .collect();
            let expected = usize::from(!name.starts_with("unknown"));
            assert_eq!(fitting.len(), expected, "{name}: {fitting:?}");
        }
    }
}

#[test]
fn every_source_has_a_sample() {
    let seen: Vec<_> = samples()
        .iter()
        .flat_map(|(_, bytes)| auto(bytes))
        .flatten()
        .collect();
    for adapter in &adapt::ALL {
        assert!(
            seen.iter().any(|adapted| adapted.source == adapter.name),
            "{}",
            adapter.name
        );
    }
}

#[test]
fn a_record_of_another_source_is_refused_with_itself() {
    let kong = std::fs::read(folder().join("kong.in.json")).unwrap();
    let read = adapt::read(Choice::of("litellm").unwrap(), &kong, &context());
    let [Err(refused)] = read.as_slice() else {
        panic!("{read:?}")
    };
    let record: Value = serde_json::from_slice(&refused.record).unwrap();
    assert_eq!(record, serde_json::from_slice::<Value>(&kong).unwrap());
    assert!(Choice::of("no-such-source").is_none());
}

#[test]
fn a_native_record_is_passed_on_byte_for_byte() {
    let bytes = br#" {"category":"anomaly", "timestamp":"2026-11-22T10:30:00Z","n":1.50} "#;
    let read = auto(bytes);
    assert_eq!(read[0].as_ref().unwrap().json, bytes);
}

#[test]
fn a_cloud_event_names_what_has_no_id_of_its_own() {
    let ids = |read: Vec<Result<Adapted, Refused>>| -> Vec<_> {
        read.into_iter()
            .map(|one| {
                let adapted = one.unwrap();
                let record: Value = serde_json::from_slice(&adapted.json).unwrap();
                assert_eq!(
                    record["timestamp"].as_str().map(|at| &at[..19]),
                    Some("2026-11-22T10:30:00")
                );
                let door = door(adapted.source);
                admit_json(&door, &adapted.json, Provenance::default())
                    .unwrap()
                    .event
                    .dedup_id
            })
            .collect()
    };
    // A detector's answer says neither who it is nor when.
    let lakera = json!({"flagged": true, "breakdown": [{"detector_type": "prompt_attack", "detected": true}], "request_uuid": ""});
    let native = json!({"category": "anomaly", "timestamp": "2026-11-22T10:30:00Z"});
    for data in [lakera, native] {
        let event = |id: &str| json!({"specversion": "1.0", "type": "t", "source": "s", "id": id, "time": "2026-11-22T10:30:00Z", "data": data});
        let one = ids(auto(event("1").to_string().as_bytes()));
        assert_eq!(one.len(), 1);
        assert_eq!(
            one,
            ids(auto(event("1").to_string().as_bytes())),
            "sent again"
        );
        assert_ne!(
            one,
            ids(auto(event("2").to_string().as_bytes())),
            "another event"
        );
        let said = context().of_cloud_event("s", "1", "2026-11-22T10:30:00Z");
        let binary = adapt::read(Choice::Auto, data.to_string().as_bytes(), &said);
        assert_eq!(one, ids(binary), "in either form");
        let two = json!([data, data]).to_string();
        let two = ids(adapt::read(Choice::Auto, two.as_bytes(), &said));
        assert_ne!(two[0], two[1], "two in one body are two");
    }
    // Its own id stands, whatever it came in.
    let named =
        json!({"category": "anomaly", "timestamp": "2026-11-22T10:30:00Z", "event_id": "e"})
            .to_string();
    let said = context().of_cloud_event("s", "1", "");
    assert_eq!(
        adapt::read(Choice::Auto, named.as_bytes(), &said)[0]
            .as_ref()
            .unwrap()
            .json,
        named.as_bytes()
    );
}

#[test]
fn what_a_guardrail_matched_never_survives() {
    for (name, bytes) in samples() {
        for adapted in auto(&bytes).into_iter().flatten() {
            if adapted.source == "native" {
                continue;
            }
            let text = String::from_utf8(adapted.json).unwrap();
            for matched in ["a@b.example", "\"match\"", "\"snippet\""] {
                assert!(!text.contains(matched), "{name} {matched}: {text}");
            }
        }
    }
}

/// One of each class that is masked. Identity fields keep theirs: who an event belongs to.
const CANARIES: [&str; 9] = [
    "canary@example.net",
    "4111 1111 1111 1111",
    "536-22-1234",
    "GB82WEST12345698765432",
    "+1 415 555 0134",
    "203.0.113.77",
    "2001:db8::77",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
];

#[test]
fn no_canary_passes_any_adapter() {
    let note = CANARIES.join(" ; ");
    let mut kept = 0;
    for (name, bytes) in samples() {
        for opened in adapt::envelope::open(&bytes, &context())
            .into_iter()
            .flatten()
        {
            let mut record = opened.record;
            if let Some(object) = record.as_object_mut() {
                object.insert("note_of_the_vendor".to_owned(), json!({ "deep": [note] }));
            }
            for adapted in auto(record.to_string().as_bytes()).into_iter().flatten() {
                let door = door(adapted.source);
                let admitted = admit_json(&door, &adapted.json, Provenance::default()).unwrap();
                let told = format!("{:?}", admitted.event);
                kept += usize::from(told.contains("note_of_the_vendor"));
                for canary in CANARIES {
                    assert!(!told.contains(canary), "{name}: {canary}: {told}");
                }
            }
        }
    }
    assert!(kept > 30, "what is not known is kept: {kept}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "guardrail",
        "trace",
        "results",
        "flagged",
        "category",
        "properties",
        "attributes",
        "spans",
        "resourceSpans",
        "scopeSpans",
        "records",
        "log",
        "activated_rails",
        "",
        "content_filter",
        "guardrail_information",
        "2026-11-22T10:30:00Z",
        "jsonrpc",
        "2.0",
        "\u{0}",
        "unsafe\nS1,,S99",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(words.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Puts `new` in the place that `steps` lead to.
fn mutate(value: &mut Value, steps: &[usize], new: Value) {
    let Some((step, further)) = steps.split_first() else {
        *value = new;
        return;
    };
    let inner = if let Some(list) = value.as_array_mut() {
        let index = step % list.len().max(1);
        list.get_mut(index)
    } else if let Some(map) = value.as_object_mut() {
        let index = step % map.len().max(1);
        map.values_mut().nth(index)
    } else {
        None
    };
    if let Some(inner) = inner {
        mutate(inner, further, new);
    }
}

proptest! {
    #[test]
    fn no_adapter_panics_on_any_json(value in any_json()) {
        for adapter in &adapt::ALL {
            let _ = (adapter.recognises)(&value);
            let drafts = (adapter.adapt)(&value, &context());
            let made = drafts.map(|drafts| drafts.into_iter().map(adapt::draft::Draft::finish).count());
            prop_assert!(made.is_err() || made.is_ok_and(|made| made < 1000));
        }
        drop(auto(value.to_string().as_bytes()));
    }

    #[test]
    fn no_mutation_of_a_sample_does_more_than_be_refused(
        pick in any::<prop::sample::Index>(),
        steps in prop::collection::vec(any::<usize>(), 1..6),
        new in any_json(),
    ) {
        let samples = samples();
        let (_, bytes) = &samples[pick.index(samples.len())];
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        mutate(&mut value, &steps, new);
        for adapted in auto(value.to_string().as_bytes()).into_iter().flatten() {
            let door = door(adapted.source);
            let _ = admit_json(&door, &adapted.json, Provenance::default());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(auto(&bytes));
    }
}
