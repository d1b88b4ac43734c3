//! `balefire deadletters`: what could not go on, to be mended, replayed or given up.

use balefire_event::{EscalationId, Timestamp};
use balefire_wire::deadletter::v1::dead_letter_service_client::DeadLetterServiceClient;
use balefire_wire::deadletter::v1::{
    DeadLetterEntry, DeadLetterFilter, DeadLetterState, DiscardDeadLetterRequest,
    EditDeadLetterRequest, GetDeadLetterRequest, ListDeadLettersRequest, ReplayDeadLettersRequest,
};
use serde_json::{Value, json};

use crate::Failure;
use crate::connect::{ANSWER_BYTES_MAX, Connection, Target};
use crate::print::{Listing, Out, note, table};

/// Inspects dead letters.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists those that wait
    List {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        filter: Filter,
        /// Those replayed or discarded too
        #[arg(long)]
        all: bool,
        /// How they are printed
        #[arg(long, value_enum, default_value_t)]
        output: Listing,
    },
    /// Shows one with its payload, as JSON
    Show {
        #[command(flatten)]
        target: Target,
        /// Its id
        id: String,
        /// Only the payload, byte for byte, to be mended
        #[arg(long)]
        raw: bool,
    },
    /// Gives one another payload, which `replay` then puts back; what it was stays in the log
    ///
    /// The payload is a batch (balefire.log.v1.Batch) of the same tenant whose records can all be
    /// read. `show ID --raw` writes what it is now; protoc --decode and --encode turn it into text
    /// and back.
    Edit {
        #[command(flatten)]
        target: Target,
        /// Its id
        id: String,
        /// File with the payload
        #[arg(long, value_name = "FILE")]
        payload: std::path::PathBuf,
        /// Why; kept in the record
        #[arg(long)]
        reason: String,
    },
    /// Puts some back on their way; twice has the effect of once
    Replay {
        #[command(flatten)]
        target: Target,
        /// Their ids; or --all
        ids: Vec<String>,
        /// All that wait, or with --stage, --reason-code, --receiver, --contains those that match
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        filter: Filter,
        /// Why; kept in the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Gives one up
    Discard {
        #[command(flatten)]
        target: Target,
        /// Its id
        id: String,
        /// Why; kept in the record
        #[arg(long)]
        reason: String,
    },
}

/// Which dead letters; all that is given must hold.
#[derive(Debug, Clone, Default, clap::Args)]
struct Filter {
    /// Only those of one stage: ingest, correlator, rule-engine, notifier
    #[arg(long)]
    stage: Option<String>,
    /// Only those with this reason, such as delivery_refused
    #[arg(long, value_name = "REASON")]
    reason_code: Option<String>,
    /// Only deliveries to this receiver
    #[arg(long, value_name = "NAME")]
    receiver: Option<String>,
    /// Only those whose id, detail or error holds this text
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
}

impl Filter {
    fn wire(self) -> Option<DeadLetterFilter> {
        let filter = DeadLetterFilter {
            stage: self.stage.unwrap_or_default(),
            reason: self.reason_code.unwrap_or_default(),
            receiver: self.receiver.unwrap_or_default(),
            contains: self.contains.unwrap_or_default(),
        };
        (filter != DeadLetterFilter::default()).then_some(filter)
    }
}

async fn client(target: &Target) -> Result<DeadLetterServiceClient<Connection>, Failure> {
    let connection = target.connect().await?;
    Ok(DeadLetterServiceClient::new(connection).max_decoding_message_size(ANSWER_BYTES_MAX))
}

fn state(entry: &DeadLetterEntry) -> &'static str {
    match entry.state() {
        DeadLetterState::Open => "open",
        DeadLetterState::Replayed => "replayed",
        DeadLetterState::Discarded => "discarded",
        DeadLetterState::Unspecified => "unknown",
    }
}

