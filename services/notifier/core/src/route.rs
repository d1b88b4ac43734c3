//! The routing table: which receivers are told of which escalations.

use std::sync::Arc;

use balefire_event::{Escalation, Severity};
use serde::Deserialize;

use crate::address::{AddressPolicy, Network};
use crate::plan::Condition;
use crate::receiver::Target;
use crate::storm::{PAGES_DEFAULT, PAGES_MAX};
use crate::view::Classification;

/// Most receivers of a table.
pub const RECEIVERS_MAX: usize = 64;
/// Longest name of a receiver, bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Most deliveries to one receiver at a time.
pub const CONCURRENCY_MAX: usize = 64;

/// A file of receivers: `[[receiver]]` tables. Where there is no condition everything is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverFile {
    /// The receivers.
    #[serde(default, rename = "receiver")]
    pub receivers: Vec<ReceiverEntry>,
}

/// One receiver as people write it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverEntry {
    /// Lower-case letters, digits, "-" and "_".
    pub name: String,
    /// Where to post: the whole URL of a webhook, the base URL of any other target.
    pub url: String,
    /// What kind it is, with its own configuration: `[receiver.target.splunk]`. Default: a webhook.
    #[serde(default)]
    pub target: Target,
    /// It is shown facts of at most this class: public, internal, confidential or restricted (the
    /// default).
    #[serde(default)]
    pub max_classification: Classification,
    /// File with the secret: signing keys of a webhook ("whsec_…", several while they are rotated),
    /// the token or "user:password" of another target.
    #[serde(default)]
    pub secret_file: Option<String>,
    /// Environment variable with the secret.
    #[serde(default)]
    pub secret_env: Option<String>,
    /// File of root certificates (PEM) that are trusted beside the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// This host may be called, without TLS too.
    #[serde(default)]
    pub allow_loopback: bool,
    /// Private networks that may be called, in CIDR notation.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// Less severe escalations are not told: low, medium, high or critical.
    #[serde(default)]
    pub severity_min: Option<String>,
    /// Only escalations for one of these. Empty: any.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Deliveries at a time, default 1: then a kill repeats one at most. Of more places
    /// [`crate::queue::UNLOGGED_PER_PLACE`] for each.
    #[serde(default)]
    pub concurrency: Option<usize>,
    /// Whether it is told what becomes of an escalation. Default: where the target keeps one open
    /// thing.
    #[serde(default)]
    pub updates: Option<bool>,
    /// Most calls in a minute. Default: as many as it takes.
    #[serde(default)]
    pub rate_per_minute: Option<u32>,
    /// Pages in ten minutes beyond which they are held and summed up. Default: 30 for pagerduty,
    /// slack_webhook, slack_bot and email, no limit for the others.
    #[serde(default)]
    pub storm_pages: Option<u32>,
    /// It gets every event, in batches, instead of escalations.
    #[serde(default)]
    pub feed: bool,
    /// It is told once a week, tenant by tenant, what was of low severity.
    #[serde(default)]
    pub weekly_digest: bool,
}

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Too many receivers.
    TooMany,
    /// A name that is none.
    Name(String),
    /// Two receivers of one name.
    Twice(String),
    /// A network that is none.
    Network {
        /// The receiver.
        receiver: String,
        /// What was written.
        network: String,
    },
    /// A concurrency of 0 or beyond the largest.
    Concurrency(String),
    /// A severity that is none.
    Severity(String),
    /// Both secret_file and secret_env.
    TwoSecrets(String),
    /// The feed to a target that keeps no events.
    Feed(String),
    /// A digest to what gets the feed: that has the events themselves.
    Digest(String),
    /// A rate of 0.
    Zero(String),
    /// A storm limit of 0 or beyond the largest.
    Storm(String),
    /// What its kind has of its own is wrong.
    Target {
        /// The receiver.
        receiver: String,
        /// What is wrong.
        reason: String,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany => write!(f, "more than {RECEIVERS_MAX} receivers"),
            Self::Name(name) => write!(
                f,
                "receiver name {name:?}: expected 1 to {NAME_BYTES_MAX} of a-z, 0-9, - and _"
            ),
            Self::Twice(name) => write!(f, "two receivers are named {name:?}"),
            Self::Network { receiver, network } => {
                write!(f, "receiver {receiver:?}: {network:?} is no network")
            }
            Self::Concurrency(name) => write!(
                f,
                "receiver {name:?}: concurrency must be 1 to {CONCURRENCY_MAX}"
            ),
            Self::Severity(name) => write!(
                f,
                "receiver {name:?}: severity_min is low, medium, high or critical"
            ),
            Self::Feed(name) => write!(
                f,
                "receiver {name:?}: only webhook, splunk, sentinel, elastic and syslog take the feed"
            ),
            Self::Digest(name) => write!(
                f,
                "receiver {name:?}: one with feed = true has every event; give weekly_digest to another"
            ),
            Self::Zero(name) => write!(
                f,
                "receiver {name:?}: rate_per_minute is 1 or more; leave it out for no limit"
            ),
            Self::Storm(name) => write!(f, "receiver {name:?}: storm_pages is 1 to {PAGES_MAX}"),
            Self::Target { receiver, reason } => write!(f, "receiver {receiver:?}: {reason}"),
            Self::TwoSecrets(name) => {
                write!(
                    f,
                    "receiver {name:?}: give secret_file or secret_env, not both"
                )
            }
        }
    }
}

