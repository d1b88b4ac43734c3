use balefire_control::{Key, Spec};

use super::*;
use crate::samples;

fn object(tenant: &str, kind: Kind, name: &str, spec: &[(&str, Value)]) -> Object {
    let spec: Spec = spec
        .iter()
        .map(|(field, value)| ((*field).to_owned(), value.clone()))
        .collect();
    Object {
        key: Key {
            tenant: tenant.into(),
            kind,
            name: name.into(),
        },
        revision: 1,
        managed_by: String::new(),
        labels: BTreeMap::new(),
        created: (Timestamp(5), "someone".into()),
        updated: (Timestamp(5), "someone".into()),
        spec,
        control_revision: 1,
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn texts(all: &[&str]) -> Value {
    Value::Texts(all.iter().map(|one| (*one).to_owned()).collect())
}

fn words(all: &[(&str, &str)]) -> Value {
    let each = all.iter();
    Value::Words(
        each.map(|(word, meaning)| ((*word).to_owned(), (*meaning).to_owned()))
            .collect(),
    )
}

fn file() -> Vec<Receiver> {
    let entry = ReceiverEntry {
        name: "shared".into(),
        ..ReceiverEntry::default()
    };
    vec![Receiver::of(&entry).unwrap()]
}

fn url() -> (&'static str, Value) {
    ("url", text("https://soc.example/hook"))
}

fn one_of_each() -> [Object; 5] {
    [
        object(
            "default",
            Kind::Receiver,
            "pager",
            &[
                ("url", text("https://events.pagerduty.com")),
                ("target", text("pagerduty")),
                ("settings", words(&[("source", "ai")])),
                ("secret_env", text("BALEFIRE_SECRET_PAGER")),
                ("max_classification", text("internal")),
            ],
        ),
        object(
            "default",
            Kind::Route,
            "a-late",
            &[
                ("receivers", texts(&["shared"])),
                ("priority", Value::Number(9)),
            ],
        ),
        object(
            "default",
            Kind::Route,
            "b-early",
            &[
                ("receivers", texts(&["pager", "shared"])),
                ("severity_min", text("high")),
                ("group_by", texts(&["rule"])),
                ("group_for", text("30m")),
                ("continues", Value::Flag(true)),
            ],
        ),
        object(
            "default",
            Kind::Silence,
            "night",
            &[
                ("ends_at", text("2026-02-11T14:30:00Z")),
                ("reason", text("work")),
                ("receivers", texts(&["pager"])),
            ],
        ),
        object(
            "default",
            Kind::SeverityMap,
            "soc",
            &[("tiers", words(&[("high", "P2")]))],
        ),
    ]
}

#[test]
fn objects_become_what_is_in_force() {
    let objects = one_of_each();
    let made = plan(9, &file(), objects.iter());
    assert_eq!(made.faults, []);
    assert_eq!(made.plan.revision, 9);
    let pager = made.plan.receiver("pager").unwrap();
    assert!(pager.updates);
    assert_eq!(pager.max_classification, Classification::Internal);
    let table = &made.plan.tenants["default"];
    let names: Vec<_> = table.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["b-early", "a-late"]);
    let early = &table.routes[0];
    assert_eq!(early.receivers, ["pager".into(), "shared".into()]);
    assert!(early.continues);
    let lasts = early.grouping.as_ref().map(|grouping| grouping.lasts);
    assert_eq!(lasts, Some(30 * balefire_event::time::MINUTE));
    let night = &table.silences[0];
    assert_eq!(
        (night.from, &night.receivers),
        (Timestamp(5), &vec!["pager".into()])
    );
    assert_eq!(&*made.plan.tier("default", Severity::High), "P2");
    let told = made.plan.decide(&samples::escalation(), Timestamp(6));
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn hours_and_inhibition_of_a_route_are_in_force() {
    let route = object(
        "default",
        Kind::Route,
        "office",
        &[
            ("receivers", texts(&["shared"])),
            ("times", texts(&["thu 00:00-00:01"])),
            ("inhibited_by", words(&[("severity", "critical")])),
            ("inhibit_equal", texts(&["user_id"])),
        ],
    );
    let plan = plan(1, &file(), [route].iter()).plan;
    let route = &plan.tenants["default"].routes[0];
    assert!(route.times[0].contains(Timestamp(0)));
    let inhibition = route.inhibition.as_ref().unwrap();
    assert_eq!(inhibition.equal, ["user_id"]);
    let mut escalation = samples::escalation();
    assert!(plan.inhibits(&escalation).is_empty());
    let told = plan.decide(&escalation, Timestamp(0));
    escalation.severity = Severity::Critical;
    let places = plan.inhibits(&escalation);
    assert_eq!(told[0].inhibited_at, places.first().copied());
    let later = Timestamp(61_000_000_000);
    assert!(plan.decide(&escalation, later).is_empty());
}

#[test]
fn a_tenant_reaches_its_own_receivers_and_the_files_and_no_others() {
    let objects = [
        object("acme", Kind::Receiver, "own", &[url()]),
        object("default", Kind::Receiver, "platforms", &[url()]),
        object(
            "acme",
            Kind::Route,
            "all",
            &[("receivers", texts(&["own", "shared", "platforms"]))],
        ),
    ];
    let made = plan(1, &file(), objects.iter());
    let names = &made.plan.tenants["acme"].routes[0].receivers;
    assert_eq!(
        *names,
        ["acme/own".into(), "shared".into(), "acme/platforms".into()]
    );
    assert!(made.plan.receiver("acme/platforms").is_none());
}

#[test]
fn what_an_object_may_not_or_cannot_is_a_fault_and_the_rest_stays() {
    let secret = ("secret_env", text("BALEFIRE_SECRET_PAGER"));
    for (tenant, name, spec, part) in [
        ("default", "shared", vec![url()], "receivers file"),
        (
            "acme",
            "a",
            vec![url(), ("allow_loopback", Value::Flag(true))],
            "tenant default",
        ),
        (
            "acme",
            "a",
            vec![url(), ("allow_networks", texts(&["10.0.0.0/8"]))],
            "tenant default",
        ),
        ("acme", "a", vec![url(), secret], "BALEFIRE_SECRET_ACME_"),
        (
            "default",
            "a",
            vec![url(), ("secret_env", text("PATH"))],
            "BALEFIRE_SECRET_",
        ),
        (
            "default",
            "a",
            vec![url(), ("secret_file", text("../passwd"))],
            "--secrets-dir",
        ),
        (
            "default",
            "a",
            vec![url(), ("settings", words(&[("x", "y")]))],
            "no setting x",
        ),
        (
            "default",
            "a",
            vec![
                url(),
                ("target", text("splunk")),
                ("settings", words(&[("x", "y")])),
            ],
            "settings of splunk",
        ),
        (
            "default",
            "a",
            vec![url(), ("target", text("jira"))],
            "project",
        ),
    ] {
        let objects = [
            object(tenant, Kind::Receiver, name, &spec),
            object("default", Kind::Receiver, "good", &[url()]),
        ];
        let made = plan(1, &file(), objects.iter());
        let [fault] = made.faults.as_slice() else {
            panic!("{part}: {made:?}");
        };
        assert!(fault.reason.contains(part), "{}", fault.reason);
        let names: Vec<_> = made.plan.receivers.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["shared", "good"]);
    }
}

#[test]
fn every_kind_that_can_be_written_is_a_kind_there_is() {
    let field = Kind::Receiver.field("target").unwrap();
    let balefire_control::Check::OneOf(names) = field.check else {
        panic!("{field:?}");
    };
    for name in names {
        let needed: &[(&str, &str)] = match *name {
            "sentinel" => &[
                ("dcr", "d"),
                ("stream", "s"),
                ("tenant_id", "t"),
                ("client_id", "c"),
            ],
            "jira" => &[("project", "P"), ("set_priority", "true")],
            "slack_bot" => &[("channel", "C1")],
            "email" => &[("from", "a@b.example"), ("to", "c@d.example")],
            _ => &[],
        };
        let held = needed.iter();
        let settings = held
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(target(name, &settings).unwrap().name(), *name);
    }
}

/// A control object as its file says it.
fn of_file(name: &str, file: &str) -> Object {
    let table: toml::Table = file.parse().unwrap();
    let value = |value: &toml::Value| match value {
        toml::Value::String(said) => text(said),
        toml::Value::Integer(number) => Value::Number(*number),
        toml::Value::Boolean(flag) => Value::Flag(*flag),
        toml::Value::Array(all) => {
            let all = all.iter().map(|one| one.as_str().unwrap().to_owned());
            Value::Texts(all.collect())
        }
        toml::Value::Table(all) => {
            let all = all.iter();
            let each = all.map(|(word, said)| (word.clone(), said.as_str().unwrap().to_owned()));
            Value::Words(each.collect())
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) => panic!("no field is one"),
    };
    let spec: Vec<_> = table
        .iter()
        .map(|(field, said)| (field.as_str(), value(said)))
        .collect();
    let object = object("default", Kind::Route, name, &spec);
    assert_eq!(balefire_control::check_spec(Kind::Route, &object.spec), []);
    object
}

macro_rules! runbook {
    ($($name:literal),+) => {
        [$(of_file($name, include_str!(concat!(
            "../../../../deploy/routes/runbook/route/", $name, ".toml"
        )))),+]
    };
}

#[test]
fn the_routes_of_the_runbook_are_the_default_ticket_policy_in_all_categories() {
    use crate::policy::{Ticket, ticket};
    use balefire_event::Category;
    let routes = runbook![
        "incidents",
        "agents",
        "tickets",
        "thresholds",
        "ai_platform"
    ];
    let made = plan(1, &[], routes.iter());
    assert_eq!(made.faults, []);
    for category in Category::ALL {
        for severity in Severity::ALL {
            let mut one = samples::escalation();
            one.severity = *severity;
            one.rule_name = format!("taxonomy_{category}_{severity}");
            one.trigger.as_mut().unwrap().category = *category;
            let told = |one: &_| -> Vec<String> {
                let choices = made.plan.decide(one, Timestamp(0));
                choices
                    .iter()
                    .map(|choice| choice.receiver.to_string())
                    .collect()
            };
            let team = matches!(category, Category::GuardrailBlock | Category::ModelDrift);
            let becomes: &[&str] = match ticket(*category, *severity) {
                Ticket::Incident => &["incidents"],
                Ticket::Ticket => &["tickets"],
                Ticket::None if team => &["ai_platform"],
                Ticket::None => &[],
            };
            assert_eq!(told(&one), becomes, "{category} {severity}");
            if *category == Category::GuardrailBlock {
                one.rule_name = "guardrail_block_burst".into();
                assert_eq!(told(&one), ["tickets", "ai_platform"], "a threshold");
            }
        }
    }
}
