//! `balefire sources`: which shapes are read, and what a field map makes of records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use balefire_control::Kind;
use balefire_control::Value::{Flag, Number, Text, Texts, Words};
use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::adapt::map::FieldMap;
use balefire_ingest_core::adapt::{self, Context};
use balefire_ingest_core::{Door, Provenance, Source, admit_json};
use serde_json::Value;

use crate::Failure;
use crate::folder::Wanted;
use crate::print::{Out, note, table};
use crate::source::Records;

/// Largest field map, bytes.
const MAP_BYTES_MAX: u64 = 256 * 1024;

/// Shows the sources that are read, and tries a field map.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the shapes that are recognised
    List,
    /// Shows what a field map makes of a file of records, without a server
    ///
    /// Prints the event of each record as one JSON object, and on standard error which records are refused and which
    /// fields of them no path of the map reads; exit 1 where any is refused.
    Check {
        /// The map: TOML with source, [match], [fields], [defaults], [words.FIELD]; or the file of a source object,
        /// source/NAME.toml, with [fields], [matches], [defaults], [words]
        map: PathBuf,
        /// Records: JSON, an array, NDJSON, gzip too; - for standard input
        file: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List => list(),
        Command::Check { map, file } => check(&map_of(map)?, file),
    }
}

fn list() -> Result<(), Failure> {
    let row = |adapter: &adapt::Adapter| vec![adapter.name.to_owned(), adapter.about.to_owned()];
    let rows: Vec<Vec<String>> = adapt::ALL.iter().map(row).collect();
    let mut out = Out::new();
    out.line(&table(&["SOURCE", "READS"], &rows));
    out.flush();
    Ok(())
}

/// Reads a map that can be used.
///
/// # Errors
/// Every fault of it, each with its place.
pub fn map_of(path: &Path) -> Result<FieldMap, Failure> {
    let told = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|e| told(e.to_string()))?
        .len();
    if size > MAP_BYTES_MAX {
        return Err(told(format!("a map may have {MAP_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| told(e.to_string()))?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| told(e.to_string()))?;
    let map = if table.contains_key("source") {
        table.try_into().map_err(|e| told(e.to_string()))?
    } else {
        of_object(path, &text).map_err(told)?
    };
    let faults = map.faults();
    if faults.is_empty() {
        return Ok(map);
    }
    let faults: Vec<String> = faults
        .into_iter()
        .map(|fault| format!("{}: {}", fault.place, fault.what))
        .collect();
    Err(told(faults.join("\n  ")))
}

/// The map of a source object, `source/NAME.toml`.
fn of_object(path: &Path, text: &str) -> Result<FieldMap, String> {
    let wanted = Wanted::of(Kind::Source, text)?;
    let name = path.file_stem().and_then(|name| name.to_str());
    let none = BTreeMap::new();
    let words = |field: &str| match wanted.spec.get(field) {
        Some(Words(words)) => words,
        Some(Text(_) | Number(_) | Flag(_) | Texts(_)) | None => &none,
    };
    FieldMap::of_object(
        name.unwrap_or_default(),
        words("matches"),
        words("fields"),
        words("defaults"),
        words("words"),
    )
    .ok_or_else(|| "is no map: it has neither source, nor fields as a source object has".to_owned())
}

fn check(map: &FieldMap, file: &Path) -> Result<(), Failure> {
    let unreadable = |e: std::io::Error| Failure::Failed(format!("read {}: {e}", file.display()));
    let context = Context::at(balefire_kit::clock::now());
    let source = Source::undeclared(&map.source, ClockPolicy::default());
    let door = Door::new("default", source, 1);
    let (mut out, mut made, mut refused) = (Out::new(), 0_u64, 0_u64);
    let mut unread = BTreeSet::new();
    let mut records = Records::open(file).map_err(unreadable)?;
    while let Some(record) = records.next().map_err(unreadable)? {
        for read in map.read(&record.bytes, &context) {
            let why = match &read {
                Ok(adapted) => admit_json(&door, &adapted.json, Provenance::default())
                    .err()
                    .map(|violation| violation.to_string()),
                Err(refused) => Some(format!("record: {}", refused.why)),
            };
            match (read, why) {
                (Ok(adapted), None) => {
                    made += 1;
                    out.line(&String::from_utf8_lossy(&adapted.json));
                    rest(map, &adapted.json, &mut unread);
                }
                (_, why) => {
                    refused += 1;
                    let why = why.unwrap_or_default();
                    out.flush();
                    note(&format!("line {}: {why}", record.line));
                }
            }
        }
    }
    out.flush();
    note(&format!("{made} events, {refused} refused"));
    if !unread.is_empty() {
        let names: Vec<String> = unread.into_iter().collect();
        note(&format!(
            "kept under {:?}, read by no path: {}",
            map.source,
            names.join(", ")
        ));
    }
    if refused > 0 {
        Err(Failure::Told)
    } else {
        Ok(())
    }
}

/// Names of what no path reads.
fn rest(map: &FieldMap, json: &[u8], names: &mut BTreeSet<String>) {
    let record: Value = serde_json::from_slice(json).unwrap_or_default();
    let rest = record.get(&map.source).and_then(Value::as_object);
    for (name, value) in rest.into_iter().flatten() {
        let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
        if !empty && names.len() < 100 {
            names.insert(name.clone());
        }
    }
}
