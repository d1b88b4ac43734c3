//! Rules tried out on the recorded log, and escalations explained from it.

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{CorrelationKey, Event, Extension, KeyKind};
use balefire_rule_engine::baseline_files;
use balefire_wire::control::v1 as control;
use balefire_wire::control::v1::control_service_client::ControlServiceClient;
use balefire_wire::escalation::v1::{Escalation, ExplainEscalationRequest};
use balefire_wire::whatif::v1::evaluate_response::Answer;
use balefire_wire::whatif::v1::what_if_service_client::WhatIfServiceClient;
use balefire_wire::whatif::v1::{
    CandidateFile, Difference, EvaluateRequest, Outcome, Progress, Summary,
};
use tonic::{Code, Status};

use crate::objects::rule;
use crate::world::{Engine, World, block, blocks};

const BURST: &str = "guardrail_block_burst.yml";
/// Of the first of `blocks`, in seconds.
const T0: i64 = 1_770_820_200;

struct Told {
    progress: Vec<Progress>,
    differences: Vec<Difference>,
    summary: Summary,
}

impl Told {
    fn counts(&self) -> (u64, u64, u64) {
        let summary = &self.summary;
        (summary.added, summary.removed, summary.unchanged)
    }

    fn of(&self, outcome: Outcome) -> BTreeSet<Vec<u8>> {
        let differences = self.differences.iter();
        let of = differences.filter(|difference| difference.outcome() == outcome);
        of.map(|difference| {
            let escalation = difference.escalation.as_ref().unwrap();
            escalation.escalation_id.to_vec()
        })
        .collect()
    }
}

fn request(files: Vec<(String, String)>, overlay: bool) -> EvaluateRequest {
    EvaluateRequest {
        files: files
            .into_iter()
            .map(|(name, yaml)| CandidateFile { name, yaml })
            .collect(),
        overlay,
        since_ns: (T0 - 3600) * 1_000_000_000,
        unchanged: true,
    }
}

async fn try_out(engine: &Engine, request: EvaluateRequest) -> Result<Told, Status> {
    let mut client = WhatIfServiceClient::new(engine.channel.clone());
    let mut answers = client.evaluate(request).await?.into_inner();
    let (mut progress, mut differences) = (Vec::new(), Vec::new());
    while let Some(answer) = answers.message().await? {
        match answer.answer.unwrap() {
            Answer::Progress(one) => progress.push(one),
            Answer::Difference(one) => differences.push(one),
            Answer::Summary(summary) => {
                return Ok(Told {
                    progress,
                    differences,
                    summary,
                });
            }
        }
    }
    panic!("no summary");
}

/// The baseline with another threshold of its burst.
fn burst_of(more_than: u32) -> String {
    let files: BTreeMap<String, String> = baseline_files().into_iter().collect();
    files[BURST].replace("gt: 10", &format!("gt: {more_than}"))
}

