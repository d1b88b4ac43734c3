//! `balefire escalations`: what was decided must be acted on.

use std::collections::BTreeMap;

use balefire_event::{Escalation, EscalationId, Severity};
use balefire_wire::escalation::v1::escalation_service_client::EscalationServiceClient;
use balefire_wire::escalation::v1::{
    EscalationEntry, EscalationFilter, ListEscalationsRequest, WatchEscalationsRequest,
};

use crate::ack::{self, OnIt};
use crate::connect::{ANSWER_BYTES_MAX, Target};
use crate::print::{Listing, Out, table};
use crate::{Failure, explain, line, span};

/// Lists escalations, one line an escalation id.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    target: Target,
    /// Go on printing as they come
    #[arg(long)]
    follow: bool,
    /// Only those that breached after a time (RFC 3339) or within a span (`2h`)
    #[arg(long, value_name = "TIME|SPAN")]
    since: Option<String>,
    /// Only those of one rule, by name
    #[arg(long)]
    rule: Option<String>,
    /// Only those at least so severe
    #[arg(long)]
    severity: Option<Severity>,
    /// Only those of one user, as the source writes it
    #[arg(long)]
    user: Option<String>,
    /// CLOSED and AMENDED records too
    #[arg(long)]
    closed: bool,
    /// How they are printed
    #[arg(long, value_enum, default_value_t)]
    output: Listing,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Says why there is an escalation: events, window, condition, revision of the rule
    Explain(explain::Args),
}

impl Args {
    fn filter(&self) -> Result<EscalationFilter, Failure> {
        let since_ns = match &self.since {
            None => 0,
            Some(text) => span::since(text)?,
        };
        Ok(EscalationFilter {
            since_ns,
            rule: self.rule.clone().unwrap_or_default(),
            severity_min: self.severity.map_or(0, Severity::number),
            user: self.user.clone().unwrap_or_default(),
            closed: self.closed,
        })
    }
}

/// Prints entries as they are asked for.
struct Printer {
    out: Out,
    listing: Listing,
    rows: Vec<Vec<String>>,
    /// Who is on which episode.
    on_it: BTreeMap<EscalationId, OnIt>,
}

impl Printer {
    fn entry(&mut self, entry: EscalationEntry) -> Result<bool, Failure> {
        let Some(escalation) = entry.escalation else {
            return Ok(true);
        };
        let escalation = Escalation::try_from(&escalation)
            .map_err(|e| Failure::Failed(format!("the server's answer is not understood: {e}")))?;
        let on_it = self.on_it.get(&escalation.episode_id);
        Ok(match self.listing {
            Listing::Ndjson => {
                let mut line = line::of(&escalation);
                if let (Some(on_it), Some(map)) = (on_it, line.as_object_mut()) {
                    map.insert("acknowledged".into(), on_it.json());
                }
                self.out.line(&line.to_string())
            }
            Listing::Table => {
                let mut row = line::row(&escalation);
                if let (Some(on_it), Some(last)) = (on_it, row.last_mut()) {
                    last.push_str(&format!(" (acknowledged by {})", on_it.actor));
                }
                self.rows.push(row);
                true
            }
        })
    }

    fn rows(&mut self) -> bool {
        if self.listing == Listing::Table {
            let text = if self.rows.is_empty() {
                "no escalations".to_owned()
            } else {
                table(&line::HEAD, &self.rows)
            };
            self.rows.clear();
            return self.out.line(&text) && self.out.flush();
        }
        self.out.flush()
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(mut args: Args) -> Result<(), Failure> {
    if let Some(Command::Explain(asked)) = args.command.take() {
        return explain::run(asked).await;
    }
    let filter = args.filter()?;
    let connection = args.target.connect().await?;
    let mut client = EscalationServiceClient::new(connection.clone())
        .max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut printer = Printer {
        out: Out::new(),
        listing: args.output,
        rows: Vec::new(),
        on_it: BTreeMap::new(),
    };
    if args.follow {
        let request = WatchEscalationsRequest {
            filter: Some(filter),
            include_past: true,
        };
        let mut entries = client.watch_escalations(request).await?.into_inner();
        while let Some(answer) = entries.message().await? {
            let Some(entry) = answer.escalation else {
                continue;
            };
            if !printer.entry(entry)? || !printer.rows() {
                break;
            }
        }
        return Ok(());
    }
    printer.on_it = ack::on_it(connection).await?;
    let mut page_token = String::new();
    loop {
        let request = ListEscalationsRequest {
            filter: Some(filter.clone()),
            page_size: 0,
            page_token,
        };
        let page = client.list_escalations(request).await?.into_inner();
        for entry in page.escalations {
            if !printer.entry(entry)? {
                return Ok(());
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    printer.rows();
    Ok(())
}
