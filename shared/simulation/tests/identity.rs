//! One request seen by a gateway, an application, a model provider (its log and its audit trail)
//! and a judge: whatever comes first, it is the same event of the same user.
//!
//! Vendors' records go through their adapters and the door's admission into partitions of the
//! correlator, as ingest lays them; what comes out is folded as `balefire trace` folds it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};

use balefire_correlator_core::{Chain, Config, Correlator, Effect, Link, Missing, Record};
use balefire_event::stamp::ClockPolicy;
use balefire_event::time::{MINUTE, SECOND};
use balefire_event::{Assurance, Category, Event, Groups, Hint, Lane, Naming, Stub, Timestamp};
use balefire_ingest_core::adapt::{self, Choice, Context};
use balefire_ingest_core::{Door, Owned, Path, Provenance, Source, admit_json};
use serde_json::{Value, json};

const TENANT: &str = "default";
const REQUEST: &str = "9c9bd2f7-0000-4000-8000-000000000001";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const AWS: &str = "7d3c2f0e-6b1a-4c55-9a2e-0f5b8c1d2e3f";
const USER: &str = "jgill@example.com";

fn envoy(user: &str) -> Value {
    json!({"start_time": "2026-11-22T10:30:00.123Z", "method": "POST", "path": "/api/v1/chat",
        "response_code": 403, "response_flags": "-", "x_forwarded_for": "192.0.2.10", "request_id": REQUEST,
        "traceparent": format!("00-{TRACE}-00f067aa0ba902b7-01"), "user_sub": user, "upstream_cluster": "llm"})
}

fn application(user: &str) -> Value {
    json!({"event_type": "ai_security", "timestamp": "2026-11-22T10:30:01Z", "category": "telemetry",
        "event_id": "app-1", "request_id": REQUEST, "trace_id": TRACE, "user_id": user,
        "model": "claude-sonnet-4-5", "labels": {"application": "chat"}})
}

fn bedrock(user: &str) -> Value {
    json!({"schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": "2026-11-22T10:30:02Z",
        "requestId": AWS, "operation": "Converse", "modelId": "claude-sonnet-4-5",
        "identity": {"arn": "arn:aws:sts::111122223333:assumed-role/ChatBackendRole/i-0abc"},
        "requestMetadata": {"traceId": TRACE, "userId": user},
        "output": {"outputBodyJson": {"stopReason": "guardrail_intervened", "trace": {"guardrail": {"inputAssessment":
            {"g": {"contentPolicy": {"filters": [{"type": "PROMPT_ATTACK", "action": "BLOCKED", "detected": true}]}}}}}}}})
}

fn cloudtrail() -> Value {
    json!({"eventSource": "bedrock.amazonaws.com", "eventName": "Converse", "eventTime": "2026-11-22T10:30:02Z",
        "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::111122223333:assumed-role/ChatBackendRole/i-0abc"},
        "requestParameters": {"modelId": "claude-sonnet-4-5"}, "requestID": AWS, "eventID": "trail-1",
        "sourceIPAddress": "192.0.2.200"})
}

/// What judged the answer knows the request, and nobody.
fn judge() -> Value {
    json!({"event_type": "ai_security", "timestamp": "2026-11-22T10:30:05Z", "category": "judge_flag",
        "event_id": "judge-1", "request_id": REQUEST, "trace_id": TRACE, "judge_model": "gpt-4o",
        "judge_score": 0.82, "judge_verdict": "policy_violation", "labels": {"application": "chat"}})
}

/// Source names, as they stand in what is seen.
const SOURCES: [&str; 5] = ["envoy", "application", "bedrock", "cloudtrail", "judge"];

/// Everybody says the same user.
fn world() -> [Value; 5] {
    [
        envoy(USER),
        application(USER),
        bedrock(USER),
        cloudtrail(),
        judge(),
    ]
}

/// Every order of some things.
fn orders(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for (place, first) in of.iter().enumerate() {
        let mut rest = of.to_vec();
        rest.remove(place);
        for mut order in self::orders(&rest) {
            order.insert(0, *first);
            orders.push(order);
        }
    }
    orders
}

