#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one effect it expects"
)]

use balefire_event::Escalation;
use balefire_event::time::SECOND;
use serde_json::json;

use super::*;
use crate::backoff::Backoff;
use crate::effect::Effect;
use crate::input::Input;
use crate::plan::Plan;
use crate::record::{Intent, Withheld};
use crate::route::{ReceiverEntry, Routes};
use crate::storm::Storms;
use crate::{Notice, Standing, State};

const NOW: Timestamp = Timestamp(1_800_000_000 * SECOND);

fn receiver() -> Arc<str> {
    "pager".into()
}

fn webhook(kind: &str, key: &str, at: Timestamp) -> Vec<u8> {
    let body = json!({ "event": {
        "id": "01CEG5N5OEBH6VAFYOUNNVVF8K",
        "event_type": kind,
        "resource_type": "incident",
        "occurred_at": at.to_string(),
        "agent": { "id": "PLH1HKV", "summary": "Ann On-Call", "type": "user_reference" },
        "data": { "id": "PGR0VU2", "type": "incident", "incident_key": key },
    }});
    body.to_string().into_bytes()
}

#[test]
fn pagerdutys_webhook_says_who_and_what() {
    let id = EscalationId([7; 16]);
    let read = |body: &[u8]| read((Signature::Pagerduty, &receiver()), body, None, NOW);
    let said = read(&webhook("incident.acknowledged", &id.to_string(), NOW)).unwrap();
    let said = said.unwrap();
    assert_eq!((said.escalation_id, said.said), (id, Said::Acknowledged));
    assert_eq!(said.actor, "Ann On-Call (PLH1HKV)");
    assert_eq!(said.reference, "01CEG5N5OEBH6VAFYOUNNVVF8K");
    let other = |kind: &str, key: &str, at| read(&webhook(kind, key, at));
    assert_eq!(other("incident.triggered", &id.to_string(), NOW), Ok(None));
    assert_eq!(
        other("incident.acknowledged", "somebody else's", NOW),
        Ok(None)
    );
    for age in [25 * HOUR, -6 * MINUTE] {
        let old = other("incident.acknowledged", &id.to_string(), NOW.minus(age));
        assert_eq!(old, Err(Unread::Stale), "{age}");
    }
    assert_eq!(read(b"{}"), Err(Unread::Malformed));
    assert_eq!(
        read(br#"{"event":{"id":"p","event_type":"pagey.ping","occurred_at":""}}"#),
        Ok(None)
    );
}

#[test]
fn slacks_button_says_who_and_what() {
    let id = EscalationId([7; 16]);
    let body = |action: &str| {
        json!({ "type": "block_actions", "user": { "id": "U1", "username": "ann\nx" },
            "actions": [{ "action_id": action, "value": id.to_string(), "action_ts": "1.2" }] })
        .to_string()
    };
    let read = |body: &str, sent| {
        read(
            (Signature::Slack, &receiver()),
            body.as_bytes(),
            Some(sent),
            NOW,
        )
    };
    let said = read(&body(SLACK_ACTION), NOW).unwrap().unwrap();
    assert_eq!(
        (said.actor.as_str(), said.escalation_id),
        ("ann x (U1)", id)
    );
    assert_eq!(read(&body("other"), NOW), Ok(None));
    assert_eq!(
        read(&body(SLACK_ACTION), NOW.minus(6 * MINUTE)),
        Err(Unread::Stale)
    );
    assert_eq!(read("{", NOW), Err(Unread::Malformed));
}

fn plan() -> Plan {
    let pager = ReceiverEntry {
        name: "pager".into(),
        target: Target::Pagerduty(Default::default()),
        ..ReceiverEntry::default()
    };
    let lake = ReceiverEntry {
        name: "lake".into(),
        ..ReceiverEntry::default()
    };
    Plan::of_file(&Routes::of(&[pager, lake]).unwrap())
}

struct World {
    state: State,
    sequence: u64,
}

impl World {
    fn tell(&mut self, id: u8, kind: EscalationKind, severity: Severity) -> Vec<Intent> {
        self.sequence += 1;
        let one = Escalation {
            escalation_id: EscalationId([id; 16]),
            episode_id: EscalationId([1; 16]),
            kind,
            revision: u32::from(kind == EscalationKind::Closed),
            ..crate::state::tests::escalation(id, severity, &[])
        };
        let effects = self.state.apply(Input::Escalated {
            sequence: self.sequence,
            escalations: &[one],
            now: NOW,
            plan: &plan(),
            partition: 0,
            storms: &mut Storms::default(),
        });
        let each = effects.into_iter().flat_map(|effect| match effect {
            Effect::RecordIntents { intents, .. } => intents,
            other => panic!("{other:?}"),
        });
        let intents: Vec<_> = each.collect();
        for intent in intents.clone() {
            self.state.apply(Input::IntentLogged {
                tenant: "default",
                intent,
            });
        }
        intents
    }

    fn said(&mut self, said: Said, at: i64) {
        self.state.apply(Input::Acknowledged(Acknowledgement {
            escalation_id: EscalationId([1; 16]),
            receiver: receiver(),
            actor: "ann".into(),
            at: NOW.plus(at),
            said,
            reference: String::new(),
        }));
    }
}

fn of<'i>(intents: &'i [Intent], receiver: &str) -> &'i Intent {
    intents
        .iter()
        .find(|one| &*one.receiver == receiver)
        .unwrap()
}

