//! Runs `tests/scenarios/*.txt` with the rules as people write them. Each file reads as a log:
//!
//! ```text
//! rules baseline                                   the pack of the product
//! rule NAME CATEGORY more than N in DURATION [rearm DURATION]
//! rule NAME each CATEGORY
//! 10:00:00 CATEGORY USER [id=X] [x11 every=1s] [received=10:30:00] [late] [future] [copy]
//!          [severity=high] [tool_allowed=false] [assurance=claimed] [backfill] [lane=urgent]
//! tick 12:00:00                                    in every lane
//! expect RULE USER KIND [slot=10:00:00] [at=10:00:10] [events=11] [ids=a,b] [timing=late] [backfill]
//! expect nothing
//! ```
//! `expect` lines name everything that came out since the `expect` lines before, in order. Times
//! are of 2026-02-11, UTC; `@-5s` lies five seconds before 1970. `#` begins a comment.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it is wrong"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use balefire_event::identity::TenantKey;
use balefire_event::time::SECOND;
use balefire_event::{
    Category, DedupId, Escalation, Event, Identity, IdentityKind, Lane, Sealed, SubjectRef,
    Timestamp, Timing,
};
use balefire_rule::{RuleSet, baseline};
use balefire_rule_engine_core::{BatchHeader, Effect, Engine, EngineConfig};

const TENANT: &str = "default";

/// Words of a line: those with `=` apart from the others.
struct Words<'l> {
    plain: Vec<&'l str>,
    named: BTreeMap<&'l str, &'l str>,
}

impl<'l> Words<'l> {
    fn of(line: &'l str) -> Self {
        let (named, plain): (Vec<_>, Vec<_>) =
            line.split_whitespace().partition(|word| word.contains('='));
        let named = named
            .into_iter()
            .filter_map(|w| w.split_once('='))
            .collect();
        Self { plain, named }
    }
    fn has(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }
    fn get(&self, index: usize) -> &'l str {
        self.plain.get(index).copied().unwrap_or_default()
    }
}

fn seconds(text: &str) -> i64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: i64 = number.parse().unwrap();
    match unit {
        "s" => number,
        "m" => number * 60,
        "h" => number * 3600,
        _ => panic!("no duration: {text}"),
    }
}

fn time(text: &str) -> Timestamp {
    match text.strip_prefix('@') {
        Some(offset) => Timestamp(seconds(offset) * SECOND),
        None => Timestamp::parse(&format!("2026-02-11T{text}Z")).unwrap(),
    }
}

/// The YAML of a `rule` line, as an analyst would write it.
fn yaml(words: &Words<'_>, index: usize) -> String {
    let name = words.get(1);
    let base = format!("00000000-0000-4000-8000-0000000000{index:02}");
    let own = format!("00000000-0000-4000-9000-0000000000{index:02}");
    let rule = |id: &str, name: &str, category: &str| {
        format!(
            "title: {name}\nid: {id}\nname: {name}\nlogsource:\n  product: ai_security\ndetection:\n  selection:\n    category: {category}\n  condition: selection\nlevel: high\n"
        )
    };
    if words.get(2) == "each" {
        return rule(&own, name, words.get(3));
    }
    let (n, window) = (words.get(5), words.get(7));
    let rearm = if words.get(8) == "rearm" {
        words.get(9)
    } else {
        window
    };
    let matched = rule(&base, &format!("{name}_base"), words.get(2));
    format!(
        "{matched}---\ntitle: {name}\nid: {own}\nname: {name}\ncorrelation:\n  type: event_count\n  rules: [{name}_base]\n  group-by: [user_id]\n  timespan: {window}\n  condition:\n    gt: {n}\nlevel: high\nbalefire:\n  rearm: {rearm}\n"
    )
}

struct Scenario {
    engine: Engine,
    /// Everything put in so far, for repairs.
    log: Vec<(Lane, Event<'static>)>,
    out: Vec<Escalation>,
    unread: Vec<String>,
    sent: usize,
}

impl Scenario {
    fn new(rules: RuleSet) -> Self {
        let engine = Engine::new(0, &[(0, Arc::new(rules))], EngineConfig::new(1)).unwrap();
        Self {
            engine,
            log: Vec::new(),
            out: Vec::new(),
            unread: Vec::new(),
            sent: 0,
        }
    }