fn as_json(entry: &DeadLetterEntry, payload: bool) -> Value {
    let letter = entry.letter.clone().unwrap_or_default();
    let mut value = json!({
        "id": letter.id, "state": state(entry), "stage": letter.stage, "stream": letter.stream,
        "sequence": letter.sequence, "index": letter.index, "reason": letter.reason, "detail": letter.detail,
        "attempts": letter.attempts, "first_failed_at": Timestamp(letter.first_failed_at_ns).to_string(),
        "last_failed_at": Timestamp(letter.last_failed_at_ns).to_string(), "first_error": letter.first_error,
        "last_error": letter.last_error, "tenant": letter.tenant, "receiver": letter.receiver,
        "escalation_id": EscalationId::from_slice(&letter.escalation_id).ok().map(|id| id.to_string()),
    });
    if let (Some(resolution), Some(object)) = (&entry.resolution, value.as_object_mut()) {
        let told = json!({"actor": resolution.actor, "reason": resolution.reason, "at": Timestamp(resolution.at_ns).to_string()});
        object.insert("resolution".into(), told);
    }
    if let (false, Some(object)) = (letter.edits.is_empty(), value.as_object_mut()) {
        let edits = letter.edits.iter().map(|edit| {
            json!({"actor": edit.actor, "reason": edit.reason, "at": Timestamp(edit.at_ns).to_string(), "sequence_before": edit.sequence_before})
        });
        object.insert("edits".into(), edits.collect());
    }
    if let (true, Some(object)) = (payload, value.as_object_mut()) {
        let shown = match std::str::from_utf8(&letter.payload) {
            Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
            Err(_) => json!({"hex": hex(&letter.payload)}),
        };
        object.insert("payload".into(), shown);
    }
    value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List {
            target,
            filter,
            all,
            output,
        } => list(&target, filter, all, output).await,
        Command::Edit {
            target,
            id,
            payload,
            reason,
        } => edit(&target, id, &payload, reason).await,
        Command::Show { target, id, raw } => show(&target, id, raw).await,
        Command::Replay {
            target,
            ids,
            all,
            filter,
            reason,
        } => {
            let filter = filter.wire();
            if filter.is_some() && !all {
                return Err(Failure::Usage(
                    "a filter goes with --all, not with ids".into(),
                ));
            }
            if ids.is_empty() && !all {
                let message = "which dead letters? name their ids, or say --all";
                return Err(Failure::Usage(message.into()));
            }
            let request = ReplayDeadLettersRequest {
                ids,
                all,
                reason,
                filter,
            };
            let answer = client(&target)
                .await?
                .replay_dead_letters(request)
                .await?
                .into_inner();
            let told = json!({"replayed": answer.replayed, "unchanged": answer.unchanged});
            Out::new().line(&told.to_string());
            Ok(())
        }
        Command::Discard { target, id, reason } => {
            let request = DiscardDeadLetterRequest { id, reason };
            let answer = client(&target)
                .await?
                .discard_dead_letter(request)
                .await?
                .into_inner();
            note(&format!(
                "discarded {}",
                answer
                    .dead_letter
                    .and_then(|e| e.letter)
                    .unwrap_or_default()
                    .id
            ));
            Ok(())
        }
    }
}

async fn show(target: &Target, id: String, raw: bool) -> Result<(), Failure> {
    let request = GetDeadLetterRequest { id };
    let answer = client(target).await?.get_dead_letter(request).await?;
    let entry = answer.into_inner().dead_letter.unwrap_or_default();
    let mut out = Out::new();
    if raw {
        out.bytes(&entry.letter.unwrap_or_default().payload);
    } else {
        out.line(&format!("{:#}", as_json(&entry, true)));
    }
    out.flush();
    Ok(())
}

async fn edit(
    target: &Target,
    id: String,
    path: &std::path::Path,
    reason: String,
) -> Result<(), Failure> {
    let payload = std::fs::read(path)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    let request = EditDeadLetterRequest {
        id,
        payload: payload.into(),
        reason,
    };
    let answer = client(target).await?.edit_dead_letter(request).await?;
    let entry = answer.into_inner().dead_letter.unwrap_or_default();
    note(&format!("edited {}", entry.letter.unwrap_or_default().id));
    Ok(())
}

async fn list(target: &Target, filter: Filter, all: bool, output: Listing) -> Result<(), Failure> {
    let (mut client, mut out) = (client(target).await?, Out::new());
    let (mut rows, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDeadLettersRequest {
            stage: String::new(),
            filter: filter.clone().wire(),
            include_resolved: all,
            page_size: 0,
            page_token,
        };
        let page = client.list_dead_letters(request).await?.into_inner();
        for entry in &page.dead_letters {
            if output == Listing::Ndjson {
                if !out.line(&as_json(entry, false).to_string()) {
                    return Ok(());
                }
                continue;
            }
            let letter = entry.letter.clone().unwrap_or_default();
            rows.push(vec![
                letter.id,
                state(entry).to_owned(),
                letter.stage,
                letter.reason,
                letter.attempts.to_string(),
                letter.last_error,
            ]);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if output == Listing::Table {
        let head = ["ID", "STATE", "STAGE", "REASON", "ATTEMPTS", "LAST ERROR"];
        let text = if rows.is_empty() {
            "no dead letters".to_owned()
        } else {
            table(&head, &rows)
        };
        out.line(&text);
    }
    out.flush();
    Ok(())
}
