use std::collections::BTreeMap;

use super::*;
use crate::route::ReceiverEntry;
use crate::samples;
use balefire_event::time::SECOND;

fn receiver(name: &str, tenant: Option<&str>, severity_min: &str) -> Receiver {
    let entry = ReceiverEntry {
        name: "any".into(),
        severity_min: Some(severity_min.into()),
        ..ReceiverEntry::default()
    };
    Receiver {
        name: name.into(),
        tenant: tenant.map(Into::into),
        ..Receiver::of(&entry).unwrap()
    }
}

fn route(name: &str, receivers: &[&str], category: &str) -> Route {
    let matchers: BTreeMap<_, _> = match category {
        "" => BTreeMap::new(),
        category => [("category".to_owned(), category.to_owned())].into(),
    };
    Route {
        name: name.into(),
        receivers: receivers.iter().map(|name| (*name).into()).collect(),
        when: Condition {
            matchers: Matchers::of(&matchers),
            ..Condition::default()
        },
        continues: false,
        grouping: None,
        times: Vec::new(),
        inhibition: None,
    }
}

/// The first minute of 1970, which began on a Thursday.
fn first_minute() -> Vec<Hours> {
    vec![Hours::parse("thu 00:00-00:01").unwrap()]
}

fn silence(name: &str, receivers: &[&str], severity_max: Severity) -> Silence {
    Silence {
        name: name.into(),
        when: Condition {
            severity_max,
            ..Condition::default()
        },
        receivers: receivers.iter().map(|name| (*name).into()).collect(),
        from: Timestamp(10 * SECOND),
        until: Timestamp(20 * SECOND),
        times: Vec::new(),
    }
}

fn plan(table: Table) -> Plan {
    Plan {
        revision: 7,
        receivers: vec![
            receiver("soc", None, "low"),
            receiver("pager", None, "critical"),
            receiver("acme/own", Some("acme"), "low"),
        ],
        tenants: [("default".to_owned(), table)].into(),
    }
}

fn told(plan: &Plan, escalation: &Escalation, second: i64) -> Vec<String> {
    let choices = plan.decide(escalation, Timestamp(second * SECOND));
    let each = choices.iter().map(|choice| match &choice.silence {
        Some(silence) => format!("{} by {} but for {silence}", choice.receiver, choice.route),
        None => format!("{} by {}", choice.receiver, choice.route),
    });
    each.collect()
}

#[test]
fn without_routes_each_receiver_of_the_tenant_goes_by_its_own_conditions() {
    let plan = plan(Table::default());
    let high = samples::escalation();
    assert_eq!(told(&plan, &high, 0), ["soc by everything"]);
    let critical = Escalation {
        severity: Severity::Critical,
        tenant: "acme".into(),
        ..samples::escalation()
    };
    let all = [
        "soc by everything",
        "pager by matched",
        "acme/own by everything",
    ];
    assert_eq!(told(&plan, &critical, 0), all);
}

#[test]
fn routes_are_asked_in_order_until_one_decides() {
    let mut table = Table {
        routes: vec![
            route("drift", &["soc"], "model_drift"),
            route("flags", &["soc", "pager", "later"], "judge_*"),
            route("rest", &["soc"], ""),
        ],
        ..Table::default()
    };
    // The pager's own floor stands; a receiver that is not there yet is chosen nevertheless.
    let first = ["soc by flags", "later by flags"];
    assert_eq!(told(&plan(table.clone()), &samples::escalation(), 0), first);
    table.routes[1].continues = true;
    table.routes[2].receivers = vec!["soc".into(), "more".into()];
    let both = ["soc by flags", "later by flags", "more by rest"];
    assert_eq!(told(&plan(table.clone()), &samples::escalation(), 0), both);
    let explained = plan(table).explain(&samples::escalation(), Timestamp(0));
    let said: Vec<_> = explained
        .reasons
        .iter()
        .map(|reason| format!("{}: {}", reason.about, reason.said))
        .collect();
    assert_eq!(
        said,
        [
            "route drift: does not match: category is not model_drift",
            "route flags: matches",
            "receiver soc: is told by route flags",
            "receiver pager: is not told: severity high is below critical",
            "receiver later: is told as soon as there is a receiver of this name",
            "route rest: matches",
            "receiver more: is told as soon as there is a receiver of this name",
        ]
    );
}