    fn events(&mut self, words: &Words<'_>) {
        let first = time(words.get(0));
        let times = words
            .plain
            .iter()
            .find_map(|w| w.strip_prefix('x')?.parse().ok());
        let every = words.named.get("every").map_or(0, |text| seconds(text));
        for index in 0..times.unwrap_or(1i64) {
            let t = first.plus(index * every * SECOND);
            let mut event = self.event(words, t);
            if let Some(received) = words.named.get("received") {
                event.received_at = time(received).plus(index * every * SECOND);
            }
            let lane = words.named.get("lane").map_or_else(
                || Lane::of(event.category, None),
                |lane| lane.parse().unwrap(),
            );
            self.put(lane, event);
        }
    }

    fn event(&mut self, words: &Words<'_>, t: Timestamp) -> Event<'static> {
        self.sent += 1;
        let id = words
            .named
            .get("id")
            .map_or(format!("e{}", self.sent), |id| (*id).to_owned());
        let decision = balefire_event::Digest::default();
        let mut timing = [Timing::Late, Timing::Future].into_iter();
        let timing = timing.find(|timing| words.has(&timing.as_str().to_lowercase()));
        let said = words
            .named
            .get("severity")
            .map(|word| word.parse().unwrap());
        Event {
            dedup_id: DedupId::of(TENANT, "scenario", &id, &decision),
            event_id: id.into(),
            occurred_at: t,
            received_at: t,
            t,
            timing: timing.unwrap_or(Timing::OnTime),
            category: words.get(1).parse::<Category>().unwrap(),
            severity: said.unwrap_or(balefire_event::Severity::Medium),
            tool_allowed: words.named.get("tool_allowed").map(|word| *word == "true"),
            user: (words.get(2) != "-").then(|| identity(words)),
            backfill: words.has("backfill"),
            ..Event::default()
        }
    }

    fn put(&mut self, lane: Lane, event: Event<'static>) {
        let header = BatchHeader {
            tenant: TENANT,
            lateness_max: event.lateness,
            received_at_max: event.received_at,
        };
        let mut effects = Vec::new();
        self.engine.batch_start(lane, &header);
        self.engine.event(0, &event, &mut effects);
        self.engine.batch_end(&mut effects);
        self.log.push((lane, event));
        self.act(effects);
    }

    fn tick(&mut self, at: Timestamp) {
        for lane in Lane::ALL {
            let header = BatchHeader {
                tenant: "",
                lateness_max: 0,
                received_at_max: at,
            };
            let mut effects = Vec::new();
            self.engine.batch_start(*lane, &header);
            self.engine.tick(at);
            self.engine.batch_end(&mut effects);
            self.act(effects);
        }
    }

    fn act(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Escalate(escalation) => {
                    self.unread.push(line(&escalation));
                    self.out.push(*escalation);
                }
                Effect::Repair(_) => {
                    let mut found = Vec::new();
                    self.engine.repair_begin();
                    for escalation in &self.out {
                        self.engine.load_escalation(escalation);
                    }
                    for (lane, event) in &self.log {
                        self.engine.repair_event(*lane, TENANT, event, &mut found);
                    }
                    self.engine.repair_end();
                    self.act(found);
                }
                Effect::BarrierOut { .. }
                | Effect::DeadLetter { .. }
                | Effect::Rekey(_)
                | Effect::Promise { .. } => panic!("{effect:?}"),
            }
        }
    }
}

