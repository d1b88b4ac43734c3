//! Acknowledgements come in: PagerDuty's v3 webhooks and Slack's interactions over HTTP, signed by
//! the sender over the bytes as they came, and what operators say over the API. Each is a record of
//! DELIVERIES.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use balefire_bus::{Log, Topology};
use balefire_event::time::SECOND;
use balefire_event::{EscalationId, Timestamp};
use balefire_kit::clock;
use balefire_notifier_core::ack::{self, Acknowledgement, Signature, Unread};
use balefire_notifier_core::objects::{PLATFORM, log_name};
use balefire_wire::{BatchWriter, RecordRef};
use hmac::{Hmac, Mac};
use reqwest::Url;
use sha2::Sha256;

use crate::codec;
use crate::desk::Desk;
use crate::letter::frame;
use crate::view::View;

/// Largest body, bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Signatures of one request that are looked at: two while a secret is rotated.
const SIGNATURES_MAX: usize = 8;

/// Where acknowledgements go.
#[derive(Clone)]
pub struct Acks {
    /// What is in force.
    pub desk: Arc<Desk>,
    /// By partition.
    pub views: Arc<[Arc<View>]>,
    /// Where they are written.
    pub log: Log,
    /// Its shape.
    pub topology: Topology,
    /// Who writes.
    pub writer_id: [u8; 16],
}

impl Acks {
    /// The doors. A receiver of another tenant than `default` stands behind the tenant's name.
    pub fn routes(self) -> axum::Router {
        axum::Router::new()
            .route("/v1/acknowledgements/{receiver}", post(of_platform))
            .route("/v1/acknowledgements/{tenant}/{receiver}", post(of_tenant))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }

    async fn came(&self, receiver: &str, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let outcome = self.take(receiver, headers, body).await;
        let word = match outcome {
            StatusCode::OK => "taken",
            StatusCode::UNAUTHORIZED => "unsigned",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            _ => "refused",
        };
        metrics::counter!("balefire_acknowledgements_total", "outcome" => word).increment(1);
        outcome
    }

