//! `balefire escalations explain`: why there is an escalation.

use balefire_event::{Escalation, EscalationId, Event, Timestamp};
use balefire_wire::escalation::v1::escalation_service_client::EscalationServiceClient;
use balefire_wire::escalation::v1::{
    ExplainEscalationRequest, ExplainEscalationResponse, ExplainedEvent,
};
use serde_json::{Value, json};

use crate::connect::{ANSWER_BYTES_MAX, Target};
use crate::print::{Listing, Out, table};
use crate::{Failure, line};

/// Says why there is an escalation: which events, which window, which condition, which revision of
/// which rule. It is read from the log, however long ago that was.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its id, as `balefire escalations` prints it
    #[arg(value_parser = id)]
    id: EscalationId,
    /// How it is printed; ndjson is one object
    #[arg(long, value_enum, default_value_t)]
    output: Listing,
    #[command(flatten)]
    target: Target,
}

fn id(text: &str) -> Result<EscalationId, String> {
    let wrong = || format!("{text:?} is no escalation id; it has 32 hex digits");
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
    EscalationId::from_slice(&number.to_be_bytes()).map_err(|_| wrong())
}

fn not_understood(error: &balefire_wire::Error) -> Failure {
    Failure::Failed(format!("the server's answer is not understood: {error}"))
}

fn at(nanos: i64) -> String {
    Timestamp(nanos).to_string()
}

/// One event of the evidence.
struct Shown {
    event: Event<'static>,
    place: String,
}

impl Shown {
    fn of(explained: &ExplainedEvent) -> Result<Self, Failure> {
        let event = explained.event.clone().unwrap_or_default();
        Ok(Self {
            event: Event::try_from(&event).map_err(|e| not_understood(&e))?,
            place: format!(
                "{}/{}/{}",
                explained.stream, explained.sequence, explained.index
            ),
        })
    }

    fn user(&self) -> Option<&str> {
        self.event.user.as_ref().and_then(|user| user.readable())
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.event.t.to_string(),
            self.event.event_id.to_string(),
            self.event.category.as_str().to_owned(),
            self.event.severity.as_str().to_owned(),
            self.user().unwrap_or("-").to_owned(),
            self.place.clone(),
        ]
    }

    fn line(&self) -> Value {
        json!({
            "t": self.event.t.to_string(), "event_id": self.event.event_id, "dedup_id": self.event.dedup_id.to_string(),
            "source": self.event.source, "occurred_at": self.event.occurred_at.to_string(),
            "received_at": self.event.received_at.to_string(), "timing": self.event.timing.as_str(),
            "control_revision": self.event.control_revision, "category": self.event.category.as_str(),
            "severity": self.event.severity.as_str(), "user": self.user(), "place": self.place,
        })
    }
}

fn as_json(answer: &ExplainEscalationResponse, escalation: &Escalation, events: &[Shown]) -> Value {
    let entry = answer.escalation.clone().unwrap_or_default();
    json!({
        "escalation": line::of(escalation), "partition": entry.partition, "sequence": entry.sequence,
        "stored_at": at(entry.stored_at_ns), "condition": answer.condition,
        "window_start": at(answer.window_start_ns), "window_end": at(answer.window_end_ns),
        "window_seconds": escalation.window / balefire_event::time::SECOND, "threshold": escalation.threshold,
        "event_count": escalation.event_count,
        "rule": {
            "name": escalation.rule_name, "object": answer.rule_object, "object_revision": answer.rule_object_revision,
            "control_revision": answer.rule_revision, "yaml": answer.rule_yaml,
        },
        "event_control_revision": answer.event_revision,
        "events": events.iter().map(Shown::line).collect::<Vec<_>>(), "events_missing": answer.events_missing,
    })
}

fn key_of(escalation: &Escalation) -> String {
    let key = escalation.key.iter();
    let key: Vec<String> = key
        .map(|part| format!("{}={}", part.field, part.readable))
        .collect();
    key.join(" ")
}

fn rule_of(answer: &ExplainEscalationResponse, escalation: &Escalation) -> String {
    if answer.rule_object.is_empty() {
        return format!("{} (not in the control log any more)", escalation.rule_name);
    }
    format!(
        "{}, revision {} of the object {} (control revision {})",
        escalation.rule_name, answer.rule_object_revision, answer.rule_object, answer.rule_revision
    )
}

/// A heading and what it says, line by line.
fn facts(answer: &ExplainEscalationResponse, escalation: &Escalation) -> Vec<(String, String)> {
    let entry = answer.escalation.clone().unwrap_or_default();
    let (key, rule) = (key_of(escalation), rule_of(answer, escalation));
    let mut facts = vec![
        ("escalation", escalation.escalation_id.to_string()),
        (
            "kind",
            format!(
                "{}, episode {}",
                escalation.kind.as_str(),
                escalation.episode_id
            ),
        ),
        ("severity", escalation.severity.to_string()),
        ("rule", rule),
        ("key", key),
        ("condition", answer.condition.clone()),
    ];
    if escalation.window > 0 {
        let slot_end = escalation.slot_start.plus(escalation.rearm);
        facts.push((
            "window",
            format!(
                "{} to {}, both included: {} counted",
                at(answer.window_start_ns),
                at(answer.window_end_ns),
                escalation.event_count
            ),
        ));
        facts.push((
            "slot",
            format!(
                "{} to {slot_end}: one escalation for each such slot",
                escalation.slot_start
            ),
        ));
    }
    if let Some(trigger) = &escalation.trigger {
        facts.push((
            "completed by",
            format!(
                "{} (arrived {}, under control revision {})",
                trigger.event_id, escalation.received_at, answer.event_revision
            ),
        ));
    }
    facts.push((
        "written",
        format!(
            "{}, partition {}, sequence {}",
            at(entry.stored_at_ns),
            entry.partition,
            entry.sequence
        ),
    ));
    facts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text))
        .collect()
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    let mut client = EscalationServiceClient::new(args.target.connect().await?)
        .max_decoding_message_size(ANSWER_BYTES_MAX);
    let request = ExplainEscalationRequest {
        escalation_id: bytes::Bytes::copy_from_slice(args.id.as_bytes()),
    };
    let answer = client.explain_escalation(request).await?.into_inner();
    let entry = answer.escalation.clone().unwrap_or_default();
    let escalation = entry.escalation.unwrap_or_default();
    let escalation = Escalation::try_from(&escalation).map_err(|e| not_understood(&e))?;
    let events: Result<Vec<Shown>, Failure> = answer.events.iter().map(Shown::of).collect();
    let events = events?;
    let mut out = Out::new();
    if args.output == Listing::Ndjson {
        out.line(&as_json(&answer, &escalation, &events).to_string());
        out.flush();
        return Ok(());
    }
    for (name, text) in facts(&answer, &escalation) {
        out.line(&format!("{name:<13} {text}"));
    }
    let shown = events.len();
    let counted = escalation.event_count;
    out.line(&format!("\nevents: {shown} of {counted} records counted (the first and last 32 are kept as evidence)"));
    let rows: Vec<Vec<String>> = events.iter().map(Shown::row).collect();
    let head = ["T", "EVENT", "CATEGORY", "SEVERITY", "USER", "PLACE"];
    out.line(&table(&head, &rows));
    if answer.events_missing > 0 {
        out.line(&format!(
            "{} of the evidence were not found in the log",
            answer.events_missing
        ));
    }
    if !answer.rule_yaml.is_empty() {
        out.line(&format!(
            "\nthe rule as it was:\n{}",
            answer.rule_yaml.trim_end()
        ));
    }
    out.flush();
    Ok(())
}