impl std::error::Error for Fault {}

/// One receiver as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub name: Arc<str>,
    /// Less severe escalations are not told.
    pub severity_min: Severity,
    /// Only escalations for one of these. Empty: any.
    pub audiences: Vec<String>,
    /// Deliveries at a time.
    pub concurrency: usize,
    /// Which addresses it may have.
    pub addresses: AddressPolicy,
    /// How it is spoken to.
    pub target: Target,
    /// File of root certificates that are trusted beside the system's.
    pub ca_file: Option<String>,
    /// What it may see.
    pub max_classification: Classification,
    /// Whose it is; `None`: everybody's.
    pub tenant: Option<Arc<str>>,
    /// Whether it is told what becomes of an escalation.
    pub updates: bool,
    /// Most calls in a minute; `None`: as many as it takes.
    pub rate_per_minute: Option<u32>,
    /// Pages in ten minutes beyond which they are held and summed up; `None`: never.
    pub storm_pages: Option<u32>,
    /// It gets every event instead of escalations.
    pub feed: bool,
    /// It is told once a week what was of low severity.
    pub weekly_digest: bool,
}

/// Networks that it may call though they are not public.
fn networks_of(entry: &ReceiverEntry) -> Result<Vec<Network>, Fault> {
    let network = |text: &String| {
        Network::parse(text).ok_or_else(|| Fault::Network {
            receiver: entry.name.clone(),
            network: text.clone(),
        })
    };
    entry.allow_networks.iter().map(network).collect()
}

impl Receiver {
    /// Checks an entry by itself.
    ///
    /// # Errors
    /// The first fault.
    pub fn of(entry: &ReceiverEntry) -> Result<Self, Fault> {
        let named = (1..=NAME_BYTES_MAX).contains(&entry.name.len())
            && entry
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !named {
            return Err(Fault::Name(entry.name.clone()));
        }
        let concurrency = entry.concurrency.unwrap_or(1);
        if !(1..=CONCURRENCY_MAX).contains(&concurrency) {
            return Err(Fault::Concurrency(entry.name.clone()));
        }
        if entry.secret_file.is_some() && entry.secret_env.is_some() {
            return Err(Fault::TwoSecrets(entry.name.clone()));
        }
        if let Some(reason) = entry.target.fault() {
            let receiver = entry.name.clone();
            return Err(Fault::Target { receiver, reason });
        }
        if entry.feed && !entry.target.feeds() {
            return Err(Fault::Feed(entry.name.clone()));
        }
        if entry.feed && entry.weekly_digest {
            return Err(Fault::Digest(entry.name.clone()));
        }
        if entry.rate_per_minute == Some(0) {
            return Err(Fault::Zero(entry.name.clone()));
        }
        if entry
            .storm_pages
            .is_some_and(|max| !(1..=PAGES_MAX).contains(&max))
        {
            return Err(Fault::Storm(entry.name.clone()));
        }
        let severity_min = entry
            .severity_min
            .as_deref()
            .map_or(Ok(Severity::Low), |word| {
                word.parse()
                    .map_err(|_| Fault::Severity(entry.name.clone()))
            })?;
        let networks = networks_of(entry)?;
        Ok(Self {
            name: entry.name.as_str().into(),
            severity_min,
            audiences: entry.audiences.clone(),
            concurrency,
            addresses: AddressPolicy {
                loopback: entry.allow_loopback,
                networks,
            },
            target: entry.target.clone(),
            ca_file: entry.ca_file.clone(),
            max_classification: entry.max_classification,
            tenant: None,
            updates: entry.updates.unwrap_or(entry.target.keeps_one_thing()),
            rate_per_minute: entry.rate_per_minute,
            storm_pages: entry
                .storm_pages
                .or_else(|| entry.target.pages().then_some(PAGES_DEFAULT)),
            feed: entry.feed,
            weekly_digest: entry.weekly_digest,
        })
    }

