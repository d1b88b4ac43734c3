//! `balefire replay`: the engine alone, offline (SEMANTICS §11).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use balefire_event::stamp::ClockPolicy;
use balefire_event::{Category, Escalation, Event, Timing};
use balefire_ingest_core::{Door, Looked, Provenance, Source, admit_json};
use balefire_kit::caller::DEFAULT_TENANT;
use balefire_rule_engine_core::{Engine, EngineConfig, Replay};

use crate::print::{Listing, Out, note, table};
use crate::source::{Records, Stretch};
use crate::{Failure, line, rules};

mod admitted;

use admitted::{Look, Record};

/// Read ahead at once, twice; a line may have as many.
const STRETCH_BYTES: usize = 8 * 1024 * 1024;

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
    let heeded = Category::ALL.iter().copied();
    let heeded = heeded.filter(|category| engine.heeds(*category)).collect();
    let replay = Replay::of_trusted_clocks(engine);
    let door = Door::new(
        &args.tenant,
        Source::undeclared("native", ClockPolicy::default()),
        1,
    );
    let unreadable =
        |e: std::io::Error| Failure::Failed(format!("read {}: {e}", args.file.display()));
    let mut records = Records::open(&args.file).map_err(unreadable)?;
    let (mut now, mut next) = (Stretch::default(), Stretch::default());
    records
        .stretch(STRETCH_BYTES, &mut now)
        .map_err(unreadable)?;
    let look = Look {
        door: &door,
        heeded: &heeded,
    };
    let mut fold = Fold {
        door: &door,
        replay,
        printer: Printer::new(args.output),
        identical: HashMap::new(),
        rejected: 0,
    };
    while now.len() > 0 {
        // The next stretch is read meanwhile.
        let (read, told) = std::thread::scope(|scope| {
            let reading = scope.spawn(|| records.stretch(STRETCH_BYTES, &mut next));
            let told = admitted::each(look, &now, |record| fold.record(record));
            (reading.join(), told)
        });
        if !told {
            return Ok(());
        }
        match read {
            Ok(read) => read.map_err(unreadable)?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        std::mem::swap(&mut now, &mut next);
    }
    if !fold.finish() {
        return Ok(());
    }
    fold.printer.end();
    if fold.rejected > 0 {
        Err(Failure::Told)
    } else {
        Ok(())
    }
}

/// What goes on from one record to the next.
struct Fold<'d> {
    door: &'d Door,
    replay: Replay,
    printer: Printer,
    /// How often each record without an id came.
    identical: HashMap<[u8; 32], u32>,
    rejected: u64,
}

impl<'d> Fold<'d> {
    /// Takes the next record; false: nobody reads any more.
    fn record<'s>(&mut self, record: &mut Record<'s>) -> bool
    where
        'd: 's,
    {
        if let Some(digest) = record.digest {
            // How many identical records came before it is part of what it is.
            let count = self.identical.entry(digest).or_insert(0);
            let provenance = Provenance {
                occurrence: *count,
                ..Provenance::default()
            };
            *count += 1;
            if provenance.occurrence > 0 {
                let admitted = admit_json(self.door, record.bytes, provenance);
                record.looked = admitted.map(Looked::Wanted);
            }
        }
        match &mut record.looked {
            Ok(Looked::Passed(t)) => {
                self.replay.passed(*t);
                true
            }
            Ok(Looked::Wanted(admitted)) => {
                stamp(&mut admitted.event);
                let escalations = self.replay.push(&self.door.tenant, &admitted.event);
                escalations.iter().all(|one| self.printer.escalation(one))
            }
            Err(violation) => {
                self.rejected += 1;
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
                true
            }
        }
    }
}

impl Fold<'_> {
    /// No more comes; false: nobody reads any more.
    fn finish(&mut self) -> bool {
        let escalations = self.replay.finish();
        escalations.iter().all(|one| self.printer.escalation(one))
    }
}

/// Offline every record arrives when it happened.
fn stamp(event: &mut Event<'_>) {
    event.received_at = event.occurred_at;
    event.t = event.occurred_at;
    event.timing = Timing::OnTime;
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
