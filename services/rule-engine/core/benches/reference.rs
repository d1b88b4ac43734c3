//! The engine alone on the reference workload: 1,000,000 parsed events, the four rules of the
//! baseline pack, 1 % out of order by up to 30 s, 100,000 users; then fewer and more users, and a hundred
//! times as many rules.
//!
//! `make bench`: events/s of one core, memory of the state. Events are made by the batch, outside
//! the time measured.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench counts to a million and prints what it measured"
)]

#[path = "support/workload.rs"]
mod workload;

use std::alloc::System;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balefire_event::time::HOUR;
use balefire_event::{Event, Lane};
use balefire_rule::{BASELINE, RuleSet};
use balefire_rule_engine_core::{BatchHeader, Effect, Engine, EngineConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use workload::Workload;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const EVENTS: usize = 1_000_000;
const BATCH: usize = 512;

fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

fn take(engine: &mut Engine, batch: &[Event<'_>], effects: &mut Vec<Effect>) {
    let last = batch.last().expect("a chunk is never empty").received_at;
    for &lane in Lane::ALL {
        let header = BatchHeader {
            tenant: "default",
            lateness_max: HOUR,
            received_at_max: last,
        };
        engine.batch_start(lane, &header);
        if lane == Lane::Normal {
            for (index, event) in (0u32..).zip(batch) {
                engine.event(index, event, effects);
            }
        }
        engine.batch_end(effects);
    }
}

/// The baseline's rules, and so many times more of them, each for another endpoint, at which nothing
/// happens: what they cost is to be looked at.
fn rules(copies: usize) -> RuleSet {
    const NAMES: [&str; 6] = [
        "guardrail_block_burst",
        "guardrail_block",
        "judge_flag_burst",
        "judge_flag_grave",
        "prompt_attack",
        "agent_tool_outside_allowlist",
    ];
    let mut files: Vec<(String, String)> = BASELINE
        .iter()
        .map(|(name, yaml)| ((*name).to_owned(), (*yaml).to_owned()))
        .collect();
    for copy in 1..copies {
        for (name, yaml) in BASELINE {
            let mut yaml = yaml.replace(
                "  selection:\n",
                &format!("  selection:\n    endpoint: /team/{copy}\n"),
            );
            for one in NAMES {
                yaml = yaml.replace(
                    &format!("\nname: {one}\n"),
                    &format!("\nname: {one}_{copy}\n"),
                );
                yaml = yaml.replace(
                    &format!("\n    - {one}\n"),
                    &format!("\n    - {one}_{copy}\n"),
                );
            }
            // Ids are UUIDs: the first four digits become the copy's number.
            let lines = yaml.lines().map(|line| match line.strip_prefix("id: ") {
                Some(id) => format!("id: {copy:04x}{}", id.get(4..).unwrap_or_default()),
                None => line.to_owned(),
            });
            let yaml = lines.collect::<Vec<_>>().join("\n");
            files.push((format!("{copy}_{name}"), yaml));
        }
    }
    RuleSet::parse(&files).expect("the copies compile")
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn round(users: usize, copies: usize) {
    let rules = rules(copies);
    let count = rules.rules().len();
    let sets = [(0, Arc::new(rules))];
    let mut engine =
        Engine::new(0, &sets, EngineConfig::new(1)).expect("baseline periods are legal");
    let mut workload = Workload::new(EVENTS, users);
    let (mut effects, mut escalations) = (Vec::new(), 0);
    let (mut time, mut allocations, mut bytes) = (Duration::ZERO, 0, 0);
    let before = rss_mib();
    loop {
        let batch: Vec<_> = workload.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let region = Region::new(ALLOCATOR);
        let begun = Instant::now();
        take(&mut engine, &batch, &mut effects);
        time += begun.elapsed();
        escalations += effects.len();
        effects.clear();
        let change = region.change();
        allocations += change.allocations + change.reallocations;
        bytes += change.bytes_allocated as isize - change.bytes_deallocated as isize;
    }
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "{users:>9} users, {count:>3} rules: {:>9.0} events/s, {:.2} allocations an event, {escalations} escalations, {} keys, {} entries, state {:.1} MiB allocated ({:.1} MiB RSS more)",
        EVENTS as f64 / time.as_secs_f64(),
        allocations as f64 / EVENTS as f64,
        engine.key_count(),
        engine.entry_count(),
        mib(bytes as f64),
        rss_mib() - before,
    );
}

fn main() {
    println!("engine alone, one core, {EVENTS} events, batches of {BATCH}");
    for users in [100_000, 100_000, 100_000, 10_000, 1_000_000] {
        round(users, 1);
    }
    for copies in [100, 1, 100, 1] {
        round(100_000, copies);
    }
}
