//! Random requests of two tenants and three owners against the book: what must hold of all.

use std::collections::BTreeMap;

use balefire_control::{
    Ask, Book, Caller, Decision, Entry, Guard, Key, Kind, Listing, Refusal, Request, Spec, Value,
    decide,
};
use balefire_event::Timestamp;
use proptest::prelude::*;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// A spec that does, of any kind, that says `word` somewhere.
fn spec(kind: Kind, word: &str) -> Spec {
    let fields: Vec<(&str, Value)> = match kind {
        Kind::Rule => vec![("yaml", text(word))],
        Kind::Route => vec![("receivers", Value::Texts(vec![word.into()]))],
        Kind::Receiver => vec![("url", text(&format!("https://{word}.example")))],
        Kind::Silence => vec![
            ("ends_at", text("2026-02-11T14:30:00Z")),
            ("reason", text(word)),
        ],
        Kind::Source => vec![
            ("lateness", text("1h")),
            (
                "authority",
                Value::Number(i64::try_from(word.len()).unwrap_or_default()),
            ),
        ],
        Kind::SeverityMap => vec![
            ("source", text(word)),
            (
                "words",
                Value::Words([("sev1".to_owned(), "high".to_owned())].into()),
            ),
        ],
        Kind::IdentityAlias => vec![
            ("identity_kind", text("user")),
            ("alias", text(word)),
            ("canonical", text("b")),
        ],
        Kind::ApiKey => vec![
            ("subject", text(word)),
            ("scopes", Value::Texts(vec!["read".into()])),
            ("token_blake3", text(&"0a".repeat(32))),
        ],
        Kind::Tenant => vec![
            ("title", text(word)),
            ("deletion_allowed", Value::Flag(true)),
        ],
    };
    fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

fn create(kind: Kind, word: &str, managed_by: &str) -> Ask {
    Ask::Create {
        spec: spec(kind, word),
        labels: BTreeMap::new(),
        managed_by: managed_by.into(),
    }
}

fn update(kind: Kind, word: &str, guard: Guard) -> Ask {
    Ask::Update {
        mask: vec!["spec".into()],
        spec: spec(kind, word),
        labels: BTreeMap::new(),
        managed_by: String::new(),
        guard,
    }
}

fn request(kind: Kind, name: &str, ask: Ask, request_id: &str) -> Request {
    Request {
        kind,
        name: name.into(),
        ask,
        request_id: request_id.into(),
        reason: String::new(),
        purpose: String::new(),
    }
}

const CALLER: Caller<'_> = Caller {
    tenant: "default",
    subject: "alice",
};

/// The book and its log, under one hand.
#[derive(Default)]
struct Log {
    book: Book,
    entries: Vec<Entry>,
}

impl Log {
    fn ask(&mut self, request: &Request) -> Result<Decision, Refusal> {
        let at = Timestamp(i64::try_from(self.entries.len()).unwrap_or_default() * 1_000_000_000);
        let decision = decide(&self.book, CALLER, request, at)?;
        if let Decision::Write(change) = &decision {
            let entry = Entry {
                control_revision: self.entries.len() as u64 + 1,
                actor: CALLER.subject.into(),
                reason: request.reason.clone(),
                at,
                change: (**change).clone(),
            };
            self.entries.push(entry.clone());
            self.book.apply(entry);
        }
        Ok(decision)
    }
}

fn key(kind: Kind, name: &str) -> Key {
    Key {
        tenant: "default".into(),
        kind,
        name: name.into(),
    }
}

#[test]
fn an_identical_orphan_of_the_same_owner_is_adopted_and_another_is_not() {
    for kind in Kind::ALL {
        let mut log = Log::default();
        log.ask(&request(kind, "a", create(kind, "w", "tf"), ""))
            .unwrap();
        let again = log
            .ask(&request(kind, "a", create(kind, "w", "tf"), ""))
            .unwrap();
        assert!(matches!(again, Decision::Nothing(Some(_))), "{kind}");
        for other in [create(kind, "other", "tf"), create(kind, "w", "someone")] {
            let refused = log.ask(&request(kind, "a", other, "")).unwrap_err();
            assert!(matches!(refused, Refusal::Exists(_)), "{kind}: {refused:?}");
        }
    }
}

