//! `balefire ack`: somebody is on an episode; and who is on which.

use std::collections::BTreeMap;

use balefire_event::{EscalationId, Timestamp};
use balefire_wire::delivery::v1::delivery_service_client::DeliveryServiceClient;
use balefire_wire::delivery::v1::{AcknowledgeRequest, ListAcknowledgementsRequest, Said};
use bytes::Bytes;
use serde_json::{Value, json};
use tonic::Code;

use crate::Failure;
use crate::connect::{ANSWER_BYTES_MAX, Connection, Target};
use crate::print::note;

/// Says that you are on an escalation: what continues its episode does not page again until it gets
/// worse.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The escalation, or its episode
    escalation: EscalationId,
    /// You are no longer on it
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    let mut client = DeliveryServiceClient::new(args.target.connect().await?);
    let said = match args.undo {
        true => Said::Unacknowledged,
        false => Said::Acknowledged,
    };
    let request = AcknowledgeRequest {
        escalation_id: Bytes::copy_from_slice(args.escalation.as_bytes()),
        said: said.into(),
    };
    let answer = client.acknowledge(request).await?.into_inner();
    let said = answer.acknowledgement.unwrap_or_default();
    let at = Timestamp(said.at_ns);
    note(&format!(
        "{} {} by {} at {at}",
        args.escalation,
        word(said.said()),
        said.actor
    ));
    Ok(())
}

const fn word(said: Said) -> &'static str {
    match said {
        Said::Unspecified => "-",
        Said::Acknowledged => "acknowledged",
        Said::Unacknowledged => "no longer acknowledged",
        Said::Resolved => "resolved",
    }
}

/// Who is on an episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnIt {
    /// Who.
    pub actor: String,
    /// By which receiver; empty: the API.
    pub receiver: String,
    /// Since when.
    pub at: Timestamp,
}

impl OnIt {
    /// As a line of NDJSON has it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "by": self.actor,
            "receiver": self.receiver,
            "at": self.at.to_string(),
        })
    }
}

/// Who is on which episode, as the notifier behind this address knows. Empty where there is none:
/// an address of a rule engine alone.
///
/// # Errors
/// See [`Failure`].
pub async fn on_it(connection: Connection) -> Result<BTreeMap<EscalationId, OnIt>, Failure> {
    let mut client =
        DeliveryServiceClient::new(connection).max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut all = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListAcknowledgementsRequest {
            page_size: 0,
            page_token,
        };
        let page = match client.list_acknowledgements(request).await {
            Ok(page) => page.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(all),
            Err(status) => return Err(status.into()),
        };
        for said in page.acknowledgements {
            let Ok(episode) = EscalationId::from_slice(&said.escalation_id) else {
                continue;
            };
            if said.said() == Said::Acknowledged {
                let on_it = OnIt {
                    at: Timestamp(said.at_ns),
                    actor: said.actor,
                    receiver: said.receiver,
                };
                all.insert(episode, on_it);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}
