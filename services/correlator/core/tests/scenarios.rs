//! Runs every file of `scenarios/`. A line is a record — `<seconds> <lane> <what> …` — and the
//! lines behind it that start with `=>` are all it must cause, in order. `#` is a comment.
//!
//! ```text
//! 0   normal event e1 request:r1 model=m1      0.5 bulk hint alice request:r1 j=900 verified
//! 1   bulk stub e1 session:s1 in=3             2   all tick        3   urgent barrier 7
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use balefire_correlator_core::{Config, Correlator, Effect, Record};
use balefire_event::{
    Assurance, BarrierId, CorrelationKey, DedupId, Event, Hint, Identity, IdentityKind, KeyKind,
    Lane, Sealed, Stub, SubjectRef, Timestamp,
};

fn seconds(text: &str) -> i64 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = format!("{part:0<9}");
    whole.parse::<i64>().unwrap() * 1_000_000_000 + part.parse::<i64>().unwrap()
}

fn shown(time: i64) -> String {
    let (whole, part) = (
        time.div_euclid(1_000_000_000),
        time.rem_euclid(1_000_000_000),
    );
    let part = format!("{part:09}");
    let part = part.trim_end_matches('0');
    let dot = if part.is_empty() { "" } else { "." };
    format!("{whole}{dot}{part}")
}

fn id(name: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    id
}

fn name(id: &[u8; 16]) -> String {
    let end = id.iter().position(|byte| *byte == 0).unwrap_or(16);
    String::from_utf8(id[..end].to_vec()).unwrap()
}

fn key(word: &str) -> Option<CorrelationKey<'static>> {
    let (kind, value) = word.split_once(':')?;
    Some(CorrelationKey {
        kind: kind.parse().ok()?,
        value: value.to_owned().into(),
    })
}

fn keys(words: &[&str]) -> Vec<CorrelationKey<'static>> {
    words.iter().filter_map(|word| key(word)).collect()
}

fn option<'w>(words: &[&'w str], name: &str) -> Option<&'w str> {
    words
        .iter()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn event(at: Timestamp, words: &[&str]) -> Event<'static> {
    let text = |name| option(words, name).unwrap_or("").to_owned().into();
    Event {
        dedup_id: DedupId(id(words[0])),
        event_id: words[0].to_owned().into(),
        source: "app".into(),
        received_at: at,
        t: option(words, "t").map_or(at, |t| Timestamp(seconds(t))),
        control_revision: option(words, "revision").map_or(0, |n| n.parse().unwrap()),
        keys: keys(words),
        hold: option(words, "hold").map_or(0, seconds),
        model: text("model"),
        endpoint: text("endpoint"),
        src_ip: text("src_ip"),
        ..Event::default()
    }
}

fn hint(at: Timestamp, words: &[&str]) -> Hint<'static> {
    let fact = |name: &str| {
        Some((
            name.to_owned().into(),
            option(words, name)?.to_owned().into(),
        ))
    };
    Hint {
        keys: keys(words),
        identity: Identity {
            subject_ref: SubjectRef(id(words[0])),
            kind: IdentityKind::User,
            assurance: if words.contains(&"verified") {
                Assurance::Verified
            } else {
                Assurance::Claimed
            },
            via: "user_id".into(),
            label: Some(Sealed::plain(words[0].to_owned().into())),
        },
        source: option(words, "from").unwrap_or("gateway").to_owned().into(),
        received_at: at,
        join_horizon: seconds(option(words, "j").unwrap_or("900")),
        authority: option(words, "authority").map_or(1, |n| n.parse().unwrap()),
        facts: ["model", "endpoint", "src_ip"]
            .iter()
            .filter_map(|name| fact(name))
            .collect(),
        dedup_id: DedupId(id("hint")),
    }
}

fn apply(core: &mut Correlator, line: &str) -> Vec<Effect> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = Timestamp(seconds(words[0]));
    let rest = &words[3..];
    let lanes: Vec<Lane> = match words[1] {
        "all" => Lane::ALL.to_vec(),
        lane => vec![lane.parse().unwrap()],
    };
    let mut effects = Vec::new();
    for lane in lanes {
        let effects = &mut effects;
        match words[2] {
            "event" => core.apply(lane, "acme", Record::Event(&event(at, rest)), effects),
            "hint" => core.apply(lane, "acme", Record::Hint(&hint(at, rest)), effects),
            "tick" => core.apply(lane, "", Record::Tick(at), effects),
            "barrier" => {
                let id = BarrierId(id(rest[0]));
                core.apply(lane, "", Record::Barrier(id, at), effects);
            }
            "stub" => {
                let stub = Stub {
                    key: key(rest[1]).unwrap(),
                    dedup_id: DedupId(id(rest[0])),
                    partition: option(rest, "in").unwrap().parse().unwrap(),
                    first_key: CorrelationKey {
                        kind: KeyKind::Request,
                        value: "elsewhere".into(),
                    },
                    received_at: at,
                };
                core.apply(lane, "acme", Record::Stub(&stub), effects);
            }
            other => panic!("unknown record {other}"),
        }
    }
    effects
}

fn said(effect: &Effect) -> String {
    match effect {
        Effect::Emit { lane, event, .. } => {
            let join = event.join.as_ref().unwrap();
            let what = match (join.partial, join.amendment) {
                (true, _) => "partial",
                (false, true) => "amended",
                (false, false) => "joined",
            };
            let mut text = format!("{lane} {what} {}", event.event_id);
            if event.control_revision > 0 {
                text += &format!(" revision={}", event.control_revision);
            }
            if let Some(user) = &event.user {
                let (who, how) = (user.readable().unwrap(), user.assurance);
                text += &format!(" {who} {how} {}", user.via);
            }
            for field in join.filled.iter().filter(|field| *field != "user_id") {
                let value = match field.as_str() {
                    "model" => &event.model,
                    "endpoint" => &event.endpoint,
                    _ => &event.src_ip,
                };
                text += &format!(" {field}={value}");
            }
            assert_eq!(
                join.filled.contains(&"user_id".to_owned()),
                event.user.is_some()
            );
            text
        }
        Effect::Forward {
            partition, hint, ..
        } => {
            let key = &hint.keys[0];
            format!(
                "forward {} {}:{} to {partition} stamped {} j={}",
                hint.identity.readable().unwrap(),
                key.kind,
                key.value,
                shown(hint.received_at.0),
                shown(hint.join_horizon),
            )
        }
        Effect::BarrierOut { id, .. } => format!("barrier {}", name(&id.0)),
        Effect::Watermark { at } => format!("watermark {}", shown(at.0)),
        Effect::Repair { from } => format!("repair {}", shown(from.0)),
    }
}

fn run(file: &std::path::Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut core = Correlator::new(Config::new(0, 4));
    let mut pending: Vec<String> = Vec::new();
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap().trim());
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let place = format!("{}:{}", file.display(), number + 1);
        if let Some(expected) = line.strip_prefix("=>") {
            assert!(
                !pending.is_empty(),
                "{place}: nothing happened, expected {expected}"
            );
            assert_eq!(pending.remove(0), expected.trim(), "{place}");
        } else {
            assert_eq!(pending, Vec::<String>::new(), "{place}: not expected");
            pending = apply(&mut core, line).iter().map(said).collect();
        }
    }
    assert_eq!(
        pending,
        Vec::<String>::new(),
        "{}: at the end",
        file.display()
    );
}

#[test]
fn every_scenario_has_exactly_its_effects() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        run(&file);
    }
}
