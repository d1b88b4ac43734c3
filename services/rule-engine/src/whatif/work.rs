//! A comparison under way: what the threads report comes together here, and is told.

use std::sync::Arc;
use std::time::Duration;

use balefire_kit::violation::full;
use balefire_rule_engine_core::{Findings, Outcome, TooMuch, WhatIf};
use balefire_wire::whatif::v1 as wire;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use super::{Answer, workers};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

fn too_much(error: TooMuch) -> Status {
    full(&error.to_string())
}

/// A comparison under way.
pub(super) struct Work<'a> {
    pub(super) what_if: WhatIf,
    pub(super) tenant: Arc<str>,
    pub(super) answers: &'a mpsc::Sender<Answer>,
    pub(super) total: u64,
    pub(super) messages: u64,
    /// Partitions that are not done.
    pub(super) open: usize,
    pub(super) told_at: Instant,
}

impl Work<'_> {
    pub(super) async fn report(&mut self, report: workers::Report) -> Result<(), Status> {
        if let Some(found) = report.found {
            let found = self.what_if.found(report.partition, &self.tenant, found);
            found.map_err(too_much)?;
        }
        if report.ended {
            self.open -= 1;
            self.what_if.ended(report.partition);
        }
        self.messages += report.messages;
        if self.told_at.elapsed() >= PROGRESS_EVERY {
            self.told_at = Instant::now();
            self.progress().await;
        }
        Ok(())
    }

    pub(super) async fn progress(&self) {
        let progress = wire::Progress {
            messages: self.messages,
            messages_total: self.total,
            events: self.what_if.events(),
        };
        send(
            wire::evaluate_response::Answer::Progress(progress),
            self.answers,
        )
        .await;
    }
}

async fn send(answer: wire::evaluate_response::Answer, answers: &mpsc::Sender<Answer>) {
    let answer = wire::EvaluateResponse {
        answer: Some(answer),
    };
    // The caller left: whoever sends next notices.
    let _left = answers.send(Ok(answer)).await;
}

pub(super) async fn tell(
    findings: Findings,
    summary: wire::Summary,
    answers: &mpsc::Sender<Answer>,
) {
    for (outcome, escalation) in findings.differences {
        let outcome = match outcome {
            Outcome::Added => wire::Outcome::Added,
            Outcome::Removed => wire::Outcome::Removed,
            Outcome::Unchanged => wire::Outcome::Unchanged,
        };
        let difference = wire::Difference {
            outcome: outcome.into(),
            escalation: Some((&*escalation).into()),
        };
        send(
            wire::evaluate_response::Answer::Difference(difference),
            answers,
        )
        .await;
    }
    send(wire::evaluate_response::Answer::Summary(summary), answers).await;
}