#[test]
fn a_managed_object_is_changed_by_its_owner_or_by_an_override_that_is_kept() {
    for kind in Kind::ALL {
        let mut log = Log::default();
        log.ask(&request(kind, "a", create(kind, "w", "tf"), ""))
            .unwrap();
        let by = |managed_by: &str, overriding| Guard {
            managed_by: managed_by.into(),
            overriding,
            ..Guard::default()
        };
        let refused = log.ask(&request(
            kind,
            "a",
            update(kind, "by-hand", by("", false)),
            "",
        ));
        assert_eq!(refused, Err(Refusal::Managed("tf".into())), "{kind}");
        log.ask(&request(
            kind,
            "a",
            update(kind, "owner", by("tf", false)),
            "",
        ))
        .unwrap();
        assert!(!log.entries.last().unwrap().change.overridden);
        log.ask(&request(
            kind,
            "a",
            update(kind, "by-hand", by("", true)),
            "",
        ))
        .unwrap();
        assert!(log.entries.last().unwrap().change.overridden, "{kind}");
        assert_eq!(log.book.get(&key(kind, "a")).unwrap().managed_by, "tf");
    }
}

#[test]
fn a_repeated_request_does_nothing_and_another_under_its_id_is_refused() {
    let mut log = Log::default();
    let kind = Kind::Source;
    log.ask(&request(kind, "a", create(kind, "w", ""), "r1"))
        .unwrap();
    let first = log.book.get(&key(kind, "a")).cloned();
    log.ask(&request(
        kind,
        "a",
        update(kind, "longer", Guard::default()),
        "r2",
    ))
    .unwrap();
    let again = log
        .ask(&request(kind, "a", create(kind, "w", ""), "r1"))
        .unwrap();
    assert_eq!(again, Decision::Nothing(first.map(Box::new)));
    let other = log.ask(&request(kind, "b", create(kind, "w", ""), "r1"));
    assert_eq!(other, Err(Refusal::Reused));
    assert_eq!(log.entries.len(), 2);
}

#[test]
fn a_request_id_is_known_for_a_day_and_forgotten_later() {
    let mut log = Log::default();
    let kind = Kind::Source;
    log.ask(&request(kind, "a", create(kind, "w", ""), "r1"))
        .unwrap();
    for (hours, known) in [(25_i64, true), (49, false)] {
        let mut entry = log.entries[0].clone();
        entry.at = Timestamp(hours * 3_600_000_000_000);
        entry.control_revision = 9;
        entry.change.key.name = "z".into();
        entry.change.request_id = String::new();
        let mut book = log.book.clone();
        book.apply(entry);
        assert_eq!(book.done("default", "r1").is_some(), known, "{hours} hours");
    }
}

#[test]
fn a_recreated_object_never_has_a_revision_again() {
    let mut log = Log::default();
    let kind = Kind::Receiver;
    let delete = || Ask::Delete {
        allow_missing: false,
        guard: Guard::default(),
    };
    log.ask(&request(kind, "a", create(kind, "w", ""), ""))
        .unwrap();
    log.ask(&request(kind, "a", delete(), "")).unwrap();
    assert_eq!(
        log.ask(&request(kind, "a", delete(), "")),
        Err(Refusal::Missing)
    );
    log.ask(&request(kind, "a", create(kind, "w", ""), ""))
        .unwrap();
    assert_eq!(log.book.get(&key(kind, "a")).unwrap().revision, 3);
    let stale = Guard {
        expected_revision: 1,
        ..Guard::default()
    };
    let refused = log.ask(&request(kind, "a", update(kind, "v", stale), ""));
    assert_eq!(
        refused,
        Err(Refusal::Conflict {
            expected: 1,
            current: 3
        })
    );
}

#[test]
fn a_mask_changes_what_it_names_and_nothing_else() {
    let mut log = Log::default();
    let kind = Kind::Receiver;
    log.ask(&request(kind, "a", create(kind, "w", ""), ""))
        .unwrap();
    let masked = |mask: &str, fields: Spec| Ask::Update {
        mask: vec![mask.into()],
        spec: fields,
        labels: BTreeMap::new(),
        managed_by: String::new(),
        guard: Guard::default(),
    };
    let three: Spec = [
        ("concurrency".to_owned(), Value::Number(3)),
        ("url".to_owned(), text("x")),
    ]
    .into();
    log.ask(&request(kind, "a", masked("spec.concurrency", three), ""))
        .unwrap();
    let object = log.book.get(&key(kind, "a")).unwrap().clone();
    assert_eq!(object.text("url"), "https://w.example");
    assert_eq!(object.spec.get("concurrency"), Some(&Value::Number(3)));
    let Err(Refusal::Invalid(faults)) =
        log.ask(&request(kind, "a", masked("spec.url", Spec::new()), ""))
    else {
        panic!("a required field was taken away");
    };
    assert_eq!(faults[0].path, "spec.url");
    let Err(Refusal::Invalid(faults)) =
        log.ask(&request(kind, "a", masked("spec.colour", Spec::new()), ""))
    else {
        panic!("a field that is none");
    };
    assert_eq!(faults[0].path, "update_mask");
}