enum Laid {
    Event(Box<Event<'static>>),
    Hint(Hint<'static>),
    Stub(Stub),
}

/// The log and the correlators of every partition of INTAKE.
struct World {
    partitions: u32,
    cores: Vec<Correlator>,
    /// EVENTS, in the order of writing.
    events: Vec<Event<'static>>,
    /// What the door passed by the correlator.
    straight: Groups,
    /// What some source vouches for owners of.
    owned: Owned,
}

impl World {
    fn new(partitions: u32) -> Self {
        let core = |partition| Correlator::new(Config::new(partition, partitions));
        Self {
            partitions,
            cores: (0..partitions).map(core).collect(),
            events: Vec::new(),
            straight: Groups::default(),
            owned: Owned::default(),
        }
    }

    /// A vendor's record arrives.
    fn arrive(&mut self, record: &Value, at: Timestamp, authority: u32) {
        self.arrive_from(record, at, |source| source.authority = authority);
    }

    /// The same, from a source that is declared somehow.
    fn arrive_from(&mut self, record: &Value, at: Timestamp, declared: impl Fn(&mut Source)) {
        let bytes = record.to_string().into_bytes();
        for adapted in adapt::read(Choice::Auto, &bytes, &Context::at(at)) {
            let adapted = adapted.unwrap();
            let mut source = Source::undeclared(adapted.source, ClockPolicy::default());
            declared(&mut source);
            let door = Door::new(TENANT, source, self.partitions).owning(self.owned);
            let admitted = admit_json(&door, &adapted.json, Provenance::default()).unwrap();
            let of_keys = admitted
                .hint_targets(&door)
                .map(|(to, key)| (to, admitted.hint(&door, &[key]).unwrap()));
            let hints: Vec<(u32, Hint<'static>)> = of_keys
                .chain(admitted.owner_hints(&door))
                .map(|(to, mut hint)| {
                    hint.received_at = at;
                    (to, hint.into_owned())
                })
                .collect();
            let mut event = admitted.event.clone().into_owned();
            event.received_at = at;
            (event.t, event.timing) = admitted.clock.stamp(event.occurred_at, at);
            match &admitted.path {
                Path::Straight { .. } => {
                    let naming = Naming::of(&event);
                    self.straight.named(TENANT, &event, None, naming);
                    self.events.push(event);
                }
                Path::Detour { partition, stubs } => {
                    self.lay(*partition, admitted.lane, Laid::Event(Box::new(event)));
                    for target in stubs {
                        let mut stub = admitted.stub(*target).unwrap();
                        stub.received_at = at;
                        self.lay(target.partition, Lane::Bulk, Laid::Stub(stub));
                    }
                }
            }
            for (to, hint) in hints {
                self.lay(to, Lane::Bulk, Laid::Hint(hint));
            }
        }
    }

    fn lay(&mut self, partition: u32, lane: Lane, laid: Laid) {
        let record = match &laid {
            Laid::Event(event) => Record::Event(event),
            Laid::Hint(hint) => Record::Hint(hint),
            Laid::Stub(stub) => Record::Stub(stub),
        };
        let mut effects = Vec::new();
        self.cores[partition as usize].apply(lane, TENANT, record, &mut effects);
        self.act(effects);
    }

    fn act(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit { event, .. } => self.events.push(*event),
                Effect::Forward {
                    partition, hint, ..
                } => self.lay(partition, Lane::Bulk, Laid::Hint(*hint)),
                Effect::BarrierOut { .. } | Effect::Watermark { .. } | Effect::Repair { .. } => {}
            }
        }
    }

    fn tick(&mut self, at: Timestamp) {
        for partition in 0..self.cores.len() {
            for lane in Lane::ALL {
                let mut effects = Vec::new();
                self.cores[partition].apply(*lane, "", Record::Tick(at), &mut effects);
                self.act(effects);
            }
        }
    }

    /// What `balefire trace` shows of an id.
    fn chain(&self, id: &str) -> Chain {
        let mut chain = Chain::of(id);
        while chain.reading() {
            for event in &self.events {
                chain.take(event);
            }
        }
        chain
    }

    fn coverage(&self) -> Groups {
        let mut sum = self.straight.clone();
        for core in &self.cores {
            sum.add(&core.coverage().groups);
        }
        sum
    }
}

/// The records in an order, `apart` from each other; then time passes.
fn run(records: &[Value], order: &[usize], apart: i64, partitions: u32) -> World {
    let mut world = World::new(partitions);
    let begin = Timestamp::parse("2026-11-22T10:30:06Z").unwrap();
    for (step, index) in (0..).zip(order) {
        let at = begin.plus(step * apart);
        world.tick(at);
        world.arrive(&records[*index], at, 0);
    }
    world.tick(begin.plus(10 * MINUTE));
    world
}

/// What people see of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    users: Vec<(String, Assurance)>,
    models: Vec<String>,
    addresses: Vec<String>,
    verdict: String,
    naming: Naming,
}

