//! What is read again for new rules, in small pieces between the inputs.

use std::collections::VecDeque;

use balefire_driver::ledger::least;
use balefire_rule_engine_core::Backfill;

use crate::fault::Fault;
use crate::log::Log;
use crate::owner::Session;
use crate::rng::Rng;
use crate::stage::Effects;

/// Inputs read again for new rules, lane after lane.
#[derive(Debug)]
pub(crate) struct Reading {
    wanted: Backfill,
    left: VecDeque<(usize, u64)>,
}

impl Session<'_> {
    pub(crate) fn note_whole(&mut self) {
        let now = self.stage.whole_below();
        self.whole_below = least(self.whole_below, now);
    }

    /// Begins the reading that the stage wants, where it is another one.
    pub(crate) fn follow(&mut self, log: &Log) {
        let wanted = self.stage.backfill();
        if self.reading.as_ref().map(|reading| reading.wanted) == wanted {
            return;
        }
        self.reading = wanted.map(|wanted| {
            let mut left = VecDeque::new();
            for lane in 0..self.sources.len() {
                let known = 1..=self.ledger.positions()[lane];
                let again = known.filter(|sequence| {
                    let batch = log.read(self.sources[lane], *sequence);
                    batch.is_some_and(|batch| batch.stored_at >= wanted.from.0)
                });
                left.extend(again.map(|sequence| (lane, sequence)));
            }
            if self.fault == Some(Fault::BackfillDropped) {
                left.clear();
            }
            Reading { wanted, left }
        });
        log.tell(|| format!("{:?} reads again: {:?}", self.place, self.reading));
    }

    /// Takes an input, or reads one again. False: there is none.
    pub(crate) fn read_any(&mut self, log: &Log, rng: &mut Rng, sets: usize) -> bool {
        if self.reading.is_some() && rng.chance(30) {
            self.read_again(log);
            return true;
        }
        if self.take_any(log, rng, sets) {
            return true;
        }
        let reads = self.reading.is_some();
        if reads {
            self.read_again(log);
        }
        reads
    }

    fn read_again(&mut self, log: &Log) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let mut effects = Effects::default();
        if let Some((lane, sequence)) = reading.left.pop_front() {
            let batch = log.read(self.sources[lane], sequence).expect("it was read");
            self.stage.warm(lane, &batch, &mut effects);
        } else {
            self.reading = None;
            self.stage.warm_end(&mut effects);
        }
        self.outputs.extend(effects.outputs);
    }
}