#[test]
fn a_tenant_is_protected_unless_it_says_otherwise() {
    let mut log = Log::default();
    let mut ask = create(Kind::Tenant, "w", "");
    if let Ask::Create { spec, .. } = &mut ask {
        spec.remove("deletion_allowed");
    }
    log.ask(&request(Kind::Tenant, "a", ask, "")).unwrap();
    let delete = Ask::Delete {
        allow_missing: true,
        guard: Guard::default(),
    };
    assert_eq!(
        log.ask(&request(Kind::Tenant, "a", delete, "")),
        Err(Refusal::Protected)
    );
}

#[test]
fn a_rule_set_replaces_the_folder_s_rules_and_no_others() {
    let mut book = Book::default();
    let files = |names: &[&str]| -> Vec<(String, String)> {
        names
            .iter()
            .map(|n| ((*n).to_owned(), format!("yaml of {n}")))
            .collect()
    };
    let of =
        |book: &Book| -> Vec<String> { book.files().into_iter().map(|(_, yaml)| yaml).collect() };
    book.apply_rule_set(1, &files(&["a.yml", "sub/B.yaml"]), ("s", ""), Timestamp(1));
    assert_eq!(of(&book), ["yaml of a.yml", "yaml of sub/B.yaml"]);
    assert!(book.get(&key(Kind::Rule, "sub_b")).is_some());
    let mine = request(Kind::Rule, "mine", create(Kind::Rule, "my yaml", ""), "");
    let Ok(Decision::Write(change)) = decide(&book, CALLER, &mine, Timestamp(2)) else {
        panic!()
    };
    book.apply(Entry {
        control_revision: 2,
        actor: "a".into(),
        reason: String::new(),
        at: Timestamp(2),
        change: *change,
    });
    book.apply_rule_set(3, &files(&["a.yml"]), ("s", ""), Timestamp(3));
    assert_eq!(of(&book), ["yaml of a.yml", "my yaml"]);
    assert!(book.holds_rule_set(&files(&["a.yml"])));
    assert!(!book.holds_rule_set(&files(&["a.yml", "c.yml"])));
    assert!(!book.holds_rule_set(&files(&[])));
    // A rule that is not in force is in no file.
    let mut spec = spec(Kind::Rule, "my yaml");
    spec.insert("disabled_until".into(), text("2026-02-11T14:30:00Z"));
    let off = Ask::Update {
        mask: vec![],
        spec,
        labels: BTreeMap::new(),
        managed_by: String::new(),
        guard: Guard::default(),
    };
    let Ok(Decision::Write(change)) = decide(
        &book,
        CALLER,
        &request(Kind::Rule, "mine", off, ""),
        Timestamp(4),
    ) else {
        panic!()
    };
    assert_eq!(book.files_after(&change).len(), 1);
    assert_eq!(book.files().len(), 2);
}

fn step() -> impl Strategy<Value = (usize, &'static str, u8, &'static str, u64, &'static str)> {
    (
        0..Kind::ALL.len(),
        prop::sample::select(vec!["a", "b"]),
        0u8..3,
        prop::sample::select(vec!["w", "longer"]),
        0u64..4,
        prop::sample::select(vec!["", "r1", "r2"]),
    )
}

proptest! {
    #[test]
    fn replay_gives_the_same_book_and_every_snapshot_stays_readable(steps in prop::collection::vec(step(), 1..60)) {
        let mut log = Log::default();
        let mut snapshots = Vec::new();
        for (kind, name, what, word, expected_revision, request_id) in steps {
            let kind = Kind::ALL[kind];
            let guard = Guard { expected_revision, ..Guard::default() };
            let ask = match what {
                0 => create(kind, word, ""),
                1 => update(kind, word, guard),
                _ => Ask::Delete { allow_missing: false, guard },
            };
            let before = log.book.get(&key(kind, name)).map_or(0, |o| o.revision);
            let answer = log.ask(&request(kind, name, ask, request_id));
            if let Ok(Decision::Write(change)) = &answer {
                prop_assert_eq!(change.old_revision, before);
                prop_assert!(what == 0 || expected_revision == 0 || expected_revision == before);
                prop_assert!(change.new_revision > before);
            }
            let at = log.book.revision();
            let listing = Listing { tenant: "default", kind: None, managed_by: "", at };
            snapshots.push((at, log.book.list(listing, None).cloned().collect::<Vec<_>>()));
        }
        let mut again = Book::default();
        for entry in &log.entries {
            again.apply(entry.clone());
        }
        prop_assert_eq!(&again, &log.book);
        for (at, objects) in snapshots {
            let listing = Listing { tenant: "default", kind: None, managed_by: "", at };
            let found: Vec<_> = log.book.list(listing, None).cloned().collect();
            prop_assert_eq!(found, objects);
        }
    }
}
