//! One load test under way: the scenarios, then the pairs with the bare broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use balefire_loadtest_core::plan::{Plan, Scenario};
use balefire_loadtest_core::report::{Pair, Report, Run};
use balefire_loadtest_core::search::Search;
use balefire_loadtest_core::statistics::Summary;
use balefire_loadtest_core::verdict::Slo;
use tokio_util::sync::CancellationToken;

use crate::baseline::Baseline;
use crate::day::Day;
use crate::error::Error;
use crate::hop::{self, Broker};
use crate::options::{RunArgs, read_plan};
use crate::product::Product;
use crate::receiver::Receiver;
use crate::run::{self, Outcome};
use crate::{figures, print};

/// Seconds of each step of the search for the highest rate.
const STEP_SECONDS: u32 = 10;
/// Seeds of pairs and of steps lie apart from those of scenarios.
const PAIR_SEEDS: u64 = 1_000;
const STEP_SEEDS: u64 = 2_000;

/// One load test under way.
pub(crate) struct Suite<'a> {
    pub(crate) args: &'a RunArgs,
    pub(crate) product: Product,
    pub(crate) receiver: Receiver,
    /// What the product calls; a fault may stand between it and the receiver.
    pub(crate) webhook: String,
    pub(crate) stop: CancellationToken,
    pub(crate) report: Report,
    pub(crate) slo: Option<Slo>,
    pub(crate) stem: PathBuf,
}

impl Suite<'_> {
    /// Runs all, or what there is time for until it is stopped.
    ///
    /// # Errors
    /// Something is not there, or does not answer.
    pub(crate) async fn all(&mut self) -> Result<(), Error> {
        for path in &self.args.plan {
            let now_ns = balefire_kit::clock::now().0;
            let plan = read_plan(path)?.rebased(now_ns);
            self.scenario(plan).await?;
        }
        for (number, day) in (0u64..).zip(&self.args.scenarios) {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            match day {
                Day::Max { from } => self.highest(*from).await?,
                Day::Of { scenario, rate } => {
                    let seconds = self.args.load.seconds;
                    let plan = self.plan(*scenario, *rate, seconds, number);
                    self.scenario(plan).await?;
                }
            }
        }
        self.pairs().await
    }

    fn plan(&self, scenario: Scenario, rate: Option<u32>, seconds: u32, seed: u64) -> Plan {
        let load = &self.args.load;
        let mut shape = load.shape(scenario, rate, balefire_kit::clock::now().0);
        shape.seconds = seconds;
        shape.seed = load.seed.wrapping_add(seed);
        shape.plan()
    }

    async fn scenario(&mut self, plan: Plan) -> Result<(), Error> {
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let outcome = self.one(plan).await?;
        let run = figures::of(&outcome, self.slo.as_ref());
        let name = format!("{}-{}.hlog", self.stem.display(), self.report.runs.len());
        figures::write_hlog(&outcome, Path::new(&name))?;
        print::run(&run);
        self.report.runs.push(run);
        Ok(())
    }

    async fn one(&mut self, plan: Plan) -> Result<Outcome, Error> {
        let shape = &plan.shape;
        let bar = print::bar(&format!("{:?}", shape.scenario), shape.seconds);
        let (stop, fault) = (self.stop.clone(), self.args.fault);
        let outcome = if shape.scenario == Scenario::Failover {
            let mut apart = self.apart().await?;
            let outcome = run::against(&mut apart, &self.receiver, plan, fault, stop).await;
            apart.stop().await;
            outcome
        } else {
            run::against(&mut self.product, &self.receiver, plan, fault, stop).await
        };
        bar.abort();
        outcome
    }

    /// The four services as processes of their own, so that one can be killed.
    async fn apart(&self) -> Result<Product, Error> {
        let Some(binary) = &self.args.binary else {
            return Err(Error::NeedsBinary);
        };
        let nats = (self.args.nats_server.as_path(), self.args.sync());
        Product::apart(binary, nats, &self.webhook).await
    }

    /// Looks for the highest rate at which every identity and every target of time holds.
    async fn highest(&mut self, from: Option<u32>) -> Result<(), Error> {
        let Some(slo) = self.slo.clone() else {
            return Err(Error::NeedsTargets);
        };
        let mut search = Search::new(from.unwrap_or(self.args.load.rate));
        let mut last: Option<Run> = None;
        while let Some(rate) = search.next() {
            if self.stop.is_cancelled() {
                break;
            }
            let seed = STEP_SEEDS + u64::from(rate);
            let plan = self.plan(Scenario::Steady, Some(rate), STEP_SECONDS, seed);
            let outcome = self.one(plan).await?;
            let mut run = figures::of(&outcome, Some(&slo));
            if run.stopped {
                break;
            }
            let failed: Vec<_> = run.checks.iter().filter(|check| !check.passed).collect();
            let detail = failed.first().map_or_else(
                || format!("achieved {:.0} events/s", run.achieved),
                |check| format!("{}: {}", check.name, check.detail),
            );
            let held = failed.is_empty();
            print::note(&format!("{rate} events/s: {detail}"));
            search.tried(rate, held, detail);
            if held {
                run.title = format!("highest so far: {}", run.title);
                last = Some(run);
            }
        }
        self.report.runs.extend(last);
        self.report.search = search.steps;
        Ok(())
    }

    /// The same load by turns through the product and through the bare broker.
    async fn pairs(&mut self) -> Result<(), Error> {
        if self.args.pairs == 0 || self.stop.is_cancelled() {
            return Ok(());
        }
        let program = self.args.nats_server.clone();
        let sync = self.args.sync();
        let broker = blocking(move || Broker::start(&program, sync)).await?;
        let broker = Arc::new(broker);
        for number in 0..self.args.pairs {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let seed = PAIR_SEEDS + u64::try_from(number).unwrap_or_default();
            let seconds = self.args.pair_seconds;
            let plan = self.plan(Scenario::Steady, None, seconds, seed);
            let outcome = self.one(plan).await?;
            let messages = hop::messages(&outcome);
            let bare = Arc::clone(&broker);
            let reading = blocking(move || bare.measure(number, &messages)).await?;
            self.report.runs.push(figures::of(&outcome, None));
            self.report.pairs.extend(pair(&outcome, &reading));
        }
        if let Some(path) = &self.args.baseline {
            self.report.regression = Some(Baseline::read(path)?.hold(&self.report));
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::Broker {
            what: error.to_string(),
        })
    })
}

fn pair(outcome: &Outcome, reading: &hop::Reading) -> Option<Pair> {
    let product = Summary::of_values(figures::whole(outcome))?;
    let bare = Summary::of_values(reading.consumed_ns.iter().copied())?;
    let log = Summary::of_values(figures::into_log(outcome));
    Some(Pair {
        escalations: product.count,
        messages: reading.messages,
        streams: reading.streams,
        product_p50_ms: product.p50_ms,
        product_p99_ms: product.p99_ms,
        log_p50_ms: log.as_ref().map_or(0.0, |log| log.p50_ms),
        log_p99_ms: log.as_ref().map_or(0.0, |log| log.p99_ms),
        hop_p50_ms: bare.p50_ms,
        hop_p99_ms: bare.p99_ms,
        load: outcome.load,
    })
}