fn identity(words: &Words<'_>) -> Identity<'static> {
    let key = TenantKey::default_of(TENANT);
    let name = words.get(2).to_owned();
    Identity {
        subject_ref: SubjectRef::of(&key, IdentityKind::User, &name),
        kind: IdentityKind::User,
        assurance: words
            .named
            .get("assurance")
            .unwrap_or(&"verified")
            .parse()
            .unwrap(),
        via: "user_id".into(),
        label: Some(Sealed::plain(name.into())),
    }
}

/// An escalation with every word that an `expect` line may have.
fn line(escalation: &Escalation) -> String {
    let user = escalation.key.first().map(|part| part.readable.as_str());
    // A closed slot knows a reference of its user, no name.
    let user = user.filter(|name| !name.is_empty()).unwrap_or("-");
    let ids: Vec<&str> = escalation
        .evidence
        .iter()
        .map(|item| item.event_id.as_str())
        .collect();
    let approvals = escalation.recommended_actions.iter();
    let approvals: Vec<String> = approvals
        .map(|action| format!("{}={}", action.name, action.approval.as_str()))
        .collect();
    format!(
        "{} {user} {} slot={} at={} events={} ids={} timing={} {}{}",
        escalation.rule_name,
        escalation.kind.as_str(),
        clock(escalation.slot_start),
        clock(escalation.breach_at),
        escalation.event_count,
        ids.join(","),
        escalation.timing.as_str().to_lowercase(),
        approvals.join(" "),
        if escalation.backfill { " backfill" } else { "" },
    )
}

fn clock(t: Timestamp) -> String {
    let text = t.to_string();
    match text
        .strip_prefix("2026-02-11T")
        .and_then(|rest| rest.strip_suffix(".000000000Z"))
    {
        Some(clock) => clock.to_owned(),
        None => format!("@{}s", t.0.div_euclid(SECOND)),
    }
}

/// Whether what came out has every word that was expected, the first three in their places.
fn agrees(expected: &str, found: &str) -> bool {
    let wanted: Vec<&str> = expected.split_whitespace().collect();
    let words: Vec<&str> = found.split_whitespace().collect();
    wanted.iter().take(3).eq(words.iter().take(3))
        && wanted.iter().skip(3).all(|word| words.contains(word))
        && wanted.contains(&"backfill") == words.contains(&"backfill")
}

fn run(text: &str) -> Result<usize, String> {
    let lines = || {
        let bare = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        bare.enumerate().filter(|(_, line)| !line.is_empty())
    };
    let written: Vec<(String, String)> = lines()
        .filter(|(_, line)| line.starts_with("rule "))
        .map(|(number, line)| (format!("{number}.yml"), yaml(&Words::of(line), number)))
        .collect();
    let rules = if written.is_empty() {
        baseline()
    } else {
        RuleSet::parse(&written)
    };
    let rules = rules.map_err(|faults| format!("{faults:?}"))?;
    let mut scenario = Scenario::new(rules);
    let mut checked = 0;
    let mut expecting = false;
    for (number, line) in lines() {
        let words = Words::of(line);
        let fail = |what: String| format!("line {}: {line}\n{what}", number + 1);
        if words.get(0) != "expect" && expecting && !scenario.unread.is_empty() {
            return Err(fail(format!("before it came also {:#?}", scenario.unread)));
        }
        expecting = words.get(0) == "expect";
        match words.get(0) {
            "rule" | "rules" => {}
            "tick" => scenario.tick(time(words.get(1))),
            "expect" if words.get(1) == "nothing" => {
                checked += 1;
                if !scenario.unread.is_empty() {
                    return Err(fail(format!("{:#?}", scenario.unread)));
                }
            }
            "expect" => {
                checked += 1;
                let wanted = line.trim_start_matches("expect ");
                let agreed = scenario
                    .unread
                    .first()
                    .is_some_and(|found| agrees(wanted, found));
                if !agreed {
                    return Err(fail(format!("came out: {:#?}", scenario.unread)));
                }
                scenario.unread.remove(0);
            }
            _ => scenario.events(&words),
        }
    }
    if scenario.unread.is_empty() {
        Ok(checked)
    } else {
        Err(format!("not expected: {:#?}", scenario.unread))
    }
}

#[test]
fn every_scenario_comes_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 6, "scenarios are missing");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        match run(&text) {
            Ok(checked) => assert!(checked > 0, "{} expects nothing at all", file.display()),
            Err(why) => panic!("{}: {why}", file.display()),
        }
    }
}

#[test]
fn a_scenario_that_is_wrong_fails() {
    let event = "rule r each prompt_attack\n10:00:00 prompt_attack jgill\n";
    assert_eq!(run(&format!("{event}expect r jgill RAISED")), Ok(1));
    for wrong in [
        "expect nothing",
        "expect r jgill CONTINUED",
        "expect r other RAISED",
        "",
    ] {
        assert!(run(&format!("{event}{wrong}")).is_err(), "{wrong}");
    }
}
