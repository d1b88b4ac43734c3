//! The kinds of receivers, under one contract: an encoder of what may be seen ([`Target::encode`]),
//! a reader of answers ([`Target::classify`]), and the escalation's id in the form by which the
//! target dedups. Pure: the shell knows addresses and secrets, and speaks.

pub mod elastic;
pub mod email;
pub mod jira;
pub mod ocsf;
pub mod pagerduty;
pub mod sentinel;
pub mod servicenow;
pub mod slack;
pub mod splunk;
pub mod syslog;
pub mod webhook;

use serde::Deserialize;
use serde_json::Value;

use crate::classify::{Response, Verdict};
use crate::view::View;

/// A kind of receiver with its own configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Standard Webhooks.
    #[default]
    Webhook,
    /// Splunk HTTP Event Collector.
    Splunk(splunk::Config),
    /// Microsoft Sentinel, Logs Ingestion API.
    Sentinel(sentinel::Config),
    /// Elasticsearch, `_bulk` into a data stream.
    Elastic(elastic::Config),
    /// OCSF Detection Finding over HTTP.
    Ocsf(ocsf::Config),
    /// PagerDuty Events API v2.
    Pagerduty(pagerduty::Config),
    /// ServiceNow, table incident.
    ServicenowIncident(servicenow::IncidentConfig),
    /// ServiceNow Event Management.
    ServicenowEvent(servicenow::EventConfig),
    /// Jira Cloud, REST v3.
    Jira(jira::Config),
    /// Slack, incoming webhook.
    SlackWebhook(slack::WebhookConfig),
    /// Slack, a bot that posts to a channel.
    SlackBot(slack::BotConfig),
    /// RFC 5424 with CEF over TCP or TLS; the URL is tcp://host:port or tls://host:port.
    Syslog(syslog::Config),
    /// E-mail; the URL is smtp://host:port (STARTTLS) or smtps://host:port.
    Email(email::Config),
}

/// Where the secret goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Nowhere: there is none.
    None,
    /// It signs the body (Standard Webhooks); the id goes with it.
    Signature,
    /// Into Authorization, behind a word.
    Authorization(&'static str),
    /// "user:password", as HTTP Basic.
    Basic,
    /// "user:password", in the target's own way.
    Login,
    /// Into the body, as the first field under this name, so that no stored body holds it.
    Field(&'static str),
    /// Behind the URL: it is part of the address.
    Path,
    /// It buys a token (OAuth 2.0 client credentials), which goes into Authorization.
    ClientCredentials {
        /// Where tokens are sold.
        token_url: String,
        /// Whose secret it is.
        client_id: String,
        /// What for.
        scope: &'static str,
    },
}

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// To be told something, nothing more.
    Get,
    /// The usual one.
    Post,
    /// To change what is there.
    Patch,
}

/// What is asked of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// How.
    pub method: Method,
    /// Behind the receiver's URL, with the query.
    pub path: String,
    /// Of the body.
    pub content_type: &'static str,
    /// The bytes; the same for every attempt.
    pub body: Vec<u8>,
}

/// What a search before the call found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there, under this name of the target's own.
    There(String),
    /// It is not.
    Nothing,
    /// No answer to that question.
    Unknown(Verdict),
}

impl Call {
    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self {
            method: Method::Post,
            path: path.into(),
            content_type: "application/json",
            body: body.to_string().into_bytes(),
        }
    }

    pub(crate) fn patch(path: impl Into<String>, body: &Value) -> Self {
        Self {
            method: Method::Patch,
            ..Self::post(path, body)
        }
    }

    pub(crate) fn get(path: String) -> Self {
        Self {
            method: Method::Get,
            path,
            content_type: "application/json",
            body: Vec::new(),
        }
    }
}