#[test]
fn what_somebody_is_on_is_not_told_again_unless_it_gets_worse() {
    use EscalationKind::{Continued, Raised};
    let mut world = World {
        state: State::new(Backoff::default()),
        sequence: 0,
    };
    world.said(Said::Acknowledged, 0);
    let raised = world.tell(1, Raised, Severity::High);
    assert_eq!(
        of(&raised, "pager").withheld,
        None,
        "nothing was known of it then"
    );
    world.said(Said::Acknowledged, 1);
    let again = world.tell(2, Continued, Severity::High);
    assert_eq!(of(&again, "pager").withheld, Some(Withheld::Acknowledged));
    assert_eq!(&*of(&again, "pager").withheld_by, "ann");
    assert_eq!(of(&again, "lake").withheld, None, "machines get everything");
    let worse = world.tell(3, Continued, Severity::Critical);
    assert_eq!(of(&worse, "pager").withheld, None);
    world.said(Said::Unacknowledged, 0);
    let repeated = world.tell(4, Continued, Severity::High);
    assert!(
        of(&repeated, "pager").withheld.is_some(),
        "older than what was said last"
    );
    world.said(Said::Unacknowledged, 2);
    let back = world.tell(5, Continued, Severity::High);
    assert_eq!(of(&back, "pager").withheld, None);
    world.said(Said::Resolved, 3);
    let anew = world.tell(6, Continued, Severity::High);
    assert_eq!(
        of(&anew, "pager").withheld,
        None,
        "they closed it, and it goes on"
    );
}

#[test]
fn the_incident_ends_with_the_last_slot_whether_it_was_told_or_not() {
    use EscalationKind::{Closed, Continued, Raised};
    let mut world = World {
        state: State::new(Backoff::default()),
        sequence: 0,
    };
    world.tell(1, Raised, Severity::High);
    world.said(Said::Acknowledged, 1);
    world.tell(2, Continued, Severity::High);
    let first = world.tell(1, Closed, Severity::High);
    let still = of(&first, "pager");
    assert_eq!(
        still.withheld,
        Some(Withheld::EpisodeOpen),
        "the second is open"
    );
    let last = world.tell(2, Closed, Severity::High);
    assert_eq!(of(&last, "pager").withheld, None);
    let entry = world.state.entry(&EscalationId([2; 16])).unwrap();
    let end = entry.delivery("pager", Notice::Closed(1)).unwrap();
    assert!(matches!(end.standing, Standing::Pending { .. }));
}
