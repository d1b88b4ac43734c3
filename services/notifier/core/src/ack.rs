//! Acknowledgements: somebody is on an episode. What continues it does not page again until it gets
//! worse, ends, or they take their word back. Pure: what came in over HTTP was checked by the shell.

use std::collections::BTreeMap;
use std::sync::Arc;

use balefire_event::time::{HOUR, MINUTE};
use balefire_event::{EscalationId, EscalationKind, Severity, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::receiver::Target;

/// Episodes whose acknowledgement is remembered in a partition; beyond it the oldest goes.
pub const EPISODES_MAX: usize = 100_000;
/// Longest name of an actor, characters.
pub const ACTOR_CHARS_MAX: usize = 128;
/// PagerDuty delivers again for hours; what is older than this is refused, nanoseconds.
const PAGERDUTY_AGE_MAX: i64 = 24 * HOUR;
/// Slack's own advice, nanoseconds.
const SLACK_AGE_MAX: i64 = 5 * MINUTE;
/// The clock of a sender may be ahead by so much, nanoseconds.
const AHEAD_MAX: i64 = 5 * MINUTE;
/// What a button of ours in Slack is called.
pub const SLACK_ACTION: &str = "balefire_acknowledge";

/// What somebody said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// They are on it.
    Acknowledged,
    /// They are no longer.
    Unacknowledged,
    /// They closed it with the receiver: what continues it is told anew.
    Resolved,
}

impl Said {
    /// The word people see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Unacknowledged => "unacknowledged",
            Self::Resolved => "resolved",
        }
    }
}

/// One acknowledgement, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The episode, or any escalation of it.
    pub escalation_id: EscalationId,
    /// Receiver that it came in by. Empty: the API.
    pub receiver: Arc<str>,
    /// Who.
    pub actor: String,
    /// When they said it.
    pub at: Timestamp,
    /// What.
    pub said: Said,
    /// The sender's own name for it, the same over repeats.
    pub reference: String,
}

/// What holds of an episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The last that was said.
    pub last: Acknowledgement,
    /// The most severe that had been told then.
    pub severity: Severity,
}

/// The acknowledgements of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acknowledgements {
    by_episode: BTreeMap<EscalationId, Held>,
}

impl Acknowledgements {
    /// Takes one in. One that is not newer than what is known changes nothing.
    pub(crate) fn take(
        &mut self,
        episode: EscalationId,
        said: Acknowledgement,
        severity: Severity,
    ) {
        let known = self.by_episode.get(&episode);
        if known.is_some_and(|held| held.last.at >= said.at) {
            return;
        }
        let held = Held {
            last: said,
            severity,
        };
        self.by_episode.insert(episode, held);
        while self.by_episode.len() > EPISODES_MAX {
            let all = self.by_episode.iter();
            let oldest = all.min_by_key(|(_, held)| held.last.at);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                return;
            };
            self.by_episode.remove(&oldest);
        }
    }

    /// Who is on an episode, where a record of this severity is no news to them.
    pub(crate) fn covers(&self, episode: &EscalationId, severity: Severity) -> Option<&str> {
        let held = self.by_episode.get(episode)?;
        let on_it = held.last.said == Said::Acknowledged && severity <= held.severity;
        on_it.then_some(held.last.actor.as_str())
    }

    /// What was said last of an episode.
    #[must_use]
    pub fn of(&self, episode: &EscalationId) -> Option<&Held> {
        self.by_episode.get(episode)
    }

    /// What was said last of each, by episode, behind `after`.
    pub fn iter(
        &self,
        after: Option<EscalationId>,
    ) -> impl Iterator<Item = (&EscalationId, &Held)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_episode
            .range((after.map_or(Unbounded, Excluded), Unbounded))
    }
}

/// Why nothing was taken from a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// The receiver takes none.
    NoneTaken,
    /// It is not what this sender sends.
    Malformed,
    /// It is too old, or of the future.
    Stale,
}

/// The header with the signature, and how it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// `x-pagerduty-signature: v1=HEX[,v1=HEX]`, of the body.
    Pagerduty,
    /// `x-slack-signature: v0=HEX`, of "v0:TIME:BODY", TIME from `x-slack-request-timestamp`.
    Slack,
}

impl Target {
    /// How what comes in by it is signed; `None`: nothing does.
    #[must_use]
    pub const fn signature(&self) -> Option<Signature> {
        if matches!(self, Self::Pagerduty(_)) {
            Some(Signature::Pagerduty)
        } else if matches!(self, Self::SlackBot(_)) {
            Some(Signature::Slack)
        } else {
            None
        }
    }

