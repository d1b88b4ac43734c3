//! `balefire receivers`: who can be told, how each is, and a call to see whether it works.

use balefire_event::EscalationKind;
use balefire_wire::delivery::v1::receiver_service_client::ReceiverServiceClient;
use balefire_wire::delivery::v1::{ListReceiversRequest, TestReceiverRequest};
use serde_json::json;

use crate::Failure;
use crate::connect::Target;
use crate::print::{Listing, Out, note, table};

/// Shows receivers and tries them out.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists receivers, of the file and of objects, with what is wrong with them
    List {
        #[command(flatten)]
        target: Target,
        /// How they are printed
        #[arg(long, value_enum, default_value_t)]
        output: Listing,
    },
    /// Calls one with an escalation that says it is a test; exit 1 where it does not take it
    ///
    /// Where the receiver keeps one open thing (an incident, an issue) that is closed again. The
    /// call is no record of the log.
    Test {
        /// Its name
        name: String,
        #[command(flatten)]
        target: Target,
    },
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List { target, output } => list(&target, output).await,
        Command::Test { name, target } => test(&target, name).await,
    }
}

async fn list(target: &Target, output: Listing) -> Result<(), Failure> {
    let mut client = ReceiverServiceClient::new(target.connect().await?);
    let answer = client.list_receivers(ListReceiversRequest {}).await?;
    let (mut out, mut rows) = (Out::new(), Vec::new());
    for one in answer.into_inner().receivers {
        let origin = if one.of_file { "file" } else { "object" };
        match output {
            Listing::Ndjson => {
                let line = json!({
                    "name": one.name, "target": one.target, "origin": origin, "fault": one.fault,
                    "breaker": one.breaker, "waiting": one.waiting, "under_way": one.under_way,
                    "updates": one.updates, "max_classification": one.max_classification,
                    "feed": one.feed, "feed_lag": one.feed_lag, "feed_error": one.feed_error,
                });
                if !out.line(&line.to_string()) {
                    return Ok(());
                }
            }
            Listing::Table => rows.push(vec![
                one.name,
                one.target,
                origin.to_owned(),
                one.breaker,
                if one.feed {
                    format!("{} behind", one.feed_lag)
                } else {
                    one.waiting.to_string()
                },
                one.max_classification,
                match (one.fault.is_empty(), one.feed_error.is_empty()) {
                    (false, _) => one.fault,
                    (true, false) => one.feed_error,
                    (true, true) => "-".to_owned(),
                },
            ]),
        }
    }
    if output == Listing::Table {
        let head = [
            "RECEIVER", "TARGET", "OF", "BREAKER", "WAITING", "SHOWN", "FAULT",
        ];
        let text = match rows.is_empty() {
            true => "no receivers".to_owned(),
            false => table(&head, &rows),
        };
        out.line(&text);
    }
    out.flush();
    Ok(())
}

async fn test(target: &Target, name: String) -> Result<(), Failure> {
    let mut client = ReceiverServiceClient::new(target.connect().await?);
    let request = TestReceiverRequest { name };
    let answer = client.test_receiver(request).await?.into_inner();
    let mut out = Out::new();
    let mut taken = !answer.calls.is_empty();
    for call in &answer.calls {
        let kind = EscalationKind::from_number(call.kind).map_or("?", EscalationKind::as_str);
        let line = json!({
            "kind": kind, "verdict": call.verdict, "status": call.status, "error": call.error,
            "took_ms": call.took_ns / 1_000_000,
        });
        out.line(&line.to_string());
        taken &= call.verdict == "delivered";
    }
    out.flush();
    if taken {
        return Ok(());
    }
    note("the receiver did not take it");
    Err(Failure::Told)
}