    async fn take(&self, receiver: &str, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let plan = self.desk.plan();
        let Some(found) = plan.receiver(receiver) else {
            return StatusCode::NOT_FOUND;
        };
        let Some(signature) = found
            .target
            .signature()
            .filter(|_| found.target.takes_acks())
        else {
            return StatusCode::NOT_FOUND;
        };
        let secret = match self.desk.ack_secret(found) {
            Ok(secret) => secret,
            Err(reason) => {
                tracing::error!(receiver, reason, "an acknowledgement cannot be checked");
                return StatusCode::SERVICE_UNAVAILABLE;
            }
        };
        if !is_signed(signature, secret.trim().as_bytes(), headers, body) {
            tracing::warn!(receiver, "an acknowledgement whose signature does not hold");
            return StatusCode::UNAUTHORIZED;
        }
        let payload = match signature {
            Signature::Pagerduty => Some(body.to_vec()),
            Signature::Slack => payload_of(body),
        };
        let Some(payload) = payload else {
            return StatusCode::BAD_REQUEST;
        };
        let (from, sent) = ((signature, &found.name), slack_time(headers));
        let said = match ack::read(from, &payload, sent, clock::now()) {
            Ok(Some(said)) => said,
            Ok(None) => return StatusCode::OK,
            Err(Unread::Stale) => {
                tracing::warn!(receiver, "an acknowledgement that is too old");
                return StatusCode::UNAUTHORIZED;
            }
            Err(Unread::NoneTaken | Unread::Malformed) => return StatusCode::BAD_REQUEST,
        };
        let tenant = found.tenant.as_deref().unwrap_or_default().to_owned();
        match self.write(&tenant, &said).await {
            Ok(()) => StatusCode::OK,
            Err(error) => {
                tracing::warn!(%error, "an acknowledgement waits for the log");
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Writes one to the partition that knows its episode; to each where none here does. Twice has
    /// the effect of once.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn write(
        &self,
        tenant: &str,
        said: &Acknowledgement,
    ) -> Result<(), balefire_bus::Error> {
        let known = self.partition_of(&said.escalation_id);
        let mut batch = BatchWriter::default();
        let record = codec::acknowledgement(said);
        batch.push(RecordRef::Acknowledgement(&record));
        let payload = frame(&mut batch, self.writer_id, tenant, clock::now());
        for partition in 0..self.topology.partitions {
            if known.is_some_and(|known| known != partition) {
                continue;
            }
            let subject = self.topology.deliveries_requeue(partition);
            let id = format!(
                "ack:{partition}:{}:{}:{}:{}",
                said.escalation_id, said.receiver, said.reference, said.at.0
            );
            self.log
                .append(&subject, payload.clone(), Some(&id))
                .await?;
        }
        tracing::info!(
            escalation = %said.escalation_id,
            receiver = %said.receiver,
            said = said.said.as_str(),
            "acknowledgement"
        );
        Ok(())
    }

    /// The partition here that was told of an escalation or an episode of this id.
    #[must_use]
    pub fn partition_of(&self, id: &EscalationId) -> Option<u32> {
        let mut views = self.views.iter();
        views
            .find(|view| view.state().episode_of(id).is_some())
            .map(|view| view.partition)
    }
}

async fn of_platform(
    State(acks): State<Acks>,
    Path(receiver): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    acks.came(&log_name(PLATFORM, &receiver), &headers, &body)
        .await
}

async fn of_tenant(
    State(acks): State<Acks>,
    Path((tenant, receiver)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    acks.came(&log_name(&tenant, &receiver), &headers, &body)
        .await
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn slack_time(headers: &HeaderMap) -> Option<Timestamp> {
    let seconds: i64 = text(headers, "x-slack-request-timestamp")?.parse().ok()?;
    Some(Timestamp(seconds.saturating_mul(SECOND)))
}

/// Whether one of the signatures is that of the bytes as they came. Compared in constant time.
fn is_signed(signature: Signature, secret: &[u8], headers: &HeaderMap, body: &[u8]) -> bool {
    if secret.is_empty() {
        return false;
    }
    let (header, prefix, before) = match signature {
        Signature::Pagerduty => ("x-pagerduty-signature", "v1=", String::new()),
        Signature::Slack => {
            let Some(time) = text(headers, "x-slack-request-timestamp") else {
                return false;
            };
            ("x-slack-signature", "v0=", format!("v0:{time}:"))
        }
    };
    let signatures = text(headers, header).unwrap_or_default().split(',');
    let mut claimed = signatures
        .take(SIGNATURES_MAX)
        .filter_map(|one| one.trim().strip_prefix(prefix))
        .filter_map(unhex);
    claimed.any(|claimed| {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
            return false;
        };
        mac.update(before.as_bytes());
        mac.update(body);
        mac.verify_slice(&claimed).is_ok()
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

/// The field `payload` of a form.
fn payload_of(form: &[u8]) -> Option<Vec<u8>> {
    let form = std::str::from_utf8(form).ok()?;
    let url: Url = format!("form:?{form}").parse().ok()?;
    let mut pairs = url.query_pairs();
    let (_, payload) = pairs.find(|(name, _)| name == "payload")?;
    Some(payload.into_owned().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let each = pairs.iter();
        each.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn slacks_own_example_is_signed_and_nothing_else_is() {
        // From Slack's page "Verifying requests from Slack".
        let secret = b"8f742231b10e8888abcd99yyyzzz85a5";
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let at = |time: &str, signature: &str| {
            headers(&[
                ("x-slack-request-timestamp", time),
                ("x-slack-signature", signature),
            ])
        };
        let good = at("1531420618", signature);
        assert!(is_signed(Signature::Slack, secret, &good, body));
        assert_eq!(slack_time(&good), Some(Timestamp(1_531_420_618 * SECOND)));
        assert!(!is_signed(Signature::Slack, b"other", &good, body));
        assert!(!is_signed(Signature::Slack, b"", &good, body));
        assert!(!is_signed(Signature::Slack, secret, &good, b"other"));
        let later = at("1531420619", signature);
        assert!(!is_signed(Signature::Slack, secret, &later, body));
        assert!(!is_signed(
            Signature::Slack,
            secret,
            &at("1531420618", "v0=zz"),
            body
        ));
        assert!(!is_signed(Signature::Slack, secret, &headers(&[]), body));
    }

    #[test]
    fn one_of_two_signatures_of_pagerduty_is_enough() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"new").unwrap();
        mac.update(b"{}");
        let hex: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let both = format!("v1={},v1={hex}", "00".repeat(32));
        let both = headers(&[("x-pagerduty-signature", &both)]);
        assert!(is_signed(Signature::Pagerduty, b"new", &both, b"{}"));
        assert!(!is_signed(Signature::Pagerduty, b"new", &both, b"{ }"));
        assert!(!is_signed(Signature::Slack, b"new", &both, b"{}"));
    }

    #[test]
    fn the_payload_of_a_form_is_decoded() {
        let form = b"payload=%7B%22a%22%3A%22b+c%26%22%7D&x=1";
        assert_eq!(payload_of(form).unwrap(), br#"{"a":"b c&"}"#);
        assert_eq!(payload_of(b"x=1"), None);
        assert_eq!(payload_of(b"\xff"), None);
    }
}
