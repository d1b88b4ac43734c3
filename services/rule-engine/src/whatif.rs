//! WhatIfService: a candidate set of rules against the recorded log.

mod summary;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use balefire_event::{EscalationId, Lane, RuleId, Timestamp, stamp};
use balefire_kit::clock;
use balefire_kit::violation::{full, invalid};
use balefire_kit::{Caller, Scope as Right};
use balefire_rule::{Rule, RuleKind, RuleSet};
use balefire_rule_engine_core::{Engine, EngineConfig, Findings, Outcome, Scope, TooMuch, WhatIf};
use balefire_wire::record::kind;
use balefire_wire::whatif::v1 as wire;
use balefire_wire::whatif::v1::what_if_service_server::WhatIfService;
use balefire_wire::{BatchView, RecordView, event_codec};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::grpc::{Services, out_of_reach};
use crate::stretch::Stretch;

/// Files of a candidate.
pub const FILES_MAX: usize = 1000;
/// Their names and texts together, bytes.
pub const FILES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers that wait for a slow caller.
const ANSWERS_MAX: usize = 256;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// What would be added by the newest events is waited for so long: the live path is as quick.
const SETTLE_MAX: Duration = Duration::from_secs(2);

type Answer = Result<wire::EvaluateResponse, Status>;
type Answers = Pin<Box<dyn Stream<Item = Answer> + Send>>;

/// What is evaluated.
struct Candidate {
    set: RuleSet,
    rules: Option<BTreeSet<RuleId>>,
    tenant: Arc<str>,
    since: Timestamp,
    unchanged: bool,
}

fn too_much(error: TooMuch) -> Status {
    full(&error.to_string())
}

/// Rules of a set whose ids stand in a text.
pub(crate) fn rules_in<'s>(set: &'s RuleSet, yaml: &str) -> impl Iterator<Item = &'s Rule> {
    let yaml = yaml.to_ascii_lowercase();
    let rules = set.rules().iter().map(|rule| &**rule);
    rules.filter(move |rule| yaml.contains(&rule.id.to_uuid()))
}

fn stem(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.strip_suffix(".yml")
        .or_else(|| name.strip_suffix(".yaml"))
        .unwrap_or(name)
}

impl Services {
    fn candidate(
        &self,
        tenant: Arc<str>,
        request: wire::EvaluateRequest,
    ) -> Result<Candidate, Status> {
        let size = |file: &wire::CandidateFile| file.name.len() + file.yaml.len();
        if request.files.is_empty() || request.files.len() > FILES_MAX {
            return Err(invalid("files", &format!("takes 1 to {FILES_MAX} files")));
        }
        if request.files.iter().map(size).sum::<usize>() > FILES_BYTES_MAX {
            return Err(invalid("files", &format!("over {FILES_BYTES_MAX} bytes")));
        }
        if request.since_ns <= 0 {
            return Err(invalid("since_ns", "is missing"));
        }
        let mut files: Vec<(String, String)> = Vec::new();
        let mut replaced = Vec::new();
        if request.overlay {
            let names: BTreeSet<&str> = request.files.iter().map(|f| stem(&f.name)).collect();
            let in_force = self.control.look(|book| book.files());
            let in_force = in_force.map_err(|e| out_of_reach(&e))?;
            (replaced, files) = in_force
                .into_iter()
                .partition(|(name, _)| names.contains(stem(name)));
        }
        let own: Vec<String> = request.files.iter().map(|f| f.yaml.clone()).collect();
        files.extend(request.files.into_iter().map(|f| (f.name, f.yaml)));
        let set = RuleSet::parse(&files).map_err(|found| {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            invalid("files", &found.join("\n"))
        })?;
        let rules = request.overlay.then(|| {
            let mut ids: BTreeSet<RuleId> = BTreeSet::new();
            for yaml in &own {
                ids.extend(rules_in(&set, yaml).map(|rule| rule.id));
            }
            let known = self.control.known();
            if let Some((_, live)) = known.sets.last() {
                for (_, yaml) in &replaced {
                    ids.extend(rules_in(live, yaml).map(|rule| rule.id));
                }
            }
            ids
        });
        let rules = self.decided_at_once(&set, rules);
        Ok(Candidate {
            set,
            rules,
            tenant,
            since: Timestamp(request.since_ns),
            unchanged: request.unchanged,
        })
    }

