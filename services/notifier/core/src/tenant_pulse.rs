//! [`TenantPulse`]: when heartbeats last came out for each tenant. One is out for a tenant when it came
//! out of the pipeline, which is every tenant's in one, while a receiver of the tenant's answered.

use std::collections::BTreeMap;

use balefire_event::Timestamp;

use crate::reach::Reach;

/// Tenants whose heartbeats are told apart; those whose names come last are not.
pub const TENANTS_MAX: usize = 1000;

/// The last heartbeat of each tenant.
#[derive(Debug, Clone)]
pub struct TenantPulse {
    since: Timestamp,
    last: BTreeMap<String, Timestamp>,
}

impl TenantPulse {
    /// Awaited since then.
    #[must_use]
    pub const fn new(since: Timestamp) -> Self {
        Self {
            since,
            last: BTreeMap::new(),
        }
    }

    /// One came out of the pipeline.
    pub fn out(&mut self, at: Timestamp, reach: &Reach) {
        for tenant in &reach.open {
            self.last.insert(tenant.clone(), at);
        }
    }

    /// For how long none came out for each of the tenants that there are, nanoseconds, at most
    /// [`TENANTS_MAX`]; what is known of others is forgotten.
    pub fn silent(&mut self, now: Timestamp, reach: &Reach) -> Vec<(String, i64)> {
        let mut there: Vec<&String> = reach.open.iter().chain(&reach.shut).collect();
        there.sort();
        there.truncate(TENANTS_MAX);
        self.last
            .retain(|tenant, _| there.binary_search(&tenant).is_ok());
        let silent = there.into_iter().map(|tenant| {
            let last = self.last.get(tenant).unwrap_or(&self.since);
            (tenant.clone(), now.since(*last))
        });
        silent.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_heartbeat_is_out_while_a_receiver_of_its_own_answers() {
        let mut tenants = TenantPulse::new(Timestamp(0));
        let reach = |open: &[&str], shut: &[&str]| Reach {
            open: open.iter().map(|name| (*name).to_owned()).collect(),
            shut: shut.iter().map(|name| (*name).to_owned()).collect(),
        };
        tenants.out(Timestamp(10), &reach(&["acme", "beta"], &[]));
        let half = reach(&["beta"], &["acme", "zeta"]);
        tenants.out(Timestamp(20), &half);
        let silent = |tenants: &mut TenantPulse, at, reach: &Reach| {
            let silent = tenants.silent(Timestamp(at), reach);
            let names = silent.into_iter();
            names
                .map(|(name, ago)| format!("{name} {ago}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            silent(&mut tenants, 25, &half),
            ["acme 15", "beta 5", "zeta 25"]
        );
        let gone = reach(&["beta"], &[]);
        assert_eq!(silent(&mut tenants, 30, &gone), ["beta 10"]);
        assert_eq!(
            silent(&mut tenants, 30, &half),
            ["acme 30", "beta 10", "zeta 30"],
            "who comes back is awaited anew"
        );
    }

    #[test]
    fn tenants_that_are_told_apart_are_bounded() {
        let mut tenants = TenantPulse::new(Timestamp(0));
        let open = (0..TENANTS_MAX + 5).map(|n| format!("tenant-{n}"));
        let reach = Reach {
            open: open.collect(),
            shut: Vec::new(),
        };
        tenants.out(Timestamp(1), &reach);
        assert_eq!(tenants.silent(Timestamp(2), &reach).len(), TENANTS_MAX);
        assert_eq!(tenants.last.len(), TENANTS_MAX);
    }
}
