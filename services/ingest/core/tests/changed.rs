//! What the fuzz targets do, over corpora and samples that a seed changes: values of other types in
//! each place of each source's records, records of records, bytes at random. `make fuzz` looks
//! further; this runs with every test and always does the same.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use balefire_ingest_core::adapt::{self, Choice};
use serde_json::{Value, json};

#[path = "../../../../shared/fuzz/targets/adapters.rs"]
mod adapters;
#[path = "../../../../shared/fuzz/change/bytes.rs"]
mod bytes;
#[path = "../../../../shared/fuzz/targets/field_map.rs"]
mod field_map;
#[path = "../../../../shared/fuzz/targets/native.rs"]
mod native;
#[path = "../../../../shared/fuzz/targets/otlp.rs"]
mod otlp;

use bytes::{Seeded, Shown, changed, files};

/// Records that are changed as trees, and bodies that are changed as bytes.
const TREES: usize = 2_000;
const BODIES: usize = 4_000;

fn read(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), ending)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    read(&format!("../../../shared/fuzz/corpus/{target}"), "")
}

fn samples() -> Vec<Vec<u8>> {
    read("tests/sources", ".in.json")
}

/// What stands where something else was expected.
fn strangers() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!(" \u{0}\u{7f}\u{85}"),
        json!("9999-12-31T23:59:60.999999999999+99:99"),
        json!("{\"a\":[{\"b\":"),
        json!("arn:aws:::::/"),
        json!("é\u{301}\u{10ffff}".repeat(200)),
        json!([]),
        json!({}),
        json!([null, [[]], {"": {"": null}}]),
        json!({"action": {"action": []}, "name": 7, "type": false, "id": [{}]}),
    ]
}

/// The pointer of every value in a tree, the whole first.
fn places(tree: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let mut next = 0;
    while let Some(place) = places.get(next).cloned() {
        match tree.pointer(&place) {
            Some(Value::Object(members)) => {
                let escaped = |name: &String| name.replace('~', "~0").replace('/', "~1");
                places.extend(
                    members
                        .keys()
                        .map(|name| format!("{place}/{}", escaped(name))),
                );
            }
            Some(Value::Array(items)) => {
                places.extend((0..items.len()).map(|index| format!("{place}/{index}")));
            }
            Some(_) | None => {}
        }
        next += 1;
    }
    places
}

/// By whichever recognises it and by the source that it was of.
fn answer(tree: &Value, of: Option<Choice>) {
    let bytes = tree.to_string().into_bytes();
    let _shown = Shown(&bytes);
    adapters::run_by(std::iter::once(Choice::Auto).chain(of), &bytes);
}

fn source_of(tree: &Value) -> Option<Choice> {
    let mut sources = adapt::ALL.iter();
    sources
        .find(|adapter| (adapter.recognises)(tree))
        .map(Choice::One)
}

#[test]
fn no_adapter_panics_whatever_stands_in_any_place() {
    let (strangers, mut turn, mut count) = (strangers(), 0, 0);
    for sample in samples() {
        let Ok(tree) = serde_json::from_slice::<Value>(&sample) else {
            continue;
        };
        let of = source_of(&tree);
        for place in places(&tree) {
            // Each in its turn: fields that several sources have meet several of them.
            turn += 7;
            let mut tree = tree.clone();
            *tree.pointer_mut(&place).unwrap() = strangers[turn % strangers.len()].clone();
            answer(&tree, of);
            count += 1;
        }
    }
    assert!(count > 1_500, "{count}");
}

/// A tree with one to three changes; a piece of another may come in.
fn changed_tree(seeded: &mut Seeded, tree: &Value, others: &[Value]) -> Value {
    let (mut tree, strangers) = (tree.clone(), strangers());
    for _ in 0..=seeded.below(3) {
        let places = places(&tree);
        let place = seeded.one_of(&places).as_str();
        let Some(value) = tree.pointer_mut(place) else {
            continue;
        };
        match seeded.below(6) {
            0 => *value = seeded.one_of(&strangers).clone(),
            1 => {
                let other = seeded.one_of(others);
                let piece = seeded.one_of(&self::places(other)).clone();
                *value = other.pointer(&piece).unwrap().clone();
            }
            // Many records where one was, and text of JSON where JSON was, as some exports have it.
            2 => *value = Value::Array(vec![value.take(); 1 + seeded.below(3)]),
            3 => *value = Value::String(value.to_string()),
            4 => without_one(seeded, value),
            _ => *value = json!({"records": [value.take()], "detail": {}, "message": null}),
        }
    }
    tree
}

/// Without one of its members, or with one of them under another's name.
fn without_one(seeded: &mut Seeded, value: &mut Value) {
    let Value::Object(members) = value else {
        *value = Value::Null;
        return;
    };
    let names: Vec<String> = members.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let gone = members.remove(seeded.one_of(&names));
    if seeded.below(2) == 0 {
        members.insert(seeded.one_of(&names).clone(), gone.unwrap_or_default());
    }
}

#[test]
fn no_adapter_panics_on_records_put_together_at_random() {
    let trees: Vec<Value> = samples()
        .iter()
        .filter_map(|sample| serde_json::from_slice(sample).ok())
        .collect();
    assert!(trees.len() > 40, "{}", trees.len());
    let mut seeded = Seeded(8);
    for _ in 0..TREES {
        let tree = seeded.one_of(&trees);
        answer(&changed_tree(&mut seeded, tree, &trees), source_of(tree));
    }
}

/// Bodies of a corpus, each changed and given to what reads them.
fn over(corpus: &[Vec<u8>], count: usize, seed: u64, run: impl Fn(&[u8])) {
    let mut seeded = Seeded(seed);
    for _ in 0..count {
        let bytes = seeded.one_of(corpus);
        let bytes = changed(&mut seeded, bytes, corpus);
        let _shown = Shown(&bytes);
        run(&bytes);
    }
}

#[test]
fn no_adapter_panics_on_bytes_at_random() {
    let bodies = [samples(), corpus("adapters")].concat();
    over(&bodies, BODIES, 1, |bytes| {
        adapters::run_by(std::iter::once(Choice::Auto), bytes);
    });
    over(&bodies, BODIES / 20, 7, adapters::run);
}

#[test]
fn the_doors_answer_bytes_at_random() {
    let records = [corpus("native"), corpus("adapters")].concat();
    over(&records, BODIES, 2, native::run);
    over(&corpus("otlp"), BODIES, 3, otlp::run);
    over(&corpus("field_map"), BODIES, 4, field_map::run);
}