    /// Of these rules, all where there are none, those that are decided at once: what is decided
    /// when a slot closes has no answer here.
    fn decided_at_once(
        &self,
        set: &RuleSet,
        rules: Option<BTreeSet<RuleId>>,
    ) -> Option<BTreeSet<RuleId>> {
        let known = self.control.known();
        let live = known.sets.last().map(|(_, live)| live.rules());
        let all = || set.rules().iter().chain(live.into_iter().flatten());
        let closes = |rule: &&Arc<Rule>| matches!(rule.kind, RuleKind::AtClose(_));
        let late: BTreeSet<RuleId> = all().filter(closes).map(|rule| rule.id).collect();
        if late.is_empty() {
            return rules;
        }
        let rules = rules.unwrap_or_else(|| all().map(|rule| rule.id).collect());
        Some(rules.difference(&late).copied().collect())
    }

    /// Evaluates, tells what it found, and why it could not.
    async fn evaluate_to(self, candidate: Candidate, answers: mpsc::Sender<Answer>) {
        let evaluated = tokio::select! {
            evaluated = self.compare(candidate, &answers) => evaluated,
            () = answers.closed() => return,
            () = self.shutdown.cancelled() => return,
        };
        if let Err(status) = evaluated {
            // The caller left: nobody wants to know.
            let _left = answers.send(Err(status)).await;
        }
    }

    async fn compare(
        &self,
        candidate: Candidate,
        answers: &mpsc::Sender<Answer>,
    ) -> Result<(), Status> {
        let (started, at) = (Instant::now(), clock::now());
        let reach = |error: balefire_bus::Error| out_of_reach(&error);
        let skew = stamp::SKEW + stamp::AHEAD;
        // First where ESCALATIONS ends, then where EVENTS ends: so every escalation that is
        // compared rests on events that are read.
        let mut stretches = Vec::new();
        for partition in 0..self.topology.partitions {
            let stream = self.topology.escalations_stream(partition);
            let from = candidate.since.minus(skew);
            stretches.push(
                Stretch::since(&self.bus, stream, from)
                    .await
                    .map_err(reach)?,
            );
        }
        let before = stretches.len();
        let from = candidate
            .since
            .minus(longest_window(&candidate.set))
            .minus(skew)
            .minus(stamp::UNTRUSTED_MEMORY);
        for partition in 0..self.topology.partitions {
            for lane in Lane::ALL.iter().copied() {
                let stream = self.topology.events_stream(lane, partition);
                stretches.push(
                    Stretch::since(&self.bus, stream, from)
                        .await
                        .map_err(reach)?,
                );
            }
        }
        let sets = [(0, Arc::new(candidate.set))];
        let engine = Engine::new(0, &sets, EngineConfig::new(1))
            .map_err(|e| invalid("files", &balefire_kit::process::chain(&e)))?;
        let scope = Scope {
            since: candidate.since,
            settled: at.minus(stamp::SKEW),
            rules: candidate.rules,
        };
        let mut work = Work {
            what_if: WhatIf::new(engine, scope),
            tenant: candidate.tenant,
            answers,
            total: stretches.iter().map(Stretch::len).sum(),
            messages: 0,
            told_at: started,
        };
        for stretch in stretches
            .iter()
            .skip(before)
            .chain(stretches.iter().take(before))
        {
            let mut reading = stretch.read(&self.bus).await.map_err(reach)?;
            while let Some(message) = reading.next().await.map_err(reach)? {
                work.message(&message.payload).await?;
            }
        }
        work.progress().await;
        self.settle(&mut work.what_if).await?;
        let (messages, events) = (work.messages, work.what_if.events());
        let findings = work.what_if.finish(candidate.unchanged);
        let summary = wire::Summary {
            events,
            messages,
            since_ns: candidate.since.0,
            elapsed_ns: i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX),
            ..summary::summary(&findings)
        };
        tell(findings, summary, answers).await;
        Ok(())
    }

    /// Takes what was escalated since; what the newest events would add is waited for a moment.
    async fn settle(&self, what_if: &mut WhatIf) -> Result<(), Status> {
        let caught_up = self.projection.caught_up(&self.bus, &self.topology).await;
        caught_up.map_err(|e| out_of_reach(&e))?;
        for _ in 0..2 {
            let added: Vec<(EscalationId, bool)> = what_if.added().collect();
            for (id, _) in &added {
                if self.projection.place(id).is_some() {
                    what_if.escalated_since(*id);
                }
            }
            let open = what_if.added().filter(|(_, settled)| !settled);
            let open: Vec<EscalationId> = open.map(|(id, _)| id).collect();
            if open.is_empty() {
                break;
            }
            // What does not come is added indeed.
            let _late = tokio::time::timeout(SETTLE_MAX, self.projection.holds(&open)).await;
        }
        Ok(())
    }
}

