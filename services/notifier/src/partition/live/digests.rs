//! The weekly digests: the owner of the first partition reads each week once it has settled, and
//! writes an intent for each tenant and receiver. When they lie in the log that week is done; a
//! crash before that reads it again, and what is there is not told again.

use std::sync::Arc;

use balefire_bus::Error as BusError;
use balefire_event::{EscalationId, Lane};
use balefire_kit::clock;
use balefire_notifier_core::FeedPosition;
use balefire_notifier_core::digest::{Due, Tally};
use balefire_notifier_core::route::Receiver;
use tokio_util::task::AbortOnDropHandle;

use super::Live;
use crate::digest::scan;

/// The partition whose owner tells digests.
const TELLER: u32 = 0;
/// Digests have a place among the positions of feeds, under the receiver's name and this.
const PLACE: &str = "#weekly";

/// What is being done.
#[derive(Default)]
pub(super) enum Digests {
    #[default]
    Nothing,
    /// A week is being read, for these receivers.
    Reading {
        week: u64,
        receivers: Vec<Receiver>,
        scan: AbortOnDropHandle<Result<Tally, BusError>>,
    },
    /// It is decided; these are to lie in the log.
    Writing {
        week: u64,
        receivers: Vec<Receiver>,
        ids: Vec<EscalationId>,
    },
}

fn place(receiver: &str) -> Arc<str> {
    format!("{receiver}{PLACE}").into()
}

impl Live<'_> {
    /// Goes on with the digests as far as it can without waiting.
    pub(super) async fn digest(&mut self) {
        if self.parts.writer.partition != TELLER {
            return;
        }
        self.digests = match std::mem::take(&mut self.digests) {
            Digests::Nothing => self.look(),
            Digests::Reading {
                week,
                receivers,
                scan,
            } if scan.is_finished() => match scan.await {
                Ok(Ok(tally)) => self.tell(week, receivers, &tally),
                Ok(Err(error)) => {
                    tracing::warn!(week, %error, "the week of a digest is read again");
                    Digests::Nothing
                }
                Err(error) => {
                    tracing::error!(week, %error, "the week of a digest is read again");
                    Digests::Nothing
                }
            },
            Digests::Writing {
                week,
                receivers,
                ids,
            } if self.parts.view.state().are_logged(&ids) => {
                for receiver in &receivers {
                    self.told_up_to(receiver, week);
                }
                Digests::Nothing
            }
            other @ (Digests::Reading { .. } | Digests::Writing { .. }) => other,
        };
    }

    /// Begins with the oldest week that is due.
    fn look(&mut self) -> Digests {
        let plan = self.parts.desk.plan();
        let calendar = self.parts.calendar;
        let mut oldest: Option<(u64, Vec<Receiver>)> = None;
        for receiver in plan.receivers.iter().filter(|one| one.weekly_digest) {
            let had = self
                .parts
                .view
                .state()
                .fed(&place(&receiver.name), Lane::Bulk);
            match calendar.due(had, clock::now()) {
                None => {}
                Some(Due::Begin(week)) => self.told_up_to(receiver, week),
                Some(Due::Tell(week)) => match &mut oldest {
                    Some((known, receivers)) if *known == week => receivers.push(receiver.clone()),
                    Some((known, _)) if *known < week => {}
                    Some(_) | None => oldest = Some((week, vec![receiver.clone()])),
                },
            }
        }
        let Some((week, receivers)) = oldest else {
            return Digests::Nothing;
        };
        let (bus, topology) = (self.parts.bus.clone(), self.parts.topology);
        let span = calendar.span(week);
        let scan = tokio::spawn(async move { scan(&bus, &topology, span).await });
        Digests::Reading {
            week,
            receivers,
            scan: AbortOnDropHandle::new(scan),
        }
    }

    fn tell(&mut self, week: u64, receivers: Vec<Receiver>, tally: &Tally) -> Digests {
        let plan = self.parts.desk.plan();
        let mut ids = Vec::new();
        for receiver in &receivers {
            let (effects, told) = self.parts.view.state().digested(
                clock::now(),
                &plan,
                &receiver.name,
                tally.digests(receiver),
            );
            ids.extend(told);
            self.record(effects, &[]);
        }
        Digests::Writing {
            week,
            receivers,
            ids,
        }
    }

    fn told_up_to(&mut self, receiver: &Receiver, week: u64) {
        self.journal.fed(FeedPosition {
            receiver: place(&receiver.name),
            lane: Lane::Bulk,
            sequence: week,
            at: clock::now(),
        });
        self.journal.flush();
    }
}
