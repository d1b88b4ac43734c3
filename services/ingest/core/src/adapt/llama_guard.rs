//! Llama Guard's answer: `safe`, or `unsafe` and the hazards S1 to S14.

use serde_json::Value;

use super::draft::{CALLER, Draft};
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, list, said, text, without};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "llama-guard",
    about: "Llama Guard answers",
    recognises: |record| {
        let output = at(record, "raw_output").as_str().unwrap_or_default();
        matches!(output.split_whitespace().next(), Some("safe" | "unsafe"))
            || at(record, "parsed.safe").is_boolean()
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let output = at(record, "raw_output").as_str().unwrap_or_default();
    let mut words = output
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty());
    let is_unsafe = words.next() == Some("unsafe") || at(record, "parsed.safe") == false;
    let mut hazards: Vec<String> = words
        .filter(|word| is_hazard(word))
        .map(str::to_owned)
        .collect();
    if hazards.is_empty() {
        let parsed = list(at(record, "parsed.hazards")).iter().filter_map(text);
        hazards.extend(parsed.filter(|hazard| is_hazard(hazard)));
    }
    let mut hits = Vec::new();
    if is_unsafe {
        hits.extend(
            hazards
                .into_iter()
                .map(|hazard| Hit::new(finding_of(&hazard), Action::Blocked, hazard)),
        );
        if hits.is_empty() {
            hits.push(Hit::new(Finding::Content, Action::Blocked, "unsafe"));
        }
    }
    let base = Draft::of_caller(record, said(record, &["id"]), context)
        .text("judge_model", said(record, &["model"]))
        .text(
            "judge_verdict",
            Some(if is_unsafe { "unsafe" } else { "safe" }.to_owned()),
        )
        .rest(
            "llama_guard",
            &without(
                &without(record, &["model", "raw_output", "parsed", "note"]),
                &CALLER,
            ),
        );
    Ok(finding::flagged(base, &hits))
}

fn is_hazard(word: &str) -> bool {
    let number = word
        .strip_prefix('S')
        .and_then(|number| number.parse::<u8>().ok());
    number.is_some_and(|number| (1..=14).contains(&number))
}

/// S14 is the abuse of a code interpreter, S7 privacy.
fn finding_of(hazard: &str) -> Finding {
    match hazard {
        "S14" => Finding::CodeAbuse,
        "S7" => Finding::PersonalData,
        _ => Finding::Content,
    }
}
