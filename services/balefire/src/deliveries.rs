//! `balefire deliveries`: who was told what, when, with which answer, and who was not and why.

use balefire_event::{EscalationId, EscalationKind, Timestamp};
use balefire_wire::delivery::v1::delivery_service_client::DeliveryServiceClient;
use balefire_wire::delivery::v1::{Attempt, Delivery, ListDeliveriesRequest, Outcome, Withheld};
use bytes::Bytes;
use serde_json::json;

use crate::Failure;
use crate::connect::{ANSWER_BYTES_MAX, Target};
use crate::print::{Listing, Out, table};

/// Lists deliveries: a line for each receiver and record of an escalation.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this escalation
    escalation: Option<EscalationId>,
    /// Only to this receiver
    #[arg(long, default_value = "")]
    receiver: String,
    /// Only who was not told, for this reason
    #[arg(long, value_enum)]
    withheld: Option<Why>,
    /// How they are printed
    #[arg(long, value_enum, default_value_t)]
    output: Listing,
    #[command(flatten)]
    target: Target,
}

/// Why somebody was not told.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Why {
    /// A silence was in force
    Silenced,
    /// Another of the group was told
    Grouped,
    /// No route matched
    NoRoute,
    /// Another slot of the episode is open
    EpisodeOpen,
    /// The receiver got a summary of many pages instead
    Storm,
    /// Somebody is on its episode
    Acknowledged,
    /// Something is open that inhibits it
    Inhibited,
}

impl Why {
    const fn wire(self) -> Withheld {
        match self {
            Self::Silenced => Withheld::Silenced,
            Self::Grouped => Withheld::Grouped,
            Self::NoRoute => Withheld::NoRoute,
            Self::EpisodeOpen => Withheld::EpisodeOpen,
            Self::Storm => Withheld::Storm,
            Self::Acknowledged => Withheld::Acknowledged,
            Self::Inhibited => Withheld::Inhibited,
        }
    }
}

const fn why(withheld: Withheld) -> &'static str {
    match withheld {
        Withheld::Unspecified => "",
        Withheld::Silenced => "silenced",
        Withheld::Grouped => "grouped",
        Withheld::NoRoute => "no_route",
        Withheld::EpisodeOpen => "episode_open",
        Withheld::Storm => "storm",
        Withheld::Acknowledged => "acknowledged",
        Withheld::Inhibited => "inhibited",
    }
}

fn state(withheld: Withheld, attempt: Option<&Attempt>) -> &'static str {
    match (withheld, attempt.map(Attempt::outcome)) {
        (Withheld::Unspecified, None) => "pending",
        (Withheld::Unspecified, Some(Outcome::Delivered)) => "delivered",
        (Withheld::Unspecified, Some(Outcome::Retry)) => "retrying",
        (Withheld::Unspecified, Some(Outcome::DeadLettered)) => "dead_lettered",
        (Withheld::Unspecified, Some(Outcome::Unspecified)) => "unknown",
        (
            Withheld::Silenced
            | Withheld::Grouped
            | Withheld::NoRoute
            | Withheld::EpisodeOpen
            | Withheld::Storm
            | Withheld::Acknowledged
            | Withheld::Inhibited,
            _,
        ) => "withheld",
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    let mut client = DeliveryServiceClient::new(args.target.connect().await?)
        .max_decoding_message_size(ANSWER_BYTES_MAX);
    let id = args
        .escalation
        .map(|id| Bytes::copy_from_slice(id.as_bytes()));
    let mut request = ListDeliveriesRequest {
        escalation_id: id.unwrap_or_default(),
        receiver: args.receiver,
        withheld: args
            .withheld
            .map_or(Withheld::Unspecified, Why::wire)
            .into(),
        ..ListDeliveriesRequest::default()
    };
    let (mut out, mut rows) = (Out::new(), Vec::new());
    loop {
        let page = client.list_deliveries(request.clone()).await?.into_inner();
        for delivery in page.deliveries {
            match args.output {
                Listing::Ndjson => {
                    if !out.line(&line(delivery)) {
                        return Ok(());
                    }
                }
                Listing::Table => rows.push(row(delivery)),
            }
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if args.output == Listing::Table {
        let head = [
            "DECIDED AT",
            "RECEIVER",
            "RECORD",
            "STATE",
            "ATTEMPTS",
            "ROUTE",
            "WHY",
            "ESCALATION",
        ];
        out.line(&match rows.is_empty() {
            true => "no deliveries".to_owned(),
            false => table(&head, &rows),
        });
    }
    out.flush();
    Ok(())
}

fn id(bytes: &[u8]) -> String {
    EscalationId::from_slice(bytes).map_or_else(|_| String::new(), |id| id.to_string())
}

fn kind(number: i32) -> &'static str {
    EscalationKind::from_number(number).map_or("RAISED", EscalationKind::as_str)
}

fn line(delivery: Delivery) -> String {
    let intent = delivery.intent.unwrap_or_default();
    let attempt = delivery.last_attempt;
    json!({
        "escalation_id": id(&intent.escalation_id), "episode_id": id(&intent.episode_id),
        "receiver": intent.receiver, "kind": kind(intent.kind), "revision": intent.revision,
        "state": state(intent.withheld(), attempt.as_ref()), "route": intent.route,
        "withheld": why(intent.withheld()), "withheld_by": intent.withheld_by, "tier": intent.tier,
        "decided_at": Timestamp(intent.decided_at_ns).to_string(),
        "control_revision": intent.control_revision, "attempts": delivery.attempts,
        "last_attempt": attempt.map(|one| json!({
            "at": Timestamp(one.at_ns).to_string(), "status": one.status, "error": one.error,
            "took_ms": one.took_ns / 1_000_000,
        })),
    })
    .to_string()
}

fn row(delivery: Delivery) -> Vec<String> {
    let intent = delivery.intent.unwrap_or_default();
    let attempt = delivery.last_attempt.as_ref();
    let error = attempt.map(|one| one.error.clone()).unwrap_or_default();
    let reason = if intent.withheld() == Withheld::Unspecified {
        error
    } else {
        format!("{} {}", why(intent.withheld()), intent.withheld_by)
    };
    let receiver = match intent.receiver.as_str() {
        "" => "(nobody)",
        name => name,
    };
    vec![
        Timestamp(intent.decided_at_ns).to_string(),
        receiver.to_owned(),
        kind(intent.kind).to_owned(),
        state(intent.withheld(), attempt).to_owned(),
        delivery.attempts.to_string(),
        intent.route.clone(),
        reason.trim().chars().take(60).collect(),
        id(&intent.escalation_id),
    ]
}
