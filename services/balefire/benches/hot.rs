//! The three hottest functions on the way of an event, one by one, so that their instructions can be
//! counted: `make instructions` runs each under callgrind, which counts what lies within `measured`.
//!
//! `hot admit|read|count [EVENTS]`: a JSON record is admitted and encoded; a batch is parsed and its
//! events decoded; the same and each event is counted by the baseline rules.

#![expect(clippy::print_stdout, reason = "says what it did")]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use balefire_event::stamp::ClockPolicy;
use balefire_event::time::{HOUR, SECOND};
use balefire_event::{Lane, Timestamp, Timing};
use balefire_ingest_core::{Door, Provenance, Source, admit_json};
use balefire_rule_engine_core::{BatchHeader, Effect, Engine, EngineConfig};
use balefire_wire::{BatchView, BatchWriter, Header, RecordView, event_codec};

/// 2026-02-11T14:30:00Z.
const START: i64 = 1_770_820_200 * SECOND;
const USERS: usize = 1_000;
const BATCH: usize = 256;
const EVENTS: usize = 4_096;

/// A record as the source documents have it.
fn record(number: usize) -> String {
    let category = match number % 5 {
        0 => "guardrail_block",
        1 => "judge_flag",
        2 => "anomaly",
        _ => "telemetry",
    };
    format!(
        r#"{{"event_type":"ai_security","timestamp":"{}","event_id":"{number:032x}","category":"{category}","severity":"low","user_id":"user{}@example.com","request_id":"req-{number:012}","session_id":"s-{}","model":"claude-sonnet-4-5","judge_model":"claude-haiku","judge_score":0.72,"policy_violated":"content_policy","guardrail_result":"blocked","tokens_in":812,"tokens_out":221,"endpoint":"/api/v1/chat","risk_tier":2,"src_ip":"10.20.30.40"}}"#,
        Timestamp(at(number)),
        (number * 7_919) % USERS,
        number % 97,
    )
}

fn at(number: usize) -> i64 {
    START + i64::try_from(number).unwrap_or(0) * SECOND / 100
}

fn door() -> Door {
    let clock = ClockPolicy {
        lateness: HOUR,
        ..ClockPolicy::default()
    };
    Door::new("default", Source::undeclared("native", clock), 4)
}

/// Admits and encodes each record; what is written for it.
fn admitted(door: &Door, record: &str, out: &mut Vec<u8>) -> bool {
    let Ok(admitted) = admit_json(door, record.as_bytes(), Provenance::default()) else {
        return false;
    };
    event_codec::encode_static(&admitted.event, out);
    true
}

#[inline(never)]
fn measured_admit(door: &Door, records: &[String], out: &mut Vec<u8>) -> usize {
    let mut count = 0;
    for record in records {
        out.clear();
        count += usize::from(admitted(door, record, out));
    }
    count
}

/// Batches as the door writes them.
fn batches(door: &Door, records: &[String]) -> Vec<Vec<u8>> {
    let mut number = 0;
    let (mut fixed, mut stamps) = (Vec::new(), Vec::new());
    let batch = |records: &[String]| {
        let mut writer = BatchWriter::default();
        for record in records {
            let at = Timestamp(at(number));
            number += 1;
            fixed.clear();
            stamps.clear();
            admitted(door, record, &mut fixed);
            event_codec::encode_stamps(at, at, Timing::OnTime, 0, &mut stamps);
            writer.push_event_parts(&fixed, &stamps);
        }
        let header = Header {
            tenant: "default".into(),
            lateness_max: HOUR,
            received_at_max: Timestamp(at(number)),
            ..Header::default()
        };
        writer.finish(&header, None)
    };
    records.chunks(BATCH).map(batch).collect()
}

#[inline(never)]
fn measured_read(batches: &[Vec<u8>]) -> usize {
    let mut count = 0;
    for bytes in batches {
        let Ok(batch) = BatchView::parse(bytes) else {
            continue;
        };
        for record in batch.records() {
            if let Ok(RecordView::Event(event)) = record {
                black_box(&event);
                count += 1;
            }
        }
    }
    count
}

#[inline(never)]
fn measured_count(engine: &mut Engine, batch: &BatchView<'_>, effects: &mut Vec<Effect>) -> usize {
    let mut count = 0;
    for &lane in Lane::ALL {
        engine.batch_start(
            lane,
            &BatchHeader {
                tenant: &batch.header.tenant,
                lateness_max: batch.header.lateness_max,
                received_at_max: batch.header.received_at_max,
            },
        );
        if lane == Lane::Normal {
            for (index, record) in (0u32..).zip(batch.records()) {
                if let Ok(RecordView::Event(event)) = record {
                    engine.event(index, &event, effects);
                    count += 1;
                }
            }
        }
        engine.batch_end(effects);
    }
    count
}

fn count(batches: &[Vec<u8>]) -> usize {
    let rules = balefire_rule::baseline().expect("the baseline compiles");
    let sets = [(0, Arc::new(rules))];
    let mut engine = Engine::new(0, &sets, EngineConfig::new(1)).expect("its periods are legal");
    let mut effects = Vec::new();
    let mut done = 0;
    for bytes in batches {
        let batch = BatchView::parse(bytes).expect("written above");
        done += measured_count(&mut engine, &batch, &mut effects);
        effects.clear();
    }
    done
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let what = words.next().unwrap_or_default();
    let events = words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(EVENTS);
    let records: Vec<String> = (0..events).map(record).collect();
    let door = door();
    let done = match what.as_str() {
        "admit" => measured_admit(&door, &records, &mut Vec::with_capacity(4_096)),
        "read" => measured_read(&batches(&door, &records)),
        "count" => count(&batches(&door, &records)),
        _ => {
            println!("hot admit|read|count [EVENTS]; counted by `make instructions`");
            return ExitCode::SUCCESS;
        }
    };
    println!(
        "{what}: {done} events of {} bytes",
        records.first().map_or(0, String::len)
    );
    if done == events {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
