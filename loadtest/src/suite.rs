//! One load test under way: the scenarios, then the pairs with the bare broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use balefire_loadtest_core::plan::Scenario;
use balefire_loadtest_core::report::{Pair, Report};
use balefire_loadtest_core::statistics::Summary;
use balefire_loadtest_core::verdict::{Check, Slo};
use tokio_util::sync::CancellationToken;

use crate::command::{RunArgs, report_of};
use crate::error::Error;
use crate::hop::{self, Broker};
use crate::product::Product;
use crate::receiver::Receiver;
use crate::run::{self, Outcome};
use crate::{figures, print};

/// Seconds of each of a pair's two halves.
const PAIR_SECONDS: u32 = 5;
/// A ratio may grow by so much.
const REGRESSION_MAX: f64 = 1.3;

/// One load test under way.
pub(crate) struct Suite<'a> {
    pub(crate) args: &'a RunArgs,
    pub(crate) product: Product,
    pub(crate) receiver: Receiver,
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
        for (number, scenario) in (0u64..).zip(&self.args.scenarios) {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let outcome = self.one(*scenario, self.args.load.seconds, number).await?;
            let run = figures::of(&outcome, self.slo.as_ref());
            let name = format!("{}-{number}.hlog", self.stem.display());
            figures::write_hlog(&outcome, Path::new(&name))?;
            print::run(&run);
            self.report.runs.push(run);
        }
        self.pairs().await
    }

    async fn one(&self, scenario: Scenario, seconds: u32, number: u64) -> Result<Outcome, Error> {
        let load = &self.args.load;
        let seed = load.seed.wrapping_add(number);
        let shape = load.shape(scenario, seconds, seed, balefire_kit::clock::now().0);
        let bar = print::bar(&format!("{scenario:?}"), seconds);
        let stop = self.stop.clone();
        let outcome = run::against(&self.product, &self.receiver, shape.plan(), stop).await;
        bar.abort();
        outcome
    }

    /// The same load by turns through the product and through the bare broker.
    async fn pairs(&mut self) -> Result<(), Error> {
        if self.args.pairs == 0 || self.stop.is_cancelled() {
            return Ok(());
        }
        let program = self.args.nats_server.clone();
        let broker = blocking(move || Broker::start(&program)).await?;
        let broker = Arc::new(broker);
        for number in 0..self.args.pairs {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let seed = 1_000 + u64::try_from(number).unwrap_or_default();
            let outcome = self.one(Scenario::Steady, PAIR_SECONDS, seed).await?;
            let messages = hop::messages(&outcome);
            let bare = Arc::clone(&broker);
            let reading = blocking(move || bare.measure(number, &messages)).await?;
            self.report.runs.push(figures::of(&outcome, None));
            self.report.pairs.extend(pair(&outcome, &reading));
        }
        self.report.regression = self.regression()?;
        Ok(())
    }

    fn regression(&self) -> Result<Option<Check>, Error> {
        let Some(path) = &self.args.baseline else {
            return Ok(None);
        };
        let before = report_of(path)?.ratios();
        let now = self.report.ratios();
        let (Some((before, _)), Some((now, _))) = (before, now) else {
            return Err(Error::Malformed {
                path: path.clone(),
                reason: "it has no pairs, or this run has none".to_owned(),
            });
        };
        Ok(Some(Check {
            name: "the p50 ratio to the bare broker grew by at most 30 %".to_owned(),
            passed: now <= before * REGRESSION_MAX,
            detail: format!("{now:.2} × now, {before:.2} × before"),
        }))
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
    Some(Pair {
        escalations: product.count,
        messages: reading.messages,
        streams: reading.streams,
        product_p50_ms: product.p50_ms,
        product_p99_ms: product.p99_ms,
        hop_p50_ms: bare.p50_ms,
        hop_p99_ms: bare.p99_ms,
        load: outcome.load,
    })
}
