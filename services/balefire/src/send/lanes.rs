//! A sender a source, and what became of everything that each was given.

use std::collections::BTreeMap;

use balefire_client::{AppendOptions, Client, Outcomes, Sender};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Tally;
use crate::Failure;

/// Lines of records under way, of one source.
const LINES_MAX: usize = 1 << 20;

/// The senders of one command.
pub struct Lanes<'c> {
    client: &'c Client,
    options: AppendOptions,
    bar: ProgressBar,
    lanes: BTreeMap<String, Lane>,
}

struct Lane {
    sender: Sender,
    lines: mpsc::Sender<u64>,
    telling: JoinHandle<Result<Tally, Failure>>,
}

impl<'c> Lanes<'c> {
    /// None yet. The options hold for each, but for the source.
    pub fn new(client: &'c Client, options: AppendOptions) -> Self {
        // Draws nothing where standard error is no terminal.
        let bar = ProgressBar::new_spinner();
        let template = "{spinner} {human_pos} events, {per_sec}, {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            client,
            options,
            bar,
            lanes: BTreeMap::new(),
        }
    }

    /// The bar, to write beside.
    pub const fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Sends a record of a source. False: the lane has ended, and [`Lanes::finish`] says why.
    pub async fn send(&mut self, source: &str, line: u64, json: Vec<u8>) -> Result<bool, Failure> {
        if !self.lanes.contains_key(source) {
            let lane = self.lane(source);
            self.lanes.insert(source.to_owned(), lane);
        }
        let Some(lane) = self.lanes.get_mut(source) else {
            return Ok(false);
        };
        // The line first: its outcome may be told at once.
        if lane.lines.send(line).await.is_err() {
            return Ok(false);
        }
        let sent = lane.sender.send_raw(json.into()).await;
        sent.map_err(|error| Failure::chain(&error))?;
        Ok(true)
    }

    fn lane(&self, source: &str) -> Lane {
        let options = AppendOptions {
            source: source.to_owned(),
            ..self.options.clone()
        };
        let (sender, outcomes) = self.client.sender(options);
        let (lines, lines_in) = mpsc::channel(LINES_MAX);
        let telling = tell(outcomes, lines_in, self.bar.clone());
        Lane {
            sender,
            lines,
            telling: tokio::spawn(telling),
        }
    }

    /// Sends what is left and says what became of everything.
    pub async fn finish(self) -> Result<Tally, Failure> {
        let mut all = Tally::default();
        for lane in self.lanes.into_values() {
            drop((lane.sender, lane.lines));
            let told = lane.telling.await;
            let told = told.map_err(|e| Failure::Failed(format!("a task failed: {e}")))?;
            all.add(&told?);
        }
        self.bar.finish_and_clear();
        Ok(all)
    }
}

/// Tells what became of each record, in the order of sending.
async fn tell(
    mut outcomes: Outcomes,
    mut lines: mpsc::Receiver<u64>,
    bar: ProgressBar,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    while let Some(outcome) = outcomes.next().await {
        let line = lines.recv().await.unwrap_or(outcome.number + 1);
        bar.suspend(|| tally.take(&outcome, line))?;
        bar.inc(1);
    }
    Ok(tally)
}
