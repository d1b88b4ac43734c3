//! Opening a [`Session`]: checkpoint, claim, the recorded lists, redo, what targets lack, past
//! outputs.

use std::collections::BTreeMap;

use balefire_driver::ledger::{Ledger, Misfit, Redo, RunList};

use crate::fault::Fault;
use crate::log::{Log, Step, StreamId};
use crate::owner::{Checkpoint, Session};
use crate::place::Place;
use crate::stage::Stage;
use crate::world::World;

/// How far the messages of a target's subject reach.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    step: u64,
    parts: usize,
    complete: bool,
}

/// Why a session did not open.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The checkpoint is of no use: set it aside.
    Doubt,
    /// The recorded steps need newer rules.
    NewRules,
    /// The log contradicts itself.
    Regression(String),
}

struct Published {
    lists: BTreeMap<u64, RunList>,
    reached: Vec<Reached>,
    last_step: u64,
}

impl<'w> Session<'w> {
    /// Claims the partition and comes to where the next input is a new one.
    pub(crate) fn open(
        world: &'w World,
        place: Place,
        sets: usize,
        fault: Option<Fault>,
        log: &mut Log,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Self, Refused> {
        let mut stage = Stage::new(world, place, sets, fault);
        if let Some(checkpoint) = checkpoint
            && !stage.restore(&checkpoint.state)
        {
            return Err(Refused::Doubt);
        }
        let after = checkpoint.map_or(0, |checkpoint| checkpoint.step);
        let (sources, targets) = (place.sources(), place.targets(world.partitions));
        let beginning = vec![0; sources.len()];
        let mut session = Session {
            world,
            fault,
            place,
            stage,
            ledger: Ledger::new(beginning.clone(), 0, RunList::default()),
            sources,
            fences: Vec::new(),
            targets,
            outputs: Vec::new(),
            in_flight: None,
            repair: None,
            active: RunList::default(),
            consumed: 0,
            saved: 0,
        };
        session.claim(log);
        let published = published(log, &session.targets, place, after)?;
        let (positions, tail) = match checkpoint {
            Some(checkpoint) => (checkpoint.positions.clone(), checkpoint.tail.clone()),
            None => (beginning, RunList::default()),
        };
        let unlisted = matches!(
            fault,
            Some(Fault::IdleBatchesUnlisted | Fault::RedoWithoutLists)
        );
        let redo = if unlisted {
            blind(after, &published.lists)
        } else {
            match checkpoint {
                Some(_) => {
                    let ledger = Ledger::new(positions.clone(), after, tail.clone());
                    Redo::from_checkpoint(&ledger, &published.lists).map_err(refused)?
                }
                None => Redo::from_log(&positions, published.last_step, &published.lists)
                    .map_err(|misfit| Refused::Regression(misfit.to_string()))?,
            }
        };
        if redo.last() < published.last_step {
            return Err(Refused::Regression(format!(
                "steps end at {}, {} was seen",
                redo.last(),
                published.last_step
            )));
        }
        session.ledger = Ledger::new(positions, redo.base, tail);
        let behind = redo.base + 1..redo.last() + 1;
        session.redo(log, redo, &published)?;
        session.show(log, behind, i64::MIN);
        Ok(session)
    }

    /// An empty message on every target: every earlier owner is fenced from then on.
    fn claim(&mut self, log: &mut Log) {
        for target in &self.targets {
            let mut batch = self.message(0, &RunList::default(), 0, true, &[]);
            if let Some(step) = &mut batch.step {
                step.claim = true;
            }
            let expected = log.last_of(*target, self.place);
            let claimed = log.publish(*target, self.place, expected, batch);
            self.fences.push(claimed.expect("nobody writes in between"));
        }
    }

    fn redo(&mut self, log: &mut Log, redo: Redo, published: &Published) -> Result<(), Refused> {
        let last = redo.last();
        if self.fault == Some(Fault::RedoWithoutLists) {
            return self.skip(log, &redo, last);
        }
        let checked = self.fault != Some(Fault::IdleBatchesUnlisted);
        let mut positions = self.ledger.positions().to_vec();
        for (step, list) in redo.steps {
            for (lane, sequence) in list.iter() {
                if !checked && sequence <= positions[lane] {
                    continue;
                }
                let batch = log
                    .read(self.sources[lane], sequence)
                    .ok_or_else(|| Refused::Regression(format!("lane {lane} lacks {sequence}")))?;
                if !self.stage.ready(batch.revision_max) {
                    return Err(Refused::NewRules);
                }
                if checked {
                    self.ledger
                        .consume(lane, sequence)
                        .expect("checked by the redo");
                }
                positions[lane] = sequence;
                if let Some(from) = self.take(lane, sequence, &batch, log.now)
                    && self.fault != Some(Fault::RedoWithoutRepairs)
                {
                    if !checked {
                        self.ledger = Ledger::new(positions.clone(), step - 1, RunList::default());
                    }
                    self.mend(log, from);
                }
            }
            let outputs = std::mem::take(&mut self.outputs);
            if step == last && self.fault != Some(Fault::StepLeftIncomplete) {
                let list = published.lists.get(&step).cloned().unwrap_or_default();
                let parts = self.parts(step, &list, &outputs);
                self.complete(log, step, &list, parts, &published.reached);
            }
            self.ledger.cut();
            self.ledger.acknowledged();
        }
        if !checked {
            self.ledger = Ledger::new(positions, last, RunList::default());
        }
        self.active = RunList::default();
        Ok(())
    }

    /// Of a deliberate fault: everything that was listed goes by, lane after lane.
    fn skip(&mut self, log: &Log, redo: &Redo, last: u64) -> Result<(), Refused> {
        let highest = redo.highest(self.sources.len());
        let mut positions = self.ledger.positions().to_vec();
        for lane in 0..self.sources.len() {
            for sequence in positions[lane] + 1..=highest[lane] {
                let batch = log.read(self.sources[lane], sequence).expect("it was read");
                if !self.stage.ready(batch.revision_max) {
                    return Err(Refused::NewRules);
                }
                positions[lane] = sequence;
                self.ledger = Ledger::new(positions.clone(), last, RunList::default());
                if let Some(from) = self.take(lane, sequence, &batch, log.now) {
                    self.mend(log, from);
                }
            }
        }
        self.outputs.clear();
        self.ledger = Ledger::new(positions, last, RunList::default());
        Ok(())
    }

    /// Sends what the targets lack of the last step.
    fn complete(
        &mut self,
        log: &mut Log,
        number: u64,
        list: &RunList,
        parts: crate::owner::Parts,
        reached: &[Reached],
    ) {
        for (target, (mut derived, reached)) in parts.into_iter().zip(reached).enumerate() {
            if reached.step == number {
                if reached.complete {
                    continue;
                }
                if derived.len() <= reached.parts {
                    derived = [self.message(number, list, reached.parts, true, &[])].into();
                } else {
                    derived.drain(..reached.parts);
                }
            }
            for batch in derived {
                let expected = self.fences[target];
                let sent = log.publish(self.targets[target], self.place, expected, batch);
                self.fences[target] = sent.expect("nobody writes in between");
            }
        }
    }
}

fn refused(misfit: Misfit) -> Refused {
    match misfit {
        Misfit::Tail { .. } | Misfit::Missing { .. } | Misfit::Order { .. } => Refused::Doubt,
    }
}

/// The lists as they are, unchecked: of deliberate faults.
fn blind(after: u64, lists: &BTreeMap<u64, RunList>) -> Redo {
    Redo {
        base: after,
        steps: lists
            .range(after + 1..)
            .map(|(step, list)| (*step, list.clone()))
            .collect(),
    }
}

fn published(
    log: &Log,
    targets: &[StreamId],
    writer: Place,
    after: u64,
) -> Result<Published, Refused> {
    let mut found = Published {
        lists: BTreeMap::new(),
        reached: Vec::new(),
        last_step: 0,
    };
    for target in targets {
        let mut reached = Reached::default();
        let mine = log.of_subject(*target, writer);
        for (sequence, _, step) in mine.filter(|(_, _, step)| !step.claim) {
            note(&mut found, &mut reached, step, after)
                .map_err(|said| Refused::Regression(format!("{said} at {sequence}")))?;
        }
        found.last_step = found.last_step.max(reached.step);
        found.reached.push(reached);
    }
    Ok(found)
}

fn note(
    found: &mut Published,
    reached: &mut Reached,
    step: &Step,
    after: u64,
) -> Result<(), String> {
    let parts = if step.number == reached.step {
        reached.parts
    } else {
        0
    };
    if step.number < reached.step || step.part != parts {
        return Err(format!("parts of step {} out of order", step.number));
    }
    if step.number > after {
        let list = found
            .lists
            .entry(step.number)
            .or_insert_with(|| step.list.clone());
        if *list != step.list {
            return Err(format!("another list of step {}", step.number));
        }
    }
    *reached = Reached {
        step: step.number,
        parts: parts + 1,
        complete: step.last_part,
    };
    Ok(())
}