fn baseline_with(more_than: u32) -> Vec<(String, String)> {
    let mut files = baseline_files();
    for (name, yaml) in &mut files {
        if name == BURST {
            *yaml = burst_of(more_than);
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn todays_rules_on_the_log_make_no_difference_and_others_make_theirs() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    // Ten, eleven, and thirty within five minutes.
    world.append(&blocks("ten", 0..10)).await;
    world.append(&blocks("eleven", 0..11)).await;
    world.append(&blocks("thirty", 0..30)).await;
    let raised = engine.listed(2).await;
    let ids: BTreeSet<Vec<u8>> = raised.iter().map(|e| e.escalation_id.to_vec()).collect();

    let same = try_out(&engine, request(baseline_files(), false))
        .await
        .unwrap();
    assert_eq!(same.counts(), (0, 0, 2), "{:?}", same.summary);
    assert_eq!(same.of(Outcome::Unchanged), ids);
    assert_eq!(same.summary.events, 51);
    let last = same.progress.last().unwrap();
    assert_eq!((last.messages, last.events), (last.messages_total, 51));

    let stricter = try_out(&engine, request(baseline_with(20), false))
        .await
        .unwrap();
    assert_eq!(stricter.counts(), (0, 1, 1), "{:?}", stricter.summary);
    assert!(stricter.of(Outcome::Removed).is_subset(&ids));

    let looser = try_out(&engine, request(baseline_with(5), false))
        .await
        .unwrap();
    assert_eq!(looser.counts(), (1, 0, 2), "{:?}", looser.summary);
    assert!(looser.of(Outcome::Added).is_disjoint(&ids));

    // Laid over what is in force, only the rules of the file are told of.
    let none = rule("each_block", "high").replace("prompt_attack", "guardrail_block");
    let file = vec![("each_block.yml".to_owned(), none)];
    let each = try_out(&engine, request(file, true)).await.unwrap();
    assert_eq!(each.counts(), (51, 0, 0), "{:?}", each.summary);
    assert_eq!(each.summary.rules[0].rule, "each_block");
    let file = vec![(BURST.to_owned(), burst_of(10_000))];
    let silent = try_out(&engine, request(file, true)).await.unwrap();
    assert_eq!(silent.counts(), (0, 2, 0), "{:?}", silent.summary);

    // What started before is not compared.
    let mut later = request(baseline_with(5), false);
    later.since_ns += 2 * 3600 * 1_000_000_000;
    let later = try_out(&engine, later).await.unwrap();
    assert_eq!(later.counts(), (0, 0, 0));
    // Nothing of all that is in the log.
    assert_eq!(engine.list().await.len(), 2);
    engine.stop().await;
}

/// A rule counted elsewhere than its events lie, and one of every field that is looked at seldom.
const SELDOM: &str = "title: b
id: 00000000-0000-4000-8000-0000000000b1
name: b
level: low
logsource: {product: ai_security}
detection: {selection: {category: guardrail_block}, condition: selection}
---
title: burst on a model
id: 00000000-0000-4000-8000-0000000000b2
name: model_burst
level: high
correlation: {type: event_count, rules: [b], group-by: [model], timespan: 5m, condition: {gt: 4}}
---
title: a team's own words
id: 00000000-0000-4000-8000-0000000000b3
name: own_words
level: high
logsource: {product: ai_security}
detection:
  team: {labels.team: red}
  place: {place: attic}
  said: {reason|contains: knock}
  condition: team and place and said
fields: [request_id, agent_id, model]
";

/// Ten blocks on one model, each of another user; every third is of the team and says so.
fn of_many_users() -> Vec<Event<'static>> {
    let event = |number: i64| {
        let user = format!("user-{number}");
        let mut event = Event {
            model: "opus".into(),
            reason: "a knöck, a knock".into(),
            ..block(&format!("opus-{number}"), &user, number)
        };
        if number % 3 == 0 {
            event.labels = vec![("team".into(), "red".into())];
            event.extensions = vec![Extension {
                name: "place".into(),
                json: "\"attic\"".into(),
            }];
            event.keys = vec![CorrelationKey {
                kind: KeyKind::Request,
                value: format!("request-{number}").into(),
            }];
        }
        event
    };
    (0..10).map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_look_at_other_fields_and_other_keys_than_the_users_are_evaluated_the_same() {
    let world = World::start().await;
    let files = vec![("seldom.yml".to_owned(), SELDOM.to_owned())];
    let engine = world.engine_under(files.clone(), false).await;
    world.append(&of_many_users()).await;
    let raised = engine.listed(5).await;
    let mut rules: Vec<&str> = raised.iter().map(|e| e.rule_name.as_str()).collect();
    rules.sort_unstable();
    let words = [&["model_burst"][..], &["own_words"; 4]].concat();
    assert_eq!(rules, words);
    let same = try_out(&engine, request(files, false)).await.unwrap();
    assert_eq!(same.counts(), (0, 0, 5), "{:?}", same.summary);
    assert_eq!(same.summary.events, 10);
    // What is shown of them is what was shown. A window that is raised has the evidence of what had
    // come by then, and the partitions may come in another order.
    let shown = |e: &Escalation| {
        let alone = e.rule_name == "own_words";
        let evidence = alone.then(|| e.evidence.clone());
        (e.escalation_id.clone(), e.key.clone(), evidence)
    };
    let would = same.differences.iter();
    let would = would.filter_map(|one| one.escalation.as_ref());
    let would: Vec<_> = would.map(shown).collect();
    for escalation in &raised {
        assert!(would.contains(&shown(escalation)), "{escalation:?}");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_a_fault_is_refused_with_its_line() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    engine.ready().await;
    let faulty = rule("faulty", "high").replace("condition: selection", "condition: nothing");
    for (files, since_ns, word) in [
        (vec![("faulty.yml".to_owned(), faulty)], 1, "faulty.yml:"),
        (Vec::new(), 1, "files"),
        (baseline_files(), 0, "since_ns"),
    ] {
        let request = EvaluateRequest {
            since_ns,
            ..request(files, false)
        };
        let refused = try_out(&engine, request).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(format!("{refused:?}").contains(word), "{refused:?}");
    }
    engine.stop().await;
}

async fn set_threshold(engine: &Engine, more_than: u32) -> u64 {
    let object = control::Object {
        name: "guardrail_block_burst".into(),
        spec: Some(control::Spec {
            kind: Some(control::spec::Kind::Rule(control::RuleSpec {
                yaml: burst_of(more_than),
                ..Default::default()
            })),
        }),
        ..Default::default()
    };
    let request = control::UpdateObjectRequest {
        object: Some(object),
        update_mask: vec!["spec.yaml".into()],
        r#override: true,
        ..Default::default()
    };
    let mut client = ControlServiceClient::new(engine.channel.clone());
    let answer = client.update_object(request).await.unwrap().into_inner();
    answer.object.unwrap().control_revision
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escalation_is_explained_by_the_rule_that_decided_and_its_events() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    world.append(&blocks("eleven", 0..11)).await;
    let raised = engine.listed(1).await.remove(0);
    let explain = async |id: Vec<u8>| {
        let request = ExplainEscalationRequest {
            escalation_id: id.into(),
        };
        engine.client.clone().explain_escalation(request).await
    };
    let before = explain(raised.escalation_id.to_vec())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        before.condition,
        "more than 10 events in 5 minutes by user_id"
    );
    assert_eq!(before.events.len(), 11);
    assert_eq!(before.events_missing, 0);
    let of: Vec<String> = before
        .events
        .iter()
        .map(|event| event.event.as_ref().unwrap().event_id.clone())
        .collect();
    assert_eq!(of.first().map(String::as_str), Some("eleven-0000"));
    assert_eq!(of.last().map(String::as_str), Some("eleven-0010"));
    assert_eq!(
        before.window_end_ns - before.window_start_ns,
        300_000_000_000
    );
    assert_eq!(before.rule_object, "guardrail_block_burst");
    assert_eq!((before.rule_object_revision, before.rule_revision), (1, 1));
    assert!(before.rule_yaml.contains("gt: 10"));

    // Another revision decides on other events; the old escalation keeps its own.
    let revision = set_threshold(&engine, 3).await;
    let mut later = blocks("five", 1000..1005);
    for event in &mut later {
        event.control_revision = revision;
    }
    world.append_under(&later, revision).await;
    let second = engine.listed(2).await;
    let second = second
        .iter()
        .find(|e| e.escalation_id != raised.escalation_id);
    let after = explain(second.unwrap().escalation_id.to_vec())
        .await
        .unwrap();
    let after = after.into_inner();
    assert_eq!(
        after.condition,
        "more than 3 events in 5 minutes by user_id"
    );
    assert_eq!(after.rule_object_revision, 2);
    assert_eq!(after.rule_revision, revision);
    let again = explain(raised.escalation_id.to_vec())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, before);

    assert_eq!(
        explain(vec![9; 16]).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        explain(vec![9]).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_changed_twice_while_doors_are_on_different_revisions_replays_to_the_same_ids()
{
    let world = World::start().await;
    let engine = world.engine(false).await;
    engine.ready().await;
    let (mut revisions, mut expected) = (vec![1], 0);
    for more_than in [5, 20] {
        revisions.push(set_threshold(&engine, more_than).await);
    }
    // Two doors stamp by turns: one is a revision behind, and one user spans the changes.
    for (round, user) in (0i64..).zip(["a", "b", "c", "d"]) {
        for part in 0..4i64 {
            let mut events: Vec<_> = (0..8)
                .map(|i| {
                    block(
                        &format!("{user}-{part}-{i}"),
                        user,
                        round * 3600 + part * 8 + i,
                    )
                })
                .collect();
            let turn = usize::try_from(round + part).unwrap();
            let behind = revisions[turn % revisions.len()];
            for event in &mut events {
                event.control_revision = behind;
            }
            world.append_under(&events, behind).await;
        }
        expected += 1;
        engine.listed(expected).await;
    }
    let live: BTreeSet<Vec<u8>> = engine
        .list()
        .await
        .iter()
        .map(|e| e.escalation_id.to_vec())
        .collect();
    engine.stop().await;
    // The same log read by an engine that has no state.
    let again = world.engine(false).await;
    again.ready().await;
    world.append(&blocks("last", 100_000..100_011)).await;
    let mut ids: BTreeSet<Vec<u8>> = again
        .listed(live.len() + 1)
        .await
        .iter()
        .map(|e| e.escalation_id.to_vec())
        .collect();
    ids.retain(|id| live.contains(id));
    assert_eq!(ids, live);
    assert_eq!(again.list().await.len(), live.len() + 1);
    again.stop().await;
}
