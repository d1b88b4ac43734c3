//! Kinds of receivers against fakes that answer as the vendors do.

use std::time::Duration;

use balefire_event::time::SECOND;
use balefire_notifier::Config;
use balefire_notifier_core::backoff::Backoff;
use balefire_notifier_core::receiver::{
    Target, elastic, jira, pagerduty, sentinel, servicenow, splunk, syslog,
};
use balefire_notifier_core::route::ReceiverEntry;
use balefire_notifier_core::view::Classification;
use tokio::io::AsyncReadExt as _;

use crate::receiver::{Act, Receiver};
use crate::world::{World, entry, escalation, until};

const BACKOFF: Backoff = Backoff {
    attempts_max: 3,
    first: SECOND / 50,
    cap: SECOND / 10,
    retry_after_max: 2 * SECOND,
};

pub fn config(receivers: Vec<(Target, &str, &str)>) -> Config {
    let mut entries = Vec::new();
    let mut secrets = Vec::new();
    for (target, url, secret) in receivers {
        entries.push(ReceiverEntry {
            target: target.clone(),
            max_classification: Classification::Confidential,
            ..entry(&target.name().replace('_', "-"), url)
        });
        secrets.push((!secret.is_empty()).then(|| secret.to_owned()));
    }
    Config::of(&entries, &secrets, BACKOFF, Duration::from_secs(2)).expect("good receivers")
}

fn base(receiver: &Receiver) -> &str {
    receiver.url.trim_end_matches("/hook")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_target_is_spoken_to_in_its_own_way() {
    let mut world = World::start().await;
    let id = "01".repeat(16);
    let busy = Act::Answer(503, r#"{"text":"Server is busy","code":9}"#);
    let taken = Act::Answer(200, r#"{"text":"Success","code":0}"#);
    let hec = Receiver::start(&[busy], taken).await;
    let later = Act::Answer(
        200,
        r#"{"errors":true,"items":[{"create":{"status":429}}]}"#,
    );
    let there = Act::Answer(
        200,
        r#"{"errors":true,"items":[{"create":{"status":409}}]}"#,
    );
    let bulk = Receiver::start(&[later], there).await;
    let pager = Receiver::start(&[Act::Answer(429, "")], Act::Answer(202, "{}")).await;
    let none = Act::Answer(200, r#"{"result":[]}"#);
    let incident = Receiver::start(&[none], Act::Answer(201, "{}")).await;
    let config = config(vec![
        (
            Target::Splunk(splunk::Config::default()),
            base(&hec),
            "hec-token",
        ),
        (Target::Elastic(elastic::Config::default()), base(&bulk), ""),
        (
            Target::Pagerduty(pagerduty::Config::default()),
            base(&pager),
            "R123",
        ),
        (
            Target::ServicenowIncident(servicenow::IncidentConfig::default()),
            base(&incident),
            "bale:fire",
        ),
    ]);
    let notifier = world.notifier(&config).await;
    world.escalate(0, &[escalation(1)]).await;
    notifier.settled(&world).await;
    assert!(notifier.open_letters().await.is_empty());
    let said = |receiver: &Receiver| -> Vec<(String, String)> {
        let one = |request: crate::receiver::Request| {
            let authorization = request.headers.get("authorization").cloned();
            (request.line, authorization.unwrap_or_default())
        };
        receiver.requests().into_iter().map(one).collect()
    };
    let event = (
        "POST /services/collector/event".into(),
        "Splunk hec-token".into(),
    );
    assert_eq!(said(&hec), vec![event; 2]);
    assert_eq!(bulk.requests().len(), 2);
    assert_eq!(bulk.requests()[0].body, bulk.requests()[1].body);
    let pages = pager.requests();
    assert_eq!(pages.len(), 2);
    assert_eq!(pages[0].body, pages[1].body);
    assert_eq!(pages[0].json()["routing_key"], "R123");
    assert_eq!(pages[0].json()["dedup_key"], id);
    let lines: Vec<_> = said(&incident).into_iter().map(|(line, _)| line).collect();
    assert!(lines[0].starts_with("GET /api/now/table/incident?") && lines[0].contains(&id));
    assert_eq!(lines[1], "POST /api/now/table/incident");
    assert_eq!(incident.requests()[1].json()["correlation_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_before_the_answer_was_lost_is_not_made_again() {
    let mut world = World::start().await;
    // Nothing there; the issue is made, but the answer is lost; then it is found.
    let script = [Act::Answer(200, r#"{"issues":[]}"#), Act::Reset];
    let found = Act::Answer(200, r#"{"issues":[{"key":"A-1"}]}"#);
    let jira = Receiver::start(&script, found).await;
    let target = Target::Jira(jira::Config {
        project: "A".into(),
        ..jira::Config::default()
    });
    let config = config(vec![(target, base(&jira), "a@b.example:token")]);
    let notifier = world.notifier(&config).await;
    world.escalate(0, &[escalation(1)]).await;
    notifier.settled(&world).await;
    let requests = jira.requests();
    let posts = requests.iter().filter(|one| one.line.starts_with("POST"));
    assert_eq!((requests.len(), posts.count()), (3, 1));
    assert!(notifier.open_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_bought_once_and_again_when_it_is_refused() {
    let mut world = World::start().await;
    let sold = Act::Answer(200, r#"{"access_token":"t","expires_in":3600}"#);
    let login = Receiver::start(&[], sold).await;
    let rows = Receiver::start(&[Act::Status(401)], Act::Status(204)).await;
    let target = Target::Sentinel(sentinel::Config {
        dcr: "dcr-1".into(),
        stream: "Custom-Balefire_CL".into(),
        tenant_id: "tenant".into(),
        client_id: "client".into(),
        login_url: Some(base(&login).to_owned()),
    });
    let config = config(vec![(target, base(&rows), "s&cret")]);
    let notifier = world.notifier(&config).await;
    world.escalate(0, &[escalation(1)]).await;
    notifier.settled(&world).await;
    world.escalate(1, &[escalation(2)]).await;
    notifier.settled(&world).await;
    assert_eq!((login.requests().len(), rows.requests().len()), (2, 3));
    let bought = String::from_utf8(login.requests()[0].body.clone()).unwrap();
    assert!(bought.contains("client_secret=s%26cret"), "{bought}");
    let first = &rows.requests()[0];
    assert_eq!(first.headers["authorization"], "Bearer t");
    assert_eq!(first.headers["content-encoding"], "gzip");
    assert!(first.body.starts_with(&[0x1f, 0x8b]));
    assert_eq!(first.body, rows.requests()[1].body, "the same again");
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_is_one_counted_message() {
    let mut world = World::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let reading = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    });
    let config = config(vec![(Target::Syslog(syslog::Config::default()), &url, "")]);
    let notifier = world.notifier(&config).await;
    world.escalate(0, &[escalation(1)]).await;
    notifier.settled(&world).await;
    until("the message", async || reading.is_finished().then_some(())).await;
    let text = reading.await.unwrap();
    let (length, message) = text.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), message.len());
    assert!(
        message.starts_with("<107>1 ") && message.contains("|Prompt attack|8|"),
        "{message}"
    );
}
