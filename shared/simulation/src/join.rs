//! The correlator's half of [`Stage`]: records in, outputs by target.

use balefire_correlator_core as join;
use balefire_event::{Lane, Timestamp};

use crate::fault::Fault;
use crate::log::{Batch, Rec};
use crate::stage::{Core, Effects, Output, Stage, known_tenant};

impl Stage<'_> {
    pub(crate) fn join_record(
        &mut self,
        lane: usize,
        batch: &Batch,
        record: &Rec,
        again: bool,
        wanted: &mut Vec<join::Effect>,
    ) {
        let mut hint_of = None;
        if let Rec::Hint(hint) = record {
            hint_of = Some(self.hint(hint, batch));
        }
        let Core::Join(core) = &mut self.core else {
            return;
        };
        let record = match (record, &hint_of) {
            (_, Some(Some(hint))) => join::Record::Hint(hint),
            (Rec::Event(event), _) => join::Record::Event(event),
            (Rec::Stub(stub), _) if self.fault != Some(Fault::StubDropped) => {
                join::Record::Stub(stub)
            }
            (Rec::Tick(at), _) => join::Record::Tick(*at),
            (Rec::Barrier { id, at }, _) => join::Record::Barrier(*id, *at),
            _ => return,
        };
        if again {
            core.repair_record(Lane::ALL[lane], batch.tenant, record);
        } else {
            core.apply(Lane::ALL[lane], batch.tenant, record, wanted);
        }
    }

    /// The hint as the fault leaves it; `None`: not at all.
    fn hint(
        &mut self,
        hint: &balefire_event::Hint<'static>,
        batch: &Batch,
    ) -> Option<balefire_event::Hint<'static>> {
        let mut hint = hint.clone();
        match self.fault {
            Some(Fault::JoinByArrival) => hint.received_at = Timestamp(batch.stored_at),
            Some(Fault::FirstIdentityWins) => {
                let user = hint.identity.subject_ref;
                let named = &mut self.named;
                hint.keys.retain(|key| {
                    let place = (batch.tenant.to_owned(), key.clone());
                    *named.entry(place).or_insert(user) == user
                });
                if hint.keys.is_empty() {
                    return None;
                }
            }
            _ => {}
        }
        Some(hint)
    }

    pub(crate) fn act(&mut self, wanted: Vec<join::Effect>, effects: &mut Effects) {
        let partitions = self.world.partitions;
        let events = |lane: Lane, to: u32| to as usize * 3 + lane.index();
        for effect in wanted {
            match effect {
                join::Effect::Emit {
                    tenant,
                    lane,
                    partition,
                    event,
                } => {
                    effects.outputs.push(Output {
                        target: events(lane, partition),
                        tenant: known_tenant(&tenant),
                        received_at: Some(event.received_at),
                        revision: event.control_revision,
                        lateness: event.lateness,
                        record: Rec::Event(event),
                    });
                }
                join::Effect::Forward {
                    tenant,
                    partition,
                    hint,
                } => {
                    if self.fault == Some(Fault::ForwardDropped) {
                        continue;
                    }
                    effects.outputs.push(Output {
                        target: (partitions * 3 + partition) as usize,
                        tenant: known_tenant(&tenant),
                        received_at: Some(hint.received_at),
                        revision: 0,
                        lateness: 0,
                        record: Rec::Hint(hint),
                    });
                }
                join::Effect::BarrierOut { id, at } => {
                    for to in 0..partitions {
                        for &lane in Lane::ALL {
                            let record = Rec::Barrier { id, at };
                            let target = events(lane, to);
                            effects.outputs.push(nobodys(target, record, Some(at)));
                        }
                    }
                }
                join::Effect::Watermark { at } => {
                    let record = Rec::Watermark {
                        partition: self.place.partition,
                        at,
                    };
                    for to in 0..partitions {
                        for &lane in Lane::ALL {
                            let target = events(lane, to);
                            effects.outputs.push(nobodys(target, record.clone(), None));
                        }
                    }
                }
                join::Effect::Repair { .. } => {}
            }
        }
        if let Core::Join(core) = &self.core
            && let Some(from) = core.repair_wanted()
        {
            self.repairs += 1;
            effects.repair_from = Some(from);
        }
    }
}

fn nobodys(target: usize, record: Rec, received_at: Option<Timestamp>) -> Output {
    Output {
        target,
        tenant: "",
        record,
        received_at,
        revision: 0,
        lateness: 0,
    }
}