#[test]
fn a_silence_holds_for_its_time_and_lets_what_is_more_severe_through() {
    let quiet = |silence: Silence| {
        plan(Table {
            silences: vec![silence],
            ..Table::default()
        })
    };
    let high = samples::escalation();
    let all = quiet(silence("night", &[], Severity::High));
    assert_eq!(told(&all, &high, 9), ["soc by everything"]);
    assert_eq!(told(&all, &high, 10), ["soc by everything but for night"]);
    assert_eq!(told(&all, &high, 20), ["soc by everything"]);
    let critical = Escalation {
        severity: Severity::Critical,
        ..samples::escalation()
    };
    let loud = ["soc by everything", "pager by matched"];
    assert_eq!(told(&all, &critical, 15), loud);
    let one = quiet(silence("one", &["pager"], Severity::Critical));
    let split = ["soc by everything", "pager by matched but for one"];
    assert_eq!(told(&one, &critical, 15), split);
    let other = Escalation {
        tenant: "acme".into(),
        ..critical
    };
    assert_eq!(told(&all, &other, 15).len(), 3, "whose silence it is");
    assert!(!told(&all, &other, 15).concat().contains("night"));
}

#[test]
fn a_route_is_asked_and_a_silence_holds_only_at_its_hours() {
    let office = Route {
        times: first_minute(),
        ..route("office", &["soc"], "")
    };
    let routed = plan(Table {
        routes: vec![office, route("else", &["acme/own", "later"], "")],
        ..Table::default()
    });
    let high = samples::escalation();
    assert_eq!(told(&routed, &high, 59), ["soc by office"]);
    assert!(!told(&routed, &high, 60).concat().contains("office"));
    let reasons = routed.explain(&high, Timestamp(60 * SECOND)).reasons;
    let said = &reasons[0].said;
    assert_eq!(*said, "does not match: it is asked only thu 00:00-00:01");
    let nightly = Silence {
        until: Timestamp::MAX,
        times: first_minute(),
        ..silence("nightly", &[], Severity::Critical)
    };
    let quiet = plan(Table {
        silences: vec![nightly],
        ..Table::default()
    });
    let week = 7 * 24 * 3600;
    for (second, is_quiet) in [(9, false), (10, true), (60, false), (week + 59, true)] {
        let told = told(&quiet, &high, second).concat();
        assert_eq!(told.contains("nightly"), is_quiet, "{second}");
    }
}

#[test]
fn a_group_is_what_is_the_same_in_the_fields_of_its_route() {
    let mut grouped = route("all", &["soc"], "");
    grouped.grouping = Some(Grouping {
        by: vec!["user_id".into()],
        lasts: GROUP_FOR,
    });
    let plan = plan(Table {
        routes: vec![grouped],
        ..Table::default()
    });
    let group = |user: &str| {
        let escalation = samples::hostile(user, "words");
        let choices = plan.decide(&escalation, Timestamp(0));
        choices[0].group.unwrap()
    };
    assert_eq!(group("a"), group("a"));
    assert_ne!(group("a"), group("b"));
    assert_eq!(group("a").1, GROUP_FOR);
}

#[test]
fn the_socs_own_words_are_the_tenants() {
    let plan = plan(Table {
        tiers: [(Severity::High, "P2 (within the hour)".into())].into(),
        ..Table::default()
    });
    assert_eq!(
        &*plan.tier("default", Severity::High),
        "P2 (within the hour)"
    );
    assert_eq!(&*plan.tier("default", Severity::Low), "");
    assert_eq!(&*plan.tier("acme", Severity::High), "");
}