/// Longest W of a set.
fn longest_window(set: &RuleSet) -> i64 {
    let windows = set.rules().iter().map(|rule| match &rule.kind {
        RuleKind::Single => 0,
        RuleKind::Threshold(threshold) => threshold.window,
        RuleKind::AtClose(close) => close.window,
    });
    windows.max().unwrap_or(0)
}

/// A comparison under way.
struct Work<'a> {
    what_if: WhatIf,
    tenant: Arc<str>,
    answers: &'a mpsc::Sender<Answer>,
    total: u64,
    messages: u64,
    told_at: Instant,
}

impl Work<'_> {
    async fn message(&mut self, payload: &[u8]) -> Result<(), Status> {
        self.take(payload).map_err(too_much)?;
        self.messages += 1;
        if self.told_at.elapsed() >= PROGRESS_EVERY {
            self.told_at = Instant::now();
            self.progress().await;
        }
        // The live path comes first on this thread.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// What cannot be read is a dead letter of the live path, and counts on neither side.
    fn take(&mut self, payload: &[u8]) -> Result<(), TooMuch> {
        let Ok(batch) = BatchView::parse(payload) else {
            return Ok(());
        };
        let own = batch.header.tenant == *self.tenant;
        for raw in batch.raw_records() {
            let Ok(raw) = raw else { continue };
            if raw.kind == kind::EVENT {
                let category = event_codec::category(raw.message);
                if !own || category.is_some_and(|category| !self.what_if.heeds(category)) {
                    if own {
                        self.what_if.passed();
                    }
                    continue;
                }
            }
            match raw.view() {
                Ok(RecordView::Event(event)) => {
                    self.what_if.event(&self.tenant, &event)?;
                }
                Ok(RecordView::Escalation(escalation)) if escalation.tenant == *self.tenant => {
                    self.what_if.escalated(*escalation)?;
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn progress(&self) {
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

async fn tell(findings: Findings, summary: wire::Summary, answers: &mpsc::Sender<Answer>) {
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

#[tonic::async_trait]
impl WhatIfService for Services {
    type EvaluateStream = Answers;

    async fn evaluate(
        &self,
        call: Request<wire::EvaluateRequest>,
    ) -> Result<Response<Answers>, Status> {
        let caller = Caller::of(&call, Right::Read)?;
        let candidate = self.candidate(Arc::clone(&caller.tenant), call.into_inner())?;
        let place = self.rooms.whatifs.enter()?;
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        tokio::spawn(self.clone().evaluate_to(candidate, answers));
        // The place is held for as long as the stream.
        let answers = ReceiverStream::new(receiver).map(move |answer| {
            let _held = &place;
            answer
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
