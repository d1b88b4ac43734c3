//! Opening a [`Session`]: checkpoint, claim, the recorded lists, redo, what targets lack, past
//! outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use balefire_driver::ledger::{Ledger, Misfit, Redo, RunList, least};
use balefire_rule_engine_core::Recorded;

use crate::fault::Fault;
use crate::lacking::{content, left_out};
use crate::log::{Batch, Log, Step, StreamId};
use crate::owner::{Checkpoint, Cut, Session};
use crate::place::{ESCALATIONS, Place};
use crate::stage::{Effects, Output, Stage};
use crate::world::World;

/// How far the messages of a target's subject reach.
#[derive(Debug, Clone, Default)]
struct Reached {
    step: u64,
    /// Its parts that are there.
    parts: Vec<Rc<Batch>>,
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
    whole_below: BTreeMap<u64, u64>,
    /// What ESCALATIONS has of each step.
    told: BTreeMap<u64, Vec<Rc<Batch>>>,
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
            reading: None,
            whole_below: None,
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
        if let Some(checkpoint) = checkpoint
            && fault != Some(Fault::LateNotShown)
        {
            session.show_late(log, checkpoint);
        }
        session.redo(log, redo, &published)?;
        if fault == Some(Fault::RedoWithoutLists) {
            session.show(log, behind, i64::MIN);
        }
        session.note_whole();
        Ok(session)
    }

    /// An empty message on every target: every earlier owner is fenced from then on.
    fn claim(&mut self, log: &mut Log) {
        for target in &self.targets {
            let cut = Cut {
                number: 0,
                list: &RunList::default(),
                whole_below: None,
            };
            let mut batch = self.message(&cut, 0, true, &[]);
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
        self.stage.redo_begin();
        let (mut derived, any) = (Vec::new(), !redo.steps.is_empty());
        for (step, list) in redo.steps {
            self.stage.redo_step(Recorded {
                whole_below: published.whole_below.get(&step).copied(),
                partial: step == last,
            });
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
            for batch in published.told.get(&step).into_iter().flatten() {
                self.stage.load(batch);
            }
            self.stage.redo_step_end();
            derived = std::mem::take(&mut self.outputs);
            self.ledger.cut();
            self.ledger.acknowledged();
        }
        if !checked {
            self.ledger = Ledger::new(positions, last, RunList::default());
        }
        self.active = RunList::default();
        let mut effects = Effects::default();
        self.stage.redo_end(&mut effects);
        let owed = effects.outputs;
        if any && self.fault != Some(Fault::StepLeftIncomplete) {
            self.complete(log, last, derived, owed, published);
        } else {
            self.outputs.extend(owed);
        }
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

    /// Sends what the targets lack of the last step, by what is in it, and with it what was never
    /// told. Of targets that have all of it that goes into the next step.
    fn complete(
        &mut self,
        log: &mut Log,
        number: u64,
        mut outputs: Vec<Output>,
        owed: Vec<Output>,
        published: &Published,
    ) {
        let whole = |output: &Output| {
            let reached = published.reached.get(output.target);
            reached.filter(|reached| reached.step == number && reached.complete)
        };
        let told = |output: &Output| {
            whole(output).is_some_and(|one| left_out(vec![output], &one.parts).is_empty())
        };
        let owed: Vec<Output> = owed.into_iter().filter(|output| !told(output)).collect();
        // What several targets are given alike goes into one step for all of them.
        let late = owed.iter().filter(|output| whole(output).is_some());
        let late: BTreeSet<String> = if self.fault == Some(Fault::BarrierInTwoSteps) {
            BTreeSet::new()
        } else {
            late.map(content).collect()
        };
        for output in owed {
            if whole(&output).is_none() && !late.contains(&content(&output)) {
                outputs.push(output);
            } else {
                self.outputs.push(output);
            }
        }
        let list = published.lists.get(&number).cloned().unwrap_or_default();
        let said = published.whole_below.get(&number).copied();
        let cut = Cut {
            number,
            list: &list,
            whole_below: if self.fault == Some(Fault::DoubtUnsaid) {
                said
            } else {
                least(said, self.stage.whole_below())
            },
        };
        // Who formed it may have found what this owner, for which rules warm up, cannot.
        let doubts = cut.whole_below != said;
        for (target, reached) in published.reached.iter().enumerate() {
            let parts = if reached.step == number {
                reached.parts.as_slice()
            } else {
                &[]
            };
            if reached.step == number && reached.complete {
                continue;
            }
            let mine = outputs.iter().filter(|output| output.target == target);
            let mut lacking = if self.fault == Some(Fault::CompletedByCount) {
                let mut derived = self.parts_of(&cut, mine.collect(), 0);
                derived.drain(..parts.len().min(derived.len()));
                derived
            } else {
                self.parts_of(&cut, left_out(mine.collect(), parts), parts.len())
            };
            if lacking.is_empty() && (doubts || !parts.is_empty()) {
                lacking = [self.message(&cut, parts.len(), true, &[])].into();
            }
            for batch in lacking {
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
        whole_below: BTreeMap::new(),
        told: BTreeMap::new(),
        reached: Vec::new(),
        last_step: 0,
    };
    for target in targets {
        let mut reached = Reached::default();
        let mine = log.of_subject(*target, writer);
        for (sequence, batch, step) in mine.filter(|(_, _, step)| !step.claim) {
            note(&mut found, &mut reached, (batch, step), after)
                .map_err(|said| Refused::Regression(format!("{said} at {sequence}")))?;
            if found.reached.len() == ESCALATIONS && !writer.joins() {
                let told = found.told.entry(step.number).or_default();
                told.push(Rc::clone(batch));
            }
        }
        found.last_step = found.last_step.max(reached.step);
        found.reached.push(reached);
    }
    Ok(found)
}

fn note(
    found: &mut Published,
    reached: &mut Reached,
    (batch, step): (&Rc<Batch>, &Step),
    after: u64,
) -> Result<(), String> {
    if step.number > reached.step {
        reached.parts.clear();
    }
    if step.number < reached.step || step.part != reached.parts.len() {
        return Err(format!("parts of step {} out of order", step.number));
    }
    if let Some(below) = step.whole_below {
        let said = found.whole_below.entry(step.number).or_insert(below);
        *said = below.min(*said);
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
    reached.step = step.number;
    reached.parts.push(Rc::clone(batch));
    reached.complete = step.last_part;
    Ok(())
}