fn seen(link: &Link) -> Seen {
    let mut users: Vec<(String, Assurance)> = link
        .users
        .values()
        .map(|user| (user.readable().unwrap().to_owned(), user.assurance))
        .collect();
    users.sort();
    Seen {
        users,
        models: link.models().iter().cloned().collect(),
        addresses: link.addresses().iter().cloned().collect(),
        verdict: link.event.judge_verdict.to_string(),
        naming: link.naming(),
    }
}

/// The judge's event: there is exactly one.
fn judged(chain: &Chain) -> Seen {
    let links = chain.links();
    let mut flags = links
        .iter()
        .filter(|link| link.event.category == Category::JudgeFlag);
    let flag = flags.next().unwrap();
    assert_eq!(flags.count(), 0, "one event");
    seen(flag)
}

/// Within the hold, and far beyond it, so that the amendment path is taken too; on one partition
/// and where every id may lie in another.
const PACES: [i64; 2] = [SECOND / 100, 30 * SECOND];
const PARTITIONS: [u32; 3] = [1, 4, 64];

fn whole() -> Seen {
    Seen {
        users: vec![(USER.to_owned(), Assurance::Joined)],
        models: vec!["claude-sonnet-4-5".to_owned()],
        addresses: vec!["192.0.2.10".to_owned()],
        verdict: "policy_violation".to_owned(),
        naming: Naming::Human,
    }
}

#[test]
fn all_120_orders_make_one_event_of_one_user() {
    let records = world();
    let orders = orders(&[0, 1, 2, 3, 4]);
    assert_eq!(orders.len(), 120);
    for order in &orders {
        for apart in PACES {
            for partitions in PARTITIONS {
                let world = run(&records, order, apart, partitions);
                let told = format!("{order:?} {apart} {partitions}");
                let chain = world.chain(REQUEST);
                assert_eq!(judged(&chain), whole(), "{told}");
                // Five records, and from every id of the request the same chain.
                assert_eq!(chain.links().len(), 5, "{told}");
                assert_eq!(chain.missing(), [], "{told}");
                for id in [TRACE, AWS] {
                    assert_eq!(world.chain(id).links().len(), 5, "{told} {id}");
                }
                for link in chain.links() {
                    let seen = seen(link);
                    let users: Vec<&str> = seen.users.iter().map(|(user, _)| &**user).collect();
                    assert_eq!(users, [USER], "{told} {}", link.event.source);
                }
            }
        }
    }
}

#[test]
fn with_one_source_missing_what_is_known_is_told_and_nothing_else() {
    let records = world();
    for (missing, gone) in SOURCES.into_iter().enumerate() {
        let rest: Vec<usize> = (0..records.len()).filter(|one| *one != missing).collect();
        for order in orders(&rest) {
            for apart in PACES {
                let told = format!("without {gone}: {order:?} {apart}");
                let chain = run(&records, &order, apart, 4).chain(REQUEST);
                if gone == "judge" {
                    assert_eq!(chain.missing(), [Missing::Verdict], "{told}");
                    continue;
                }
                let mut want = whole();
                if gone == "envoy" {
                    // The provider's audit trail saw another address: the application's.
                    want.addresses.clear();
                }
                assert_eq!(judged(&chain), want, "{told}");
                let left = match gone {
                    // Nothing leads from the judge to the provider's audit trail any more.
                    "bedrock" => 3,
                    _ => 4,
                };
                assert_eq!(chain.links().len(), left, "{told}");
            }
        }
    }
}

