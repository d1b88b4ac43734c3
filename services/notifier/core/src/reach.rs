//! Whose escalations reach nobody at this moment. The pipeline is every tenant's in one: each partition
//! holds the events of all in one order, so a heartbeat that came out came out for each. Behind it the
//! way is the tenant's own: its routes, its receivers. Pure.

use std::collections::BTreeSet;

use crate::objects::PLATFORM;
use crate::plan::Plan;
use crate::route::Receiver;

/// The tenants that have receivers. One that has none at all was never set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Of whose receivers one answers.
    pub open: Vec<String>,
    /// Of whose receivers none does.
    pub shut: Vec<String>,
}

/// Who can be told, where these receivers answer.
#[must_use]
pub fn reach(plan: &Plan, answers: impl Fn(&str) -> bool) -> Reach {
    let own = plan.receivers.iter();
    let own = own.filter_map(|receiver| receiver.tenant.as_deref());
    let routed = plan.tenants.keys().map(String::as_str);
    let all: BTreeSet<&str> = own.chain(routed).chain([PLATFORM]).collect();
    let mut found = Reach::default();
    for tenant in all {
        let ways = ways(plan, tenant);
        if ways.is_empty() {
            continue;
        }
        let list = match ways.iter().any(|name| answers(name)) {
            true => &mut found.open,
            false => &mut found.shut,
        };
        list.push(tenant.to_owned());
    }
    found
}

/// The receivers that can be told of a tenant's escalations: those that its routes name, where it has
/// routes.
fn ways<'a>(plan: &'a Plan, tenant: &str) -> Vec<&'a str> {
    let table = plan.tenants.get(tenant);
    let routes = table.map_or(&[][..], |table| &table.routes);
    let is_named = |receiver: &Receiver| {
        let named = routes.iter().flat_map(|route| &route.receivers);
        routes.is_empty() || named.into_iter().any(|name| *name == receiver.name)
    };
    let own = plan.receivers.iter();
    own.filter(|receiver| !receiver.feed && receiver.is_of(tenant) && is_named(receiver))
        .map(|receiver| &*receiver.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Condition, Route, Table};
    use crate::route::ReceiverEntry;

    fn receiver(name: &str, tenant: Option<&str>, feed: bool) -> Receiver {
        let entry = ReceiverEntry {
            name: name.into(),
            ..ReceiverEntry::default()
        };
        Receiver {
            tenant: tenant.map(Into::into),
            feed,
            ..Receiver::of(&entry).unwrap()
        }
    }

    #[test]
    fn a_tenant_of_whose_receivers_none_answers_reaches_nobody() {
        let mut plan = Plan {
            receivers: vec![
                receiver("soc", None, false),
                receiver("siem", None, true),
                receiver("pager", Some("acme"), false),
            ],
            ..Plan::default()
        };
        let reached = |plan: &Plan, up: &[&str]| reach(plan, |name| up.contains(&name));
        let shut_but = |plan: &Plan, up: &[&str]| reached(plan, up).shut;
        assert!(
            shut_but(&plan, &["soc"]).is_empty(),
            "the file's are everybody's"
        );
        assert_eq!(shut_but(&plan, &["pager"]), [PLATFORM]);
        assert_eq!(
            shut_but(&plan, &["siem"]),
            ["acme", PLATFORM],
            "a feed tells nobody"
        );
        let route = Route {
            name: "pages".into(),
            receivers: vec!["pager".into(), "not-there-yet".into()],
            when: Condition::default(),
            continues: false,
            grouping: None,
            times: Vec::new(),
            inhibition: None,
        };
        let table = Table {
            routes: vec![route],
            ..Table::default()
        };
        plan.tenants.insert("acme".into(), table);
        assert_eq!(
            shut_but(&plan, &["soc"]),
            ["acme"],
            "what no route names is not told"
        );
        assert_eq!(reached(&plan, &["soc"]).open, [PLATFORM]);
        assert_eq!(reached(&Plan::default(), &[]), Reach::default());
    }
}