    /// Whether a tenant's escalations may go to it.
    #[must_use]
    pub fn is_of(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|own| own == tenant)
    }

    /// What keeps it from being told of an escalation, in words; `None`: nothing. One that names
    /// no audience is for everyone.
    #[must_use]
    pub fn miss(&self, escalation: &Escalation) -> Option<String> {
        let condition = Condition {
            severity_min: self.severity_min,
            audiences: self.audiences.clone(),
            ..Condition::default()
        };
        condition.miss(escalation)
    }

    pub(crate) fn route(&self) -> &'static str {
        if self.audiences.is_empty() && self.severity_min == Severity::Low {
            "everything"
        } else {
            "matched"
        }
    }
}

/// The receivers in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    receivers: Vec<Receiver>,
}

impl Routes {
    /// Checks and takes a table.
    ///
    /// # Errors
    /// The first fault.
    pub fn of(entries: &[ReceiverEntry]) -> Result<Self, Fault> {
        if entries.len() > RECEIVERS_MAX {
            return Err(Fault::TooMany);
        }
        let receivers = entries
            .iter()
            .map(Receiver::of)
            .collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<_> = receivers.iter().map(|receiver| &receiver.name).collect();
        names.sort_unstable();
        if let Some(name) = names.windows(2).find_map(|pair| match pair {
            [a, b] if a == b => Some(a.to_string()),
            _ => None,
        }) {
            return Err(Fault::Twice(name));
        }
        Ok(Self { receivers })
    }

    /// The receivers.
    #[must_use]
    pub fn receivers(&self) -> &[Receiver] {
        &self.receivers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use balefire_event::Timestamp;

    fn entry(name: &str) -> ReceiverEntry {
        ReceiverEntry {
            name: name.into(),
            url: "https://soc.example/hook".into(),
            ..ReceiverEntry::default()
        }
    }

    fn told(routes: &Routes, severity: Severity, audiences: &[&str]) -> Vec<String> {
        let escalation = crate::state::tests::escalation(1, severity, audiences);
        Plan::of_file(routes)
            .decide(&escalation, Timestamp(0))
            .iter()
            .map(|choice| choice.receiver.to_string())
            .collect()
    }

    #[test]
    fn severity_and_audience_choose_receivers() {
        let routes = Routes::of(&[
            entry("all"),
            ReceiverEntry {
                severity_min: Some("high".into()),
                ..entry("pager")
            },
            ReceiverEntry {
                audiences: vec!["ai_team".into()],
                ..entry("ai")
            },
        ])
        .unwrap();
        assert_eq!(told(&routes, Severity::Low, &["soc"]), ["all"]);
        assert_eq!(told(&routes, Severity::High, &["soc"]), ["all", "pager"]);
        assert_eq!(
            told(&routes, Severity::Critical, &["soc", "ai_team"]),
            ["all", "pager", "ai"]
        );
        assert_eq!(told(&routes, Severity::Low, &[]), ["all", "ai"]);
    }

    #[test]
    fn a_table_says_what_is_wrong_with_it() {
        let network = ReceiverEntry {
            allow_networks: vec!["10.0.0.0/99".into()],
            ..entry("a")
        };
        let concurrency = ReceiverEntry {
            concurrency: Some(0),
            ..entry("a")
        };
        let severity = ReceiverEntry {
            severity_min: Some("awful".into()),
            ..entry("a")
        };
        let secrets = ReceiverEntry {
            secret_file: Some("a".into()),
            secret_env: Some("b".into()),
            ..entry("a")
        };
        let rate = ReceiverEntry {
            rate_per_minute: Some(0),
            ..entry("a")
        };
        let storm = ReceiverEntry {
            storm_pages: Some(0),
            ..entry("a")
        };
        for (entries, part) in [
            (vec![storm], "storm_pages"),
            (vec![entry("")], "receiver name"),
            (vec![entry("A b")], "receiver name"),
            (vec![entry("a"), entry("b"), entry("a")], "two receivers"),
            (vec![network], "is no network"),
            (vec![concurrency], "concurrency"),
            (vec![severity], "severity_min"),
            (vec![secrets], "not both"),
            (vec![rate], "rate_per_minute"),
            (vec![entry("a"); 65], "more than 64"),
        ] {
            let fault = Routes::of(&entries).unwrap_err().to_string();
            assert!(fault.contains(part), "{fault}");
        }
    }
}