    /// File and variable with the secret that signs what comes in.
    #[must_use]
    pub fn ack_secret(&self) -> (Option<&str>, Option<&str>) {
        let (file, env) = if let Self::Pagerduty(config) = self {
            (&config.ack_secret_file, &config.ack_secret_env)
        } else if let Self::SlackBot(config) = self {
            (&config.ack_secret_file, &config.ack_secret_env)
        } else {
            return (None, None);
        };
        (file.as_deref(), env.as_deref())
    }

    /// Whether people can acknowledge there and it comes in here.
    #[must_use]
    pub fn takes_acks(&self) -> bool {
        self.ack_secret() != (None, None)
    }
}

/// Reads a body whose signature holds. `sent` is when a signed header says it was sent. `None`: it
/// is about something else, which is fine.
///
/// # Errors
/// [`Unread`].
pub fn read(
    (signature, receiver): (Signature, &Arc<str>),
    body: &[u8],
    sent: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Acknowledgement>, Unread> {
    match signature {
        Signature::Pagerduty => pagerduty(receiver, body, now),
        Signature::Slack => slack(receiver, body, sent.ok_or(Unread::Malformed)?, now),
    }
}

fn fresh(at: Timestamp, now: Timestamp, age_max: i64) -> Result<(), Unread> {
    if (-AHEAD_MAX..=age_max).contains(&now.since(at)) {
        Ok(())
    } else {
        Err(Unread::Stale)
    }
}

#[derive(Deserialize)]
struct Webhook {
    event: WebhookEvent,
}

#[derive(Deserialize)]
struct WebhookEvent {
    id: String,
    event_type: String,
    occurred_at: String,
    #[serde(default)]
    agent: Option<Reference>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    id: String,
    #[serde(default)]
    summary: Option<String>,
}

/// V3 webhook: `incident_key` is our dedup_key.
fn pagerduty(
    receiver: &Arc<str>,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<Acknowledgement>, Unread> {
    let Webhook { event } = serde_json::from_slice(body).map_err(|_| Unread::Malformed)?;
    let said = match event.event_type.as_str() {
        "incident.acknowledged" => Said::Acknowledged,
        "incident.unacknowledged" => Said::Unacknowledged,
        "incident.resolved" => Said::Resolved,
        _ => return Ok(None),
    };
    let at = Timestamp::parse(&event.occurred_at).map_err(|_| Unread::Malformed)?;
    fresh(at, now, PAGERDUTY_AGE_MAX)?;
    let key = event.data.get("incident_key").and_then(Value::as_str);
    // An incident that is not ours has another key.
    let Some(escalation_id) = key.and_then(|key| key.parse().ok()) else {
        return Ok(None);
    };
    let agent = event.agent.map(|agent| match agent.summary {
        Some(summary) if !summary.is_empty() => format!("{summary} ({})", agent.id),
        Some(_) | None => agent.id,
    });
    // Our own resolve comes back without a person.
    let Some(actor) = agent.filter(|agent| !agent.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(Acknowledgement {
        escalation_id,
        receiver: Arc::clone(receiver),
        actor: name(&actor),
        at,
        said,
        reference: name(&event.id),
    }))
}

#[derive(Deserialize)]
struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    user: Option<SlackUser>,
    #[serde(default)]
    actions: Vec<SlackAction>,
}

#[derive(Deserialize)]
struct SlackUser {
    id: String,
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
struct SlackAction {
    #[serde(default)]
    action_id: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    action_ts: String,
}

/// The value of `payload` of an interaction, decoded.
fn slack(
    receiver: &Arc<str>,
    payload: &[u8],
    sent: Timestamp,
    now: Timestamp,
) -> Result<Option<Acknowledgement>, Unread> {
    fresh(sent, now, SLACK_AGE_MAX)?;
    let said: Interaction = serde_json::from_slice(payload).map_err(|_| Unread::Malformed)?;
    if said.kind != "block_actions" {
        return Ok(None);
    }
    let mut actions = said.actions.into_iter();
    let Some(action) = actions.find(|action| action.action_id == SLACK_ACTION) else {
        return Ok(None);
    };
    let user = said.user.ok_or(Unread::Malformed)?;
    let actor = match user.username.as_str() {
        "" => user.id,
        username => format!("{username} ({})", user.id),
    };
    Ok(Some(Acknowledgement {
        escalation_id: action.value.parse().map_err(|_| Unread::Malformed)?,
        receiver: Arc::clone(receiver),
        actor: name(&actor),
        at: sent,
        said: Said::Acknowledged,
        reference: name(&action.action_ts),
    }))
}

/// On one line and of bounded length.
fn name(text: &str) -> String {
    crate::story::clip(&crate::story::line(text), ACTOR_CHARS_MAX)
}

/// Whether a record can be a repeat that an acknowledgement stops.
pub(crate) const fn is_repeat(kind: EscalationKind) -> bool {
    matches!(kind, EscalationKind::Continued)
}

#[cfg(test)]
#[path = "ack_tests.rs"]
mod tests;
