//! `balefire routes test`: who would be told of an escalation now, and why.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use balefire_event::{
    Category, Escalation, EscalationId, EscalationKind, Event, KeyPart, RuleId, Severity, Timing,
};
use balefire_wire::delivery::v1::receiver_service_client::ReceiverServiceClient;
use balefire_wire::delivery::v1::{ExplainRoutingRequest, ExplainRoutingResponse, Withheld};
use balefire_wire::escalation::v1::ListEscalationsRequest;
use balefire_wire::escalation::v1::escalation_service_client::EscalationServiceClient;
use serde_json::{Value, json};

use crate::Failure;
use crate::connect::{ANSWER_BYTES_MAX, Connection, Target};
use crate::print::{Listing, Out};

/// Largest event file, bytes.
const EVENT_BYTES_MAX: u64 = 1024 * 1024;

/// Shows where escalations go.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Says who would be told of an escalation now, and why; nobody is told
    ///
    /// Of one that there is (its id), or of one made up: from an event (--event FILE, with the rule
    /// that it would break) or from flags. Groups depend on what was told before; they are not in the
    /// answer.
    Test(Box<Test>),
}

#[derive(Debug, clap::Args)]
struct Test {
    /// An escalation there is
    #[arg(conflicts_with_all = ["event", "rule", "severity", "category"])]
    escalation: Option<EscalationId>,
    /// A file with one event, as `send` takes it; - is standard input
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
    /// The rule's name
    #[arg(long, default_value = "")]
    rule: String,
    /// Severity [default: the event's, else high]
    #[arg(long)]
    severity: Option<Severity>,
    /// Category [default: the event's]
    #[arg(long)]
    category: Option<Category>,
    /// Who should know; may be given more than once
    #[arg(long = "audience", value_name = "NAME")]
    audiences: Vec<String>,
    /// Part of the key; may be given more than once
    #[arg(long = "key", value_name = "FIELD=VALUE", value_parser = pair)]
    key: Vec<(String, String)>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Listing,
    #[command(flatten)]
    target: Target,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (field, value) = text.split_once('=').ok_or("take FIELD=VALUE")?;
    Ok((field.to_owned(), value.to_owned()))
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    let Command::Test(test) = args.command;
    let connection = test.target.connect().await?;
    let escalation = match test.escalation {
        Some(id) => find(connection.clone(), id).await?,
        None => (&made_up(&test)?).into(),
    };
    let request = ExplainRoutingRequest {
        escalation: Some(escalation),
    };
    let mut client = ReceiverServiceClient::new(connection);
    let answer = client.explain_routing(request).await?.into_inner();
    print(&answer, test.output);
    Ok(())
}

async fn find(
    connection: Connection,
    id: EscalationId,
) -> Result<balefire_wire::escalation::v1::Escalation, Failure> {
    let mut client =
        EscalationServiceClient::new(connection).max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut request = ListEscalationsRequest::default();
    loop {
        let page = client.list_escalations(request.clone()).await?.into_inner();
        let mut all = page
            .escalations
            .into_iter()
            .filter_map(|entry| entry.escalation);
        if let Some(found) = all.find(|one| one.escalation_id.as_ref() == id.as_bytes()) {
            return Ok(found);
        }
        if page.next_page_token.is_empty() {
            return Err(Failure::Failed(format!("no escalation {id}")));
        }
        request.page_token = page.next_page_token;
    }
}

fn read(path: &Path) -> Result<Value, Failure> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin()
            .take(EVENT_BYTES_MAX)
            .read_to_string(&mut text),
        _ => std::fs::File::open(path)
            .and_then(|file| file.take(EVENT_BYTES_MAX).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{}: no JSON event: {error}", path.display())))
}

/// As a rule that this event breaks would raise it: the event's own fields are the key.
fn made_up(test: &Test) -> Result<Escalation, Failure> {
    let event = test.event.as_deref().map(read).transpose()?;
    let said = |field: &str| event.as_ref()?.get(field)?.as_str();
    let category = match (test.category, said("category")) {
        (Some(category), _) => category,
        (None, Some(word)) => word
            .parse()
            .map_err(|_| Failure::Usage(format!("{word:?} is no category")))?,
        (None, None) => Category::Telemetry,
    };
    let severity = match (test.severity, said("severity")) {
        (Some(severity), _) => severity,
        (None, Some(word)) => word
            .parse()
            .map_err(|_| Failure::Usage(format!("{word:?} is no severity")))?,
        (None, None) => Severity::High,
    };
    let fields = event.as_ref().and_then(Value::as_object);
    let fields = fields.into_iter().flatten();
    let texts = fields.filter_map(|(field, value)| Some((field.as_str(), value.as_str()?)));
    let given = test.key.iter();
    let given = given.map(|(field, value)| (field.as_str(), value.as_str()));
    let key = given.chain(texts.filter(|(field, _)| !matches!(*field, "category" | "severity")));
    let now = balefire_kit::clock::now();
    Ok(Escalation {
        escalation_id: EscalationId([0; 16]),
        episode_id: EscalationId([0; 16]),
        kind: EscalationKind::Raised,
        tenant: String::new(),
        rule_id: RuleId([0; 16]),
        rule_name: test.rule.clone(),
        title: String::new(),
        key: key.map(part).collect(),
        slot_start: now,
        rearm: 0,
        breach_at: now,
        severity,
        timing: Timing::OnTime,
        assurance: None,
        evidence: Vec::new(),
        event_count: 1,
        recommended_actions: Vec::new(),
        audiences: test.audiences.clone(),
        atlas: Vec::new(),
        owasp: Vec::new(),
        trigger: Some(Box::new(Event {
            category,
            severity,
            ..Event::default()
        })),
        received_at: now,
        revision: 0,
        backfill: false,
        window: 0,
        threshold: 0,
        at_close: false,
        condition: String::new(),
        shadow: false,
    })
}

fn part((field, value): (&str, &str)) -> KeyPart {
    KeyPart {
        field: field.to_owned(),
        readable: value.to_owned(),
        canonical: value.as_bytes().to_vec(),
    }
}

fn print(answer: &ExplainRoutingResponse, output: Listing) {
    let mut out = Out::new();
    if output == Listing::Ndjson {
        let reasons = answer.reasons.iter();
        let told = answer.intents.iter().map(|intent| {
            json!({
                "receiver": intent.receiver, "route": intent.route, "tier": intent.tier,
                "told": intent.withheld() == Withheld::Unspecified, "withheld_by": intent.withheld_by,
            })
        });
        let line = json!({
            "control_revision": answer.control_revision,
            "reasons": reasons.map(|one| json!({"about": one.about, "said": one.said})).collect::<Vec<_>>(),
            "receivers": told.collect::<Vec<_>>(),
        });
        out.line(&line.to_string());
        out.flush();
        return;
    }
    for reason in &answer.reasons {
        out.line(&format!("{}: {}", reason.about, reason.said));
    }
    let told = answer.intents.iter();
    let told: Vec<&str> = told
        .filter(|intent| intent.withheld() == Withheld::Unspecified)
        .map(|intent| intent.receiver.as_str())
        .collect();
    out.line(&match told.is_empty() {
        true => "told: nobody".to_owned(),
        false => format!("told: {}", told.join(", ")),
    });
    out.flush();
}
