//! One of each class that is masked, in every text of every source's samples: none of them is in
//! what goes into the log but as evidence, and none in what a dead letter keeps.
//!
//! Identity fields (user, actors, keys, address, id) are who an event belongs to and stay.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use balefire_event::stamp::ClockPolicy;
use balefire_event::{Event, Timestamp};
use balefire_ingest_core::adapt::{self, Choice, Context};
use balefire_ingest_core::{Door, Provenance, Source, admit_json, redact};
use serde_json::Value;

/// Told apart from every sample's own text. The addresses come last: names of things keep them,
/// being names of hosts.
const CANARIES: [&str; 11] = [
    "canary@example.net",
    "5555 5555 5555 4444",
    "378282246310005",
    "457-55-5462",
    "GB82WEST12345698765432",
    "+1 415 555 0134",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    "sk-proj-canary0123456789canary",
    "203.0.113.77",
    "2001:db8::77",
];
const NOT_ADDRESSES: usize = 9;
/// What no guardrail's own words may carry on: no class of its own.
const MATCHED: &str = "zq-matched-text";
/// Where guardrails repeat what they matched.
const MATCHES: [&str; 4] = ["match", "snippet", "matched_text", "matched_content"];

fn samples() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources");
    let mut samples: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".in.json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(path).unwrap();
            (name, serde_json::from_slice(&bytes).unwrap())
        })
        .collect();
    samples.sort_by(|(one, _), (other, _)| one.cmp(other));
    samples
}

/// JSON pointers to every text of a value.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                texts(inner, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(map) => {
            for (name, inner) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                texts(inner, &format!("{at}/{name}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What a sample's events hold: names of things, everything else, and the sealed bodies.
#[derive(Default)]
struct Held {
    names: String,
    free: String,
    bodies: String,
}

fn held(record: &Value) -> Held {
    let context = Context::at(Timestamp::parse("2026-11-22T12:00:00Z").unwrap());
    let mut held = Held::default();
    for adapted in adapt::read(Choice::Auto, record.to_string().as_bytes(), &context) {
        let Ok(adapted) = adapted else { continue };
        let source = Source::undeclared(adapted.source, ClockPolicy::default());
        let door = Door::new("default", source, 2);
        let Ok(admitted) = admit_json(&door, &adapted.json, Provenance::default()) else {
            continue;
        };
        let event: &Event<'_> = &admitted.event;
        held.names += &format!(
            "{:?}",
            [
                &event.model,
                &event.judge_model,
                &event.judge_verdict,
                &event.policy_violated,
                &event.guardrail_result,
                &event.endpoint,
                &event.tool,
                &event.attack_type,
            ]
        );
        held.free += &format!("{:?} {:?}", event.reason, event.labels);
        for extension in &event.extensions {
            held.free += &format!(" {} {}", extension.name, extension.json);
        }
        let evidence = admitted.evidence.iter();
        for body in evidence
            .flat_map(|one| [&one.request, &one.response])
            .flatten()
        {
            held.bodies += &String::from_utf8_lossy(&body.data);
        }
    }
    held
}

#[test]
fn no_canary_in_any_text_of_any_source_is_in_an_event() {
    let (mut tried, mut sealed) = (0, 0);
    for (name, sample) in samples() {
        let mut places = Vec::new();
        texts(&sample, "", &mut places);
        for place in places {
            for canaries in CANARIES.chunks(6) {
                let mut record = sample.clone();
                let text = record.pointer_mut(&place).unwrap();
                *text = format!("{} {}", text.as_str().unwrap(), canaries.join(" ; ")).into();
                let held = held(&record);
                tried += 1;
                for canary in canaries {
                    let told = format!("{name} {place} {canary}");
                    assert!(!held.free.contains(canary), "{told}: {}", held.free);
                    let address = CANARIES.iter().position(|one| one == canary);
                    if address.is_some_and(|at| at < NOT_ADDRESSES) {
                        assert!(!held.names.contains(canary), "{told}: {}", held.names);
                    }
                    sealed += usize::from(held.bodies.contains(canary));
                }
                // What is refused lies in a dead letter, masked.
                let letter = redact::json(&record.to_string());
                for canary in canaries {
                    assert!(
                        !letter.contains(canary),
                        "{name} {place} {canary}: {letter}"
                    );
                }
            }
        }
    }
    assert!(tried > 1500, "{tried}");
    assert!(sealed > 50, "bodies are sealed as they are: {sealed}");
}

#[test]
fn what_a_guardrail_says_it_matched_is_nowhere() {
    let mut tried = 0;
    for (name, sample) in samples() {
        let mut places = Vec::new();
        texts(&sample, "", &mut places);
        for place in places {
            let field = place.rsplit('/').next().unwrap_or_default();
            if !MATCHES.contains(&field) {
                continue;
            }
            tried += 1;
            let mut record = sample.clone();
            *record.pointer_mut(&place).unwrap() = MATCHED.into();
            let Held {
                names,
                free,
                bodies,
            } = held(&record);
            for text in [names, free, bodies] {
                assert!(!text.contains(MATCHED), "{name} {place}: {text}");
            }
        }
    }
    assert!(tried >= 3, "samples hold such places: {tried}");
}

/// A record that was cut off somewhere is no JSON, and a letter all the same.
#[test]
fn what_is_left_of_a_record_is_masked_too() {
    for cut in [
        r#"{"mail":"ada@example.com","key":"AKIAIOSFODNN7EXAMPLE","prom"#,
        r#"mail="ada@example.com" key="AKIAIOSFODNN7EXAMPLE""#,
        r#""ada@example.com AKIAIOSFODNN7EXAMPLE"#,
    ] {
        let told = redact::json(cut);
        assert!(
            told.contains("[EMAIL]") && told.contains("[SECRET]"),
            "{told}"
        );
        assert!(!told.contains("ada@") && !told.contains("AKIA"), "{told}");
    }
}
