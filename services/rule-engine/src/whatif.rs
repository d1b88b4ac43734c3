//! WhatIfService: a candidate set of rules against the recorded log.

mod summary;
mod work;
mod workers;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use balefire_event::{EscalationId, Lane, RuleId, Timestamp, stamp};
use balefire_kit::clock;
use balefire_kit::violation::invalid;
use balefire_kit::{Caller, Scope as Right};
use balefire_rule::{Rule, RuleKind, RuleSet};
use balefire_rule_engine_core::{Engine, EngineConfig, Part, Scope, Share, WhatIf};
use balefire_wire::whatif::v1 as wire;
use balefire_wire::whatif::v1::what_if_service_server::WhatIfService;
use futures::future::try_join_all;
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::grpc::{Services, out_of_reach};
use crate::stretch::Stretch;

use work::{Work, tell};

/// Files of a candidate.
pub const FILES_MAX: usize = 1000;
/// Their names and texts together, bytes.
pub const FILES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers that wait for a slow caller.
const ANSWERS_MAX: usize = 256;
/// What would be added by the newest events is waited for so long: the live path is as quick.
const SETTLE_MAX: Duration = Duration::from_secs(2);

type Answer = Result<wire::EvaluateResponse, Status>;
type Answers = Pin<Box<dyn Stream<Item = Answer> + Send>>;

/// What is evaluated.
struct Candidate {
    set: Arc<RuleSet>,
    rules: Option<Arc<BTreeSet<RuleId>>>,
    tenant: Arc<str>,
    since: Timestamp,
    unchanged: bool,
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
            set: Arc::new(set),
            rules: rules.map(Arc::new),
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
        let parts = self.parts(&candidate).await?;
        let scope = Scope {
            since: candidate.since,
            settled: at.minus(stamp::SKEW),
            rules: candidate.rules.clone(),
        };
        let stretches = parts.iter().flat_map(|part| &part.stretches);
        let engine = candidate.engine(Part::Rekeyed { sources: 0 })?;
        let mut work = Work {
            total: stretches.map(Stretch::len).sum(),
            what_if: WhatIf::new(engine, scope),
            tenant: candidate.tenant,
            answers,
            messages: 0,
            open: parts.len(),
            told_at: started,
        };
        self.evaluate_parts(parts, &mut work).await?;
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

    /// Every EVENTS partition with what is read for it.
    async fn parts(&self, candidate: &Candidate) -> Result<Vec<workers::Part>, Status> {
        let since = async |stream, from| {
            let stretch = Stretch::since(&self.bus, stream, from).await;
            stretch.map_err(|error| out_of_reach(&error))
        };
        let skew = stamp::SKEW + stamp::AHEAD;
        // First where ESCALATIONS ends, then where EVENTS ends: so every escalation that is
        // compared rests on events that are read.
        let mut escalations = Vec::new();
        for partition in 0..self.topology.partitions {
            let stream = self.topology.escalations_stream(partition);
            escalations.push(since(stream, candidate.since.minus(skew)).await?);
        }
        let from = candidate
            .since
            .minus(longest_window(&candidate.set))
            .minus(skew)
            .minus(stamp::UNTRUSTED_MEMORY);
        let mut parts = Vec::new();
        for (partition, escalations) in (0..).zip(escalations) {
            let mut stretches = Vec::new();
            for lane in Lane::ALL.iter().copied() {
                stretches.push(since(self.topology.events_stream(lane, partition), from).await?);
            }
            stretches.push(escalations);
            let engine = candidate.engine(Part::Events)?;
            parts.push(workers::Part {
                partition,
                share: Share::new(engine, candidate.rules.clone()),
                stretches,
            });
        }
        Ok(parts)
    }

    /// Evaluates every partition, on as many threads as there is room for.
    async fn evaluate_parts(
        &self,
        parts: Vec<workers::Part>,
        work: &mut Work<'_>,
    ) -> Result<(), Status> {
        let threads = workers::count(parts.len());
        let mut of_thread: Vec<Vec<workers::Part>> = Vec::new();
        of_thread.resize_with(threads, Vec::new);
        for (number, part) in parts.into_iter().enumerate() {
            if let Some(own) = of_thread.get_mut(number % threads) {
                own.push(part);
            }
        }
        let (reports, mut taken) = mpsc::channel(workers::REPORTS_MAX);
        let mut feeding = Vec::new();
        for (number, parts) in of_thread.into_iter().enumerate() {
            let feed = workers::start(number, Arc::clone(&work.tenant), reports.clone());
            let feed = feed.map_err(|error| {
                tracing::error!(%error, "no thread for a what-if");
                Status::resource_exhausted("no thread for it; ask again later")
            })?;
            feeding.push(feed.feed(&self.bus, parts));
        }
        drop(reports);
        let feeding = async {
            let fed = try_join_all(feeding).await;
            fed.map(|_| ()).map_err(|error| out_of_reach(&error))
        };
        let taking = async {
            while let Some(report) = taken.recv().await {
                work.report(report).await?;
            }
            if work.open > 0 {
                tracing::error!(partitions = work.open, "a thread of a what-if ended early");
                return Err(Status::internal("a thread ended early; its log says why"));
            }
            Ok(())
        };
        tokio::try_join!(feeding, taking)?;
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

impl Candidate {
    fn engine(&self, part: Part) -> Result<Engine, Status> {
        let sets = [(0, Arc::clone(&self.set))];
        let engine = Engine::new(0, &sets, EngineConfig::new(1));
        let engine = engine.map_err(|e| invalid("files", &balefire_kit::process::chain(&e)))?;
        Ok(engine.of_part(part))
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
