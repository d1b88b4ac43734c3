//! `balefire trace`: everything that one request left.

use balefire_event::{Event, Identity, Timestamp};
use balefire_wire::join::v1::join_service_client::JoinServiceClient;
use balefire_wire::join::v1::{ChainLink, GetChainRequest};
use serde_json::{Value, json};

use crate::Failure;
use crate::connect::{ANSWER_BYTES_MAX, Target};
use crate::print::{Listing, Out, table};
use crate::span;

/// Shows everything that one request left, in the order of time, and what is missing.
///
/// The id is a request id; a trace or session id does too. Ids lead on: from the gateway's request
/// to its trace, from the trace to the provider's request. Exit 1 where there is no record of it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A request, trace or session id, as a source writes it
    id: String,
    #[command(flatten)]
    target: Target,
    /// How far back the log is read: a span (`2h`) or a time (RFC 3339)
    #[arg(long, default_value = "1h", value_name = "TIME|SPAN")]
    since: String,
    /// How it is printed; of ndjson the last line says what is missing
    #[arg(long, value_enum, default_value_t)]
    output: Listing,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`]; also where there is no record of the id.
pub async fn run(args: Args) -> Result<(), Failure> {
    let request = GetChainRequest {
        id: args.id.clone(),
        since_ns: span::since(&args.since)?,
    };
    let mut client = JoinServiceClient::new(args.target.connect().await?)
        .max_decoding_message_size(ANSWER_BYTES_MAX);
    let chain = client.get_chain(request).await?.into_inner();
    let mut out = Out::new();
    let mut rows = Vec::new();
    for link in &chain.links {
        let told = Told::of(link)?;
        match args.output {
            Listing::Ndjson => {
                out.line(&told.json().to_string());
            }
            Listing::Table => rows.push(told.row()),
        }
    }
    match args.output {
        Listing::Ndjson => {
            let since = Timestamp(chain.since_ns).to_string();
            let last = json!({ "missing": chain.missing, "since": since });
            out.line(&last.to_string());
        }
        Listing::Table => {
            if !rows.is_empty() {
                out.line(&table(&HEAD, &rows));
            }
            for missing in &chain.missing {
                out.line(&format!("missing: {missing}"));
            }
        }
    }
    out.flush();
    if chain.links.is_empty() {
        return Err(Failure::Told);
    }
    Ok(())
}

const HEAD: [&str; 10] = [
    "TIME",
    "SOURCE",
    "CATEGORY",
    "SEVERITY",
    "WHOSE",
    "APPLICATION",
    "MODEL",
    "ADDRESS",
    "VERDICT",
    "IDS",
];

/// One event of the chain.
struct Told<'l> {
    link: &'l ChainLink,
    event: Event<'static>,
    users: Vec<Identity<'static>>,
}

impl<'l> Told<'l> {
    fn of(link: &'l ChainLink) -> Result<Self, Failure> {
        let wrong = |error: balefire_wire::Error| {
            Failure::Failed(format!("the server's answer is not understood: {error}"))
        };
        let event = link.event.clone().unwrap_or_default();
        let users = link.users.iter().map(Identity::try_from);
        Ok(Self {
            link,
            event: Event::try_from(&event).map_err(wrong)?,
            users: users.collect::<Result<_, _>>().map_err(wrong)?,
        })
    }

    /// What a guardrail or a judge said.
    fn verdict(&self) -> &str {
        let said = [
            &self.event.judge_verdict,
            &self.event.guardrail_result,
            &self.event.policy_violated,
        ];
        said.into_iter()
            .find(|text| !text.is_empty())
            .map_or("", |text| text.as_ref())
    }

    /// Users, each with how far it can be trusted; else the others that acted.
    fn whose(&self) -> String {
        let name = |identity: &Identity<'_>| {
            let label = identity.readable().map(str::to_owned);
            label.unwrap_or_else(|| identity.subject_ref.to_string())
        };
        let users: Vec<String> = self
            .users
            .iter()
            .map(|user| format!("{} ({})", name(user), user.assurance))
            .collect();
        if !users.is_empty() {
            return users.join(", ");
        }
        match self.event.actors.first() {
            Some(actor) => format!("{} {}", actor.kind, name(actor)),
            None => self.link.naming.clone(),
        }
    }

    fn row(&self) -> Vec<String> {
        let dash = |text: String| if text.is_empty() { "-".into() } else { text };
        let keys: Vec<String> = self
            .event
            .keys
            .iter()
            .map(|key| format!("{}:{}", key.kind, key.value))
            .collect();
        vec![
            self.event.occurred_at.to_string(),
            self.event.source.to_string(),
            self.event.category.to_string(),
            self.event.severity.to_string(),
            self.whose(),
            dash(self.link.application.clone()),
            dash(self.link.models.join(", ")),
            dash(self.link.addresses.join(", ")),
            dash(self.verdict().to_owned()),
            keys.join(" "),
        ]
    }

    fn json(&self) -> Value {
        let event = &self.event;
        let users: Vec<Value> = self
            .users
            .iter()
            .map(|user| {
                json!({"user_id": user.readable(), "assurance": user.assurance.as_str(), "via": user.via})
            })
            .collect();
        let actors: Vec<Value> = event
            .actors
            .iter()
            .map(|actor| json!({"kind": actor.kind.as_str(), "id": actor.readable()}))
            .collect();
        let keys: Vec<Value> = event
            .keys
            .iter()
            .map(|key| json!({"kind": key.kind.as_str(), "value": key.value}))
            .collect();
        json!({
            "event_id": event.event_id, "source": event.source, "timestamp": event.occurred_at.to_string(),
            "category": event.category.as_str(), "severity": event.severity.as_str(),
            "naming": self.link.naming, "application": self.link.application,
            "application_by_principal": self.link.application_by_principal, "users": users, "actors": actors, "keys": keys,
            "models": self.link.models, "endpoints": self.link.endpoints, "addresses": self.link.addresses,
            "judge_verdict": event.judge_verdict, "guardrail_result": event.guardrail_result,
            "policy_violated": event.policy_violated, "tool": event.tool,
        })
    }
}
