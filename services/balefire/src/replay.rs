//! `balefire replay`: the engine alone, offline (SEMANTICS §11).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use balefire_event::stamp::ClockPolicy;
use balefire_event::{Escalation, Event, Timing};
use balefire_ingest_core::{Door, Provenance, Source, admit_json};
use balefire_kit::caller::DEFAULT_TENANT;
use balefire_rule_engine_core::{Engine, EngineConfig, Replay};

use crate::print::{Listing, Out, note, table};
use crate::source::Records;
use crate::{Failure, line, rules};

/// Evaluates a file of events with a set of rules, offline: the lines that `escalations` would
/// print of a live system in which nothing was LATE or FUTURE. Records are not joined: an event
/// without a user counts for nobody.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File of events, or - for standard input: NDJSON, a JSON array or one object, gzip too
    file: PathBuf,
    /// Folder of rule files; without it the baseline pack
    #[arg(long, env = "BALEFIRE_RULES", value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Tenant of the events
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
    /// How escalations are printed
    #[arg(long, value_enum, default_value_t)]
    output: Listing,
}

/// Runs the command.
///
/// # Errors
/// Rules with faults, a file that cannot be read; exit 1 also where a line is rejected.
pub fn run(args: &Args) -> Result<(), Failure> {
    let files = match &args.rules {
        Some(dir) => rules::files(dir)?,
        None => balefire_rule_engine::baseline_files(),
    };
    let sets = [(0, Arc::new(rules::compile(&files)?))];
    let engine = Engine::new(0, &sets, EngineConfig::new(1)).map_err(|e| Failure::chain(&e))?;
    let mut replay = Replay::new(engine);
    let door = Door::new(
        &args.tenant,
        Source::undeclared("native", ClockPolicy::default()),
        1,
    );
    let unreadable =
        |e: std::io::Error| Failure::Failed(format!("read {}: {e}", args.file.display()));
    let mut records = Records::open(&args.file).map_err(unreadable)?;
    let (mut printer, mut rejected) = (Printer::new(args.output), 0u64);
    let mut identical: HashMap<[u8; 32], u32> = HashMap::new();
    while let Some(record) = records.next().map_err(unreadable)? {
        let mut provenance = Provenance::default();
        let admitted = admit_json(&door, &record.bytes, provenance);
        let admitted = match admitted {
            Ok(admitted) if admitted.id_said => Ok(admitted),
            Ok(_) => {
                // Without an id, how many identical records came before it is part of what it is.
                let digest = balefire_event::digest::FieldHasher::new("replay")
                    .field(&record.bytes)
                    .digest();
                let count = identical.entry(digest).or_insert(0);
                provenance.occurrence = *count;
                *count += 1;
                admit_json(&door, &record.bytes, provenance)
            }
            Err(violation) => Err(violation),
        };
        match admitted {
            Ok(admitted) => {
                let event = stamped(admitted.event);
                for escalation in replay.push(&args.tenant, &event) {
                    if !printer.escalation(&escalation) {
                        return Ok(());
                    }
                }
            }
            Err(violation) => {
                rejected += 1;
                let field = if violation.field.is_empty() {
                    "record"
                } else {
                    &violation.field
                };
                let reason = violation.reason.as_str();
                note(&format!(
                    "line {}: {field}: {reason}: {}",
                    record.line, violation.description
                ));
            }
        }
    }
    for escalation in replay.finish() {
        if !printer.escalation(&escalation) {
            return Ok(());
        }
    }
    printer.end();
    if rejected > 0 {
        Err(Failure::Told)
    } else {
        Ok(())
    }
}

/// Offline every record arrives when it happened.
fn stamped(mut event: Event<'_>) -> Event<'_> {
    event.received_at = event.occurred_at;
    event.t = event.occurred_at;
    event.timing = Timing::OnTime;
    event
}

struct Printer {
    out: Out,
    listing: Listing,
    rows: Vec<Vec<String>>,
    seen: HashSet<balefire_event::EscalationId>,
}

impl Printer {
    fn new(listing: Listing) -> Self {
        Self {
            out: Out::new(),
            listing,
            rows: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// False: nobody reads any more.
    fn escalation(&mut self, escalation: &Escalation) -> bool {
        if !line::names_an_id(escalation.kind) || !self.seen.insert(escalation.escalation_id) {
            return true;
        }
        match self.listing {
            Listing::Ndjson => self.out.line(&line::of(escalation).to_string()),
            Listing::Table => {
                self.rows.push(line::row(escalation));
                true
            }
        }
    }

    fn end(&mut self) {
        if self.listing == Listing::Table {
            let text = if self.rows.is_empty() {
                "no escalations".to_owned()
            } else {
                table(&line::HEAD, &self.rows)
            };
            self.out.line(&text);
        }
        self.out.flush();
    }
}
