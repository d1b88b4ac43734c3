//! `balefire rules whatif`: what other rules would have escalated.

use std::path::PathBuf;
use std::time::Duration;

use balefire_event::Escalation;
use balefire_wire::whatif::v1::evaluate_response::Answer;
use balefire_wire::whatif::v1::what_if_service_client::WhatIfServiceClient;
use balefire_wire::whatif::v1::{CandidateFile, Difference, EvaluateRequest, Outcome, Summary};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::connect::{ANSWER_BYTES_MAX, Target};
use crate::print::{Listing, Out, note, table};
use crate::{Failure, line, rules, span};

/// How often the bar is drawn anew where nothing is told.
const TICK: Duration = Duration::from_millis(200);

/// Tries rule files out on the recorded log: what they would have escalated, against what was.
///
/// The same engine, the same events, the same ids. Slots that start within --since are compared.
/// Reads the log beside the live path and changes nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of rule files
    dir: PathBuf,
    /// How far back
    #[arg(long, default_value = "24h", value_parser = span::parse, value_name = "SPAN")]
    since: Duration,
    /// The files replace the rule objects of their names, or are added; without it they are all
    /// rules there would be
    #[arg(long)]
    overlay: bool,
    /// List what would be the same, too
    #[arg(long)]
    unchanged: bool,
    /// How differences are printed; with ndjson the last line is the summary
    #[arg(long, value_enum, default_value_t)]
    output: Listing,
    #[command(flatten)]
    target: Target,
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Added => "added",
        Outcome::Removed => "removed",
        Outcome::Unchanged => "unchanged",
        Outcome::Unspecified => "unknown",
    }
}

fn summary_line(summary: &Summary) -> Value {
    let rules = summary.rules.iter().map(|counts| {
        json!({"rule": counts.rule, "added": counts.added, "removed": counts.removed, "unchanged": counts.unchanged})
    });
    json!({
        "added": summary.added, "removed": summary.removed, "unchanged": summary.unchanged,
        "rules": rules.collect::<Vec<_>>(), "unsettled": summary.unsettled, "untold": summary.untold,
        "events": summary.events, "messages": summary.messages,
        "since": balefire_event::Timestamp(summary.since_ns).to_string(),
        "seconds": Duration::from_nanos(summary.elapsed_ns.unsigned_abs()).as_secs_f64(),
    })
}

/// Prints what comes.
struct Printer {
    out: Out,
    listing: Listing,
    rows: Vec<Vec<String>>,
}

impl Printer {
    /// False: nobody reads any more.
    fn difference(&mut self, difference: &Difference) -> Result<bool, Failure> {
        let outcome = word(difference.outcome());
        let Some(escalation) = &difference.escalation else {
            return Ok(true);
        };
        let escalation = Escalation::try_from(escalation)
            .map_err(|e| Failure::Failed(format!("the server's answer is not understood: {e}")))?;
        if self.listing == Listing::Table {
            let mut row = vec![outcome.to_owned()];
            row.extend(line::row(&escalation));
            self.rows.push(row);
            return Ok(true);
        }
        let mut told = line::of(&escalation);
        if let Some(told) = told.as_object_mut() {
            told.insert("outcome".into(), json!(outcome));
        }
        Ok(self.out.line(&told.to_string()))
    }

    fn summary(&mut self, summary: &Summary) {
        if self.listing == Listing::Ndjson {
            self.out
                .line(&json!({"summary": summary_line(summary)}).to_string());
            self.out.flush();
            return;
        }
        if !self.rows.is_empty() {
            let mut head = vec!["OUTCOME"];
            head.extend(line::HEAD);
            self.out.line(&table(&head, &self.rows));
            self.out.line("");
        }
        let count = |number: u64| number.to_string();
        let rows: Vec<Vec<String>> = summary
            .rules
            .iter()
            .map(|of| {
                vec![
                    of.rule.clone(),
                    count(of.added),
                    count(of.removed),
                    count(of.unchanged),
                ]
            })
            .collect();
        if rows.is_empty() {
            self.out.line("no escalations on either side");
        } else {
            self.out
                .line(&table(&["RULE", "ADDED", "REMOVED", "UNCHANGED"], &rows));
        }
        self.out.flush();
    }
}

/// What people should know beside the numbers.
fn remarks(summary: &Summary) {
    let seconds = Duration::from_nanos(summary.elapsed_ns.unsigned_abs()).as_secs_f64();
    note(&format!(
        "{} added, {} removed, {} unchanged; {} events in {seconds:.1} s",
        summary.added, summary.removed, summary.unchanged, summary.events
    ));
    if summary.unsettled > 0 {
        note(&format!(
            "{} of those added rest on events of the last seconds: the engine may only not be there yet",
            summary.unsettled
        ));
    }
    if summary.untold > 0 {
        note(&format!("{} differences are only counted", summary.untold));
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    let files = rules::files(&args.dir)?;
    let since = balefire_kit::clock::now().minus(span::nanos(args.since));
    let request = EvaluateRequest {
        files: files
            .into_iter()
            .map(|(name, yaml)| CandidateFile { name, yaml })
            .collect(),
        overlay: args.overlay,
        since_ns: since.0,
        unchanged: args.unchanged,
    };
    let mut client = WhatIfServiceClient::new(args.target.connect().await?)
        .max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut answers = client.evaluate(request).await?.into_inner();
    let mut printer = Printer {
        out: Out::new(),
        listing: args.output,
        rows: Vec::new(),
    };
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {elapsed}")
        .map_err(|e| Failure::chain(&e))?;
    let bar = ProgressBar::new(0).with_style(style);
    bar.enable_steady_tick(TICK);
    while let Some(answer) = answers.message().await? {
        match answer.answer {
            Some(Answer::Progress(progress)) => {
                bar.set_length(progress.messages_total);
                bar.set_position(progress.messages);
                bar.set_message(format!("{} events", progress.events));
            }
            Some(Answer::Difference(difference)) => {
                bar.finish_and_clear();
                if !printer.difference(&difference)? {
                    return Ok(());
                }
            }
            Some(Answer::Summary(summary)) => {
                bar.finish_and_clear();
                printer.summary(&summary);
                remarks(&summary);
                return Ok(());
            }
            None => {}
        }
    }
    Err(Failure::Failed("the server ended without a summary".into()))
}
