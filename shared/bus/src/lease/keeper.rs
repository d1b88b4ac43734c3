//! The keeper: looks, decides, writes, in a circle.

use std::collections::BTreeMap;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::plan::{Act, Known, decide};
use super::spread::spread;
use super::table::{Seen, Table};
use super::{
    HAND_OVER_MAX, InstanceId, LOOK_INTERVAL, Leases, OWNER_FIRST, REFRESH_INTERVAL, Seat,
};
use crate::error::Error;

pub(crate) struct Keeper {
    table: Table,
    me: InstanceId,
    leases: Leases,
    shutdown: CancellationToken,
    last_owners: BTreeMap<u32, InstanceId>,
    /// When a lease, or that we live, was last written.
    refreshed: BTreeMap<u32, Instant>,
    announced: Option<Instant>,
    /// The last look or write that failed.
    failed: Option<Instant>,
}

impl Keeper {
    pub(crate) const fn new(
        table: Table,
        me: InstanceId,
        leases: Leases,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            table,
            me,
            leases,
            shutdown,
            last_owners: BTreeMap::new(),
            refreshed: BTreeMap::new(),
            announced: None,
            failed: None,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut timer = interval(LOOK_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.shutdown.is_cancelled() {
            tokio::select! {
                _ = timer.tick() => self.round(false).await,
                () = self.shutdown.cancelled() => {}
            }
        }
        let until = Instant::now() + HAND_OVER_MAX;
        while self.holds_any() && Instant::now() < until {
            self.round(true).await;
            // What is still running ends by itself; look again soon.
            tokio::time::sleep(LOOK_INTERVAL / 5).await;
        }
    }

    fn holds_any(&self) -> bool {
        let mut seats = self.leases.seats.iter();
        seats.any(|seat| seat.borrow().grant.is_some())
    }

    async fn round(&mut self, leaving: bool) {
        if let Err(error) = self.try_round(leaving).await {
            let stage = &self.table.stage;
            if self.failed.is_none_or(|at| at.elapsed() > OWNER_FIRST) {
                tracing::warn!(stage, %error, "leases are out of reach");
            }
            self.failed = Some(Instant::now());
        }
    }

    async fn try_round(&mut self, leaving: bool) -> Result<(), Error> {
        if leaving || is_due(self.announced) {
            self.table.announce(self.me, leaving).await?;
            self.announced = Some(Instant::now());
        }
        let seen = self.table.look().await?;
        let mut live = seen.live.clone();
        if leaving {
            live.remove(&self.me);
        } else {
            live.insert(self.me);
        }
        let count = u32::try_from(self.leases.seats.len()).unwrap_or(u32::MAX);
        let preferred = spread(&self.table.stage, count, &live);
        for partition in 0..count {
            let preferred = preferred.get(&partition).copied();
            self.partition(partition, &seen, preferred, leaving).await?;
        }
        Ok(())
    }

    async fn partition(
        &mut self,
        partition: u32,
        seen: &Seen,
        preferred: Option<InstanceId>,
        leaving: bool,
    ) -> Result<(), Error> {
        let Some(now) = self
            .leases
            .seat(partition)
            .map(|seat| seat.borrow().clone())
        else {
            return Ok(());
        };
        let lease = seen.leases.get(&partition).map(|l| (l.owner, l.sequence));
        let held = now.grant.is_some();
        let act = decide(Known {
            me: self.me,
            held,
            lease,
            preferred,
            last_owner: self.last_owners.get(&partition).copied(),
            disturbed: self.failed.is_some_and(|at| at.elapsed() < OWNER_FIRST),
        });
        if let Some((owner, _)) = lease {
            self.last_owners.insert(partition, owner);
        }
        match act {
            Act::Leave => {
                self.seat(partition, |seat| {
                    seat.holder = lease.map(|(owner, _)| owner)
                });
                Ok(())
            }
            Act::Yield => {
                let owner = lease.map(|(owner, _)| owner);
                let stage = &self.table.stage;
                tracing::warn!(stage, partition, ?owner, "another has the partition");
                self.end(partition, owner);
                Ok(())
            }
            Act::HandOver(to) => self.hand_over(partition, &now, lease, to).await,
            // Nobody is there to take it: where it has ended, the lease runs out.
            Act::Write(_) if leaving && (!held || !now.running) => {
                self.end(partition, None);
                Ok(())
            }
            Act::Write(expected) => self.write(partition, &now, expected).await,
        }
    }

    async fn write(&mut self, partition: u32, now: &Seat, expected: u64) -> Result<(), Error> {
        let held = now.grant.is_some();
        if held && expected != 0 && !is_due(self.refreshed.get(&partition).copied()) {
            return Ok(());
        }
        if !self
            .table
            .write(partition, self.me, now.lag, expected)
            .await?
        {
            // Another was faster; the next look tells who.
            return Ok(());
        }
        self.refreshed.insert(partition, Instant::now());
        self.last_owners.insert(partition, self.me);
        if !held && !now.running {
            let stage = &self.table.stage;
            tracing::info!(stage, partition, "partition is ours");
            let grant = self.shutdown.child_token();
            self.seat(partition, |seat| {
                seat.grant = Some(grant);
                seat.holder = None;
            });
        }
        Ok(())
    }

    /// First the tenure ends, with its outputs published and its checkpoint written; until then
    /// the lease is kept alive.
    async fn hand_over(
        &mut self,
        partition: u32,
        now: &Seat,
        lease: Option<(InstanceId, u64)>,
        to: InstanceId,
    ) -> Result<(), Error> {
        let expected = lease.map_or(0, |(_, sequence)| sequence);
        if now.running {
            if let Some(grant) = &now.grant {
                grant.cancel();
            }
            return self.write(partition, now, expected).await;
        }
        self.end(partition, Some(to));
        let stage = &self.table.stage;
        tracing::info!(stage, partition, %to, "partition handed over");
        self.table.write(partition, to, now.lag, expected).await?;
        self.last_owners.insert(partition, to);
        Ok(())
    }

    fn end(&self, partition: u32, holder: Option<InstanceId>) {
        self.seat(partition, |seat| {
            if let Some(grant) = seat.grant.take() {
                grant.cancel();
            }
            seat.holder = holder;
        });
    }

    fn seat(&self, partition: u32, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.leases.seat(partition) {
            seat.send_modify(change);
        }
    }
}

fn is_due(last: Option<Instant>) -> bool {
    last.is_none_or(|at| at.elapsed() >= REFRESH_INTERVAL)
}