#[test]
fn with_nobody_to_name_the_user_it_is_partial() {
    // The provider and its audit trail know a role, the application its ids only.
    let records = [
        envoy(USER),
        application(""),
        bedrock(""),
        cloudtrail(),
        judge(),
    ];
    for order in orders(&[1, 2, 3, 4]) {
        for apart in PACES {
            let chain = run(&records, &order, apart, 4).chain(REQUEST);
            let seen = judged(&chain);
            assert_eq!((seen.users.len(), seen.naming), (0, Naming::Nobody));
            assert!(chain.users().is_empty());
            assert_eq!(
                chain.missing(),
                [Missing::User],
                "the audit trail saw an address"
            );
        }
    }
    // The gateway alone names everybody that shares its ids.
    for order in orders(&[0, 1, 2, 3, 4]) {
        let chain = run(&records, &order, SECOND, 4).chain(REQUEST);
        let by_source: BTreeMap<String, Naming> = chain
            .links()
            .into_iter()
            .map(|link| (link.event.event_id.to_string(), link.naming()))
            .collect();
        assert_eq!(by_source["judge-1"], Naming::Human, "{order:?}");
        assert_eq!(by_source["app-1"], Naming::Human, "{order:?}");
        let block = format!("{AWS}#prompt_attack");
        assert_eq!(by_source[&block], Naming::Human, "{order:?}");
        assert_eq!(
            by_source["trail-1"],
            Naming::PrincipalOnly,
            "no id of the gateway's"
        );
    }
}

#[test]
fn two_who_disagree_are_both_told_of_and_flagged() {
    let other = "mallory@example.com";
    let records = [
        envoy(USER),
        application(other),
        bedrock(""),
        cloudtrail(),
        judge(),
    ];
    for order in orders(&[0, 1, 2, 3, 4]) {
        for apart in PACES {
            let chain = run(&records, &order, apart, 4).chain(REQUEST);
            let seen = judged(&chain);
            let doubted = |user: &str| (user.to_owned(), Assurance::Conflicting);
            assert_eq!(seen.users, [doubted(USER), doubted(other)], "{order:?}");
            assert_eq!(seen.naming, Naming::Conflicting, "{order:?}");
            assert_eq!(chain.missing(), [Missing::Agreement], "{order:?}");
        }
    }
}

#[test]
fn an_authority_settles_it_in_every_order() {
    let other = "mallory@example.com";
    let records = [envoy(USER), application(other), judge()];
    // The last two come again from the one who is to be believed.
    for order in orders(&[0, 1, 2, 3]) {
        let mut world = World::new(4);
        let begin = Timestamp::parse("2026-11-22T10:30:06Z").unwrap();
        for (step, index) in (0..).zip(&order) {
            let at = begin.plus(step * SECOND);
            match index {
                3 => {
                    let mut believed = application(USER);
                    believed["event_id"] = json!("idp-1");
                    world.arrive(&believed, at, 5);
                }
                index => world.arrive(&records[*index], at, 0),
            }
        }
        world.tick(begin.plus(10 * MINUTE));
        let seen = judged(&world.chain(REQUEST));
        let want = [
            (USER.to_owned(), Assurance::Joined),
            (other.to_owned(), Assurance::Conflicting),
        ];
        assert_eq!(seen.users, want, "{order:?}");
        assert_eq!(seen.naming, Naming::Human, "{order:?}");
    }
}

#[test]
fn coverage_is_a_hand_count() {
    let records = [
        envoy(USER),
        application("mallory@example.com"),
        bedrock(""),
        cloudtrail(),
        judge(),
        json!({"category": "anomaly", "timestamp": "2026-11-22T10:30:05Z", "event_id": "lost",
            "labels": {"application": "chat"}}),
        json!({"category": "anomaly", "timestamp": "2026-11-22T10:30:05Z", "event_id": "alone",
            "trace_id": "t-9", "labels": {"application": "chat"}}),
    ];
    let mut counts = BTreeSet::new();
    for order in orders(&[0, 1, 2, 3, 4, 5, 6]).iter().step_by(7) {
        let world = run(&records, order, SECOND, 4);
        let coverage = world.coverage();
        let mut rows = Vec::new();
        for (group, shares) in coverage.of(TENANT) {
            for naming in Naming::ALL {
                if shares.of(naming) > 0 {
                    rows.push(format!(
                        "{} {} {} {} {} of {}, {} without a request id",
                        group.source,
                        group.application,
                        group.category,
                        naming.as_str(),
                        shares.of(naming),
                        shares.all(),
                        shares.without_request_id
                    ));
                }
            }
        }
        counts.insert(rows);
    }
    let counts: Vec<_> = counts.into_iter().collect();
    assert_eq!(
        counts,
        [vec![
            "bedrock  prompt_attack conflicting 1 of 1, 0 without a request id",
            "cloudtrail  telemetry principal_only 1 of 1, 0 without a request id",
            "envoy llm telemetry human 1 of 1, 0 without a request id",
            "native chat judge_flag conflicting 1 of 1, 0 without a request id",
            "native chat anomaly nobody 1 of 2, 2 without a request id",
            "native chat anomaly ungrouped 1 of 2, 2 without a request id",
            "native chat telemetry human 1 of 1, 0 without a request id",
        ]],
        "whatever the order"
    );
}