impl Target {
    /// The word for it in files, metrics and documents.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Splunk(_) => "splunk",
            Self::Sentinel(_) => "sentinel",
            Self::Elastic(_) => "elastic",
            Self::Ocsf(_) => "ocsf",
            Self::Pagerduty(_) => "pagerduty",
            Self::ServicenowIncident(_) => "servicenow_incident",
            Self::ServicenowEvent(_) => "servicenow_event",
            Self::Jira(_) => "jira",
            Self::SlackWebhook(_) => "slack_webhook",
            Self::SlackBot(_) => "slack_bot",
            Self::Syslog(_) => "syslog",
            Self::Email(_) => "email",
        }
    }

    /// Where the secret goes.
    #[must_use]
    pub fn auth(&self) -> Auth {
        match self {
            Self::Webhook => Auth::Signature,
            Self::Splunk(_) => Auth::Authorization("Splunk"),
            Self::Sentinel(config) => config.auth(),
            Self::Elastic(_) => Auth::Authorization("ApiKey"),
            Self::Ocsf(_) | Self::SlackBot(_) => Auth::Authorization("Bearer"),
            Self::Pagerduty(_) => Auth::Field("routing_key"),
            Self::ServicenowIncident(_) | Self::ServicenowEvent(_) | Self::Jira(_) => Auth::Basic,
            Self::SlackWebhook(_) => Auth::Path,
            Self::Syslog(_) => Auth::None,
            Self::Email(_) => Auth::Login,
        }
    }

    /// Whether nothing is accepted without a secret.
    #[must_use]
    pub const fn needs_secret(&self) -> bool {
        !matches!(
            self,
            Self::Webhook | Self::Ocsf(_) | Self::Syslog(_) | Self::Elastic(_) | Self::Email(_)
        )
    }

    /// Whether it keeps one thing for an episode that is open until it is resolved, rather than a
    /// message for each record.
    #[must_use]
    pub const fn keeps_one_thing(&self) -> bool {
        matches!(
            self,
            Self::Ocsf(_)
                | Self::Pagerduty(_)
                | Self::ServicenowIncident(_)
                | Self::ServicenowEvent(_)
                | Self::Jira(_)
                | Self::SlackBot(_)
        )
    }

    /// Whether people are woken or interrupted by it, so that a storm is summed up.
    #[must_use]
    pub const fn pages(&self) -> bool {
        matches!(
            self,
            Self::Pagerduty(_) | Self::SlackWebhook(_) | Self::SlackBot(_) | Self::Email(_)
        )
    }

    /// What is wrong with its own configuration, in words; `None`: nothing.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Email(config) => config.fault(),
            Self::Webhook
            | Self::Splunk(_)
            | Self::Sentinel(_)
            | Self::Elastic(_)
            | Self::Ocsf(_)
            | Self::Pagerduty(_)
            | Self::ServicenowIncident(_)
            | Self::ServicenowEvent(_)
            | Self::Jira(_)
            | Self::SlackWebhook(_)
            | Self::SlackBot(_)
            | Self::Syslog(_) => None,
        }
    }

    /// Whether what it took counts only when it says that it is stored.
    #[must_use]
    pub const fn confirms(&self) -> bool {
        matches!(self, Self::Splunk(config) if config.ack)
    }

    /// Whether it wants bodies packed (gzip).
    #[must_use]
    pub const fn packs(&self) -> bool {
        matches!(self, Self::Sentinel(_))
    }

    /// Asks whether the target has the episode already, where it does not dedup by itself.
    #[must_use]
    pub fn search(&self, view: &View) -> Option<Call> {
        match self {
            Self::ServicenowIncident(_) => Some(servicenow::search(view)),
            Self::Jira(_) => Some(jira::search(view)),
            Self::Webhook
            | Self::Splunk(_)
            | Self::Sentinel(_)
            | Self::Elastic(_)
            | Self::Ocsf(_)
            | Self::Pagerduty(_)
            | Self::ServicenowEvent(_)
            | Self::SlackWebhook(_)
            | Self::SlackBot(_)
            | Self::Syslog(_)
            | Self::Email(_) => None,
        }
    }

    /// Reads the answer to [`Target::search`].
    #[must_use]
    pub fn found(&self, response: &Response<'_>) -> Found {
        let (list, name) = if matches!(self, Self::Jira(_)) {
            ("issues", "key")
        } else {
            ("result", "sys_id")
        };
        let verdict = response.by_status();
        if verdict != Verdict::Delivered {
            return Found::Unknown(verdict);
        }
        let json = response.json();
        match json.get(list).and_then(Value::as_array).map(Vec::as_slice) {
            Some([]) => Found::Nothing,
            Some([first, ..]) => match first.get(name).and_then(Value::as_str) {
                Some(name) if is_plain(name) => Found::There(name.to_owned()),
                // It stands in the next call's path.
                Some(_) | None => Found::Unknown(Verdict::Permanent),
            },
            None => Found::Unknown(response.again()),
        }
    }

    /// What is sent where the target was searched and has nothing, or need not be searched.
    /// `handle` is what the target calls what it was told first; empty: nothing is known of it.
    /// `None`: there is nothing to say.
    #[must_use]
    pub fn encode(&self, view: &View, handle: &str) -> Option<Call> {
        match self {
            Self::Webhook => webhook::encode(view),
            Self::Splunk(config) => Some(splunk::encode(config, view)),
            Self::Sentinel(config) => Some(sentinel::encode(config, view)),
            Self::Elastic(config) => Some(elastic::encode(config, view)),
            Self::Ocsf(_) => Some(ocsf::encode(view)),
            Self::Pagerduty(config) => Some(pagerduty::encode(config, view)),
            Self::ServicenowIncident(config) => servicenow::encode_incident(config, view),
            Self::ServicenowEvent(config) => Some(servicenow::encode_event(config, view)),
            Self::Jira(config) => jira::encode(config, view),
            Self::SlackWebhook(_) => Some(slack::encode_webhook(view)),
            Self::SlackBot(config) => Some(slack::encode_bot(config, view, handle)),
            Self::Syslog(config) => Some(syslog::encode(config, view)),
            Self::Email(config) => Some(email::encode(config, view)),
        }
    }

    /// What is sent where the search found the episode, under the target's own name for it.
    /// `None`: there is nothing to add.
    #[must_use]
    pub fn update(&self, view: &View, there: &str) -> Option<Call> {
        match self {
            Self::ServicenowIncident(config) => servicenow::update_incident(config, view, there),
            Self::Jira(config) => jira::update(config, view, there),
            Self::Webhook
            | Self::Splunk(_)
            | Self::Sentinel(_)
            | Self::Elastic(_)
            | Self::Ocsf(_)
            | Self::Pagerduty(_)
            | Self::ServicenowEvent(_)
            | Self::SlackWebhook(_)
            | Self::SlackBot(_)
            | Self::Syslog(_)
            | Self::Email(_) => None,
        }
    }

    /// What the target calls what it was just told, where a later call needs it.
    #[must_use]
    pub fn handle(&self, response: &Response<'_>) -> String {
        if matches!(self, Self::SlackBot(_)) {
            return slack::handle(response);
        }
        String::new()
    }

    /// Reads the answer to [`Target::encode`].
    #[must_use]
    pub fn classify(&self, response: &Response<'_>) -> Verdict {
        match self {
            Self::Splunk(_) => splunk::classify(response),
            Self::Sentinel(_) => sentinel::classify(response),
            Self::Elastic(_) => elastic::classify(response),
            Self::Pagerduty(_) => pagerduty::classify(response),
            Self::SlackWebhook(_) => slack::classify_webhook(response),
            Self::SlackBot(_) => slack::classify_bot(response),
            Self::Webhook
            | Self::Ocsf(_)
            | Self::ServicenowIncident(_)
            | Self::ServicenowEvent(_)
            | Self::Jira(_)
            | Self::Syslog(_)
            | Self::Email(_) => response.by_status(),
        }
    }
}

/// Whether a name of a target's can stand in a path.
fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