const OWNER: &str = "ada@example.com";
const CALLER: &str = "mallory@example.com";

/// A gateway that is declared to name the owners of its keys; an application that names whoever calls
/// it with a key; a guardrail and a judge that know the key alone, or the request too.
fn keyed() -> [(bool, Value); 5] {
    let record = |event_id: &str, category: &str, more: Value| {
        let mut record = json!({"timestamp": "2026-11-22T10:30:00Z", "category": category,
            "event_id": event_id, "api_key_id": "k1"});
        let fields = record.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        record
    };
    let telemetry = |id, more| record(id, "telemetry", more);
    let gateway = json!({"user_id": OWNER, "request_id": "g-1", "model": "theirs"});
    let guest = json!({"user_id": "guest@example.com", "request_id": "g-2"});
    [
        (true, telemetry("gateway", gateway)),
        (false, telemetry("guest", guest)),
        (
            false,
            telemetry("caller", json!({"user_id": CALLER, "request_id": REQUEST})),
        ),
        (false, record("alone", "guardrail_block", json!({}))),
        (
            false,
            record("asked", "judge_flag", json!({"request_id": REQUEST})),
        ),
    ]
}

/// Whom the events of a run count for at last, with what is said of it; and what they were filled
/// with.
fn counted(world: &World) -> BTreeMap<(String, String), (Assurance, String)> {
    let mut last = BTreeMap::new();
    for event in &world.events {
        if let Some(user) = &event.user {
            let key = (
                event.event_id.to_string(),
                user.readable().unwrap().to_owned(),
            );
            last.insert(key, (user.assurance, event.model.to_string()));
        }
    }
    last
}

#[test]
fn in_all_120_orders_a_key_leads_to_whom_its_gateway_vouches_for() {
    let records = keyed();
    let begin = Timestamp::parse("2026-11-22T10:30:06Z").unwrap();
    let run = |order: &[usize], apart: i64, partitions: u32, owned: Owned| {
        let mut world = World::new(partitions);
        world.owned = owned;
        for (step, index) in (0..).zip(order) {
            let at = begin.plus(step * apart);
            world.tick(at);
            let (vouches, record) = &records[*index];
            world.arrive_from(record, at, |source| {
                source.owners = if *vouches { owned } else { Owned::default() };
            });
        }
        world.tick(begin.plus(40 * MINUTE));
        counted(&world)
    };
    let of = |event: &str, user: &str, how| {
        let key = (event.to_owned(), user.to_owned());
        (key, (how, String::new()))
    };
    let mut plain = BTreeMap::from([
        of("guest", "guest@example.com", Assurance::Claimed),
        of("caller", CALLER, Assurance::Claimed),
        of("asked", CALLER, Assurance::Joined),
    ]);
    let (gateway, (claimed, _)) = of("gateway", OWNER, Assurance::Claimed);
    plain.insert(gateway, (claimed, "theirs".to_owned()));
    let mut vouched = plain.clone();
    // The model of another call is none of theirs.
    vouched.extend([
        of("alone", OWNER, Assurance::Joined),
        of("asked", OWNER, Assurance::Conflicting),
    ]);
    let keys = Owned::of(["api_key"]);
    let orders = orders(&[0, 1, 2, 3, 4]);
    assert_eq!(orders.len(), 120);
    for order in &orders {
        for partitions in PARTITIONS {
            for apart in PACES {
                let told = format!("{order:?} {apart} {partitions}");
                assert_eq!(run(order, apart, partitions, keys), vouched, "{told}");
            }
            let undeclared = run(order, SECOND, partitions, Owned::default());
            assert_eq!(undeclared, plain, "{order:?} {partitions}");
        }
    }
    // Over a horizon away nobody owns it: each of the five comes 16 minutes after the one before.
    let far = run(&[0, 2, 4, 3, 1], 16 * MINUTE, 4, keys);
    assert!(!far.keys().any(|(event, _)| event == "alone"), "{far:?}");
}
