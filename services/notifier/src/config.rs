//! Which receivers there are: flags, the receivers file, secrets by reference.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use balefire_kit::dead_man::DeadMan;
use balefire_notifier_core::backoff::Backoff;
use balefire_notifier_core::digest::Calendar;
use balefire_notifier_core::objects::PLATFORM;
use balefire_notifier_core::route::{Receiver, ReceiverEntry, ReceiverFile, Routes};

use crate::caller::{Caller, DEADLINE};
use crate::error::Error;
use crate::pulse::Settings;
use crate::secret::Key;

/// Largest receivers or secret file, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Name of the receiver that `--webhook` makes.
pub const WEBHOOK_NAME: &str = "webhook";

/// Flags about receivers. `balefire up` and `balefire-notifier` flatten these.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReceiverArgs {
    /// Tell this URL of every escalation; loopback and plain HTTP allowed, for trying out
    #[arg(long, env = "BALEFIRE_WEBHOOK", value_name = "URL")]
    pub webhook: Option<String>,
    /// Sign what goes to --webhook (Standard Webhooks, whsec_…)
    #[arg(
        long,
        env = "BALEFIRE_WEBHOOK_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub webhook_secret: Option<String>,
    /// File of receivers (TOML, [[receiver]] tables)
    #[arg(long, env = "BALEFIRE_RECEIVERS", value_name = "FILE")]
    pub receivers: Option<PathBuf>,
    /// Folder of secrets that receiver objects may name by file (objects of other tenants than
    /// "default": in a folder of the tenant's name)
    #[arg(long, env = "BALEFIRE_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// Attempts after which a delivery becomes a dead letter [default: 8]
    #[arg(long, env = "BALEFIRE_DELIVERY_ATTEMPTS", value_name = "N")]
    pub delivery_attempts: Option<u32>,
    /// Ping this URL (GET, HTTPS) each time a heartbeat came out of the whole pipeline: a service
    /// outside that alerts when it hears nothing
    #[arg(
        long,
        env = "BALEFIRE_DEAD_MAN_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub dead_man_url: Option<String>,
    /// Tell of the platform itself when heartbeats take longer than this, seconds
    #[arg(
        long,
        env = "BALEFIRE_HEARTBEAT_LATE_SECONDS",
        value_name = "SECONDS",
        default_value_t = HEARTBEAT_LATE_SECONDS
    )]
    pub heartbeat_late_seconds: u32,
}

/// A heartbeat may take so long through the pipeline, seconds.
pub const HEARTBEAT_LATE_SECONDS: u32 = 5;

/// A receiver that can be called.
#[derive(Debug, Clone)]
pub struct Callable {
    /// What it is told of.
    pub receiver: Receiver,
    /// How it is called.
    pub caller: Caller,
}

/// What a notifier is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The receivers.
    pub receivers: Vec<Callable>,
    /// Which receiver is told of what.
    pub routes: Arc<Routes>,
    /// How often and when again.
    pub backoff: Backoff,
    /// Deadline of one attempt.
    pub deadline: Duration,
    /// Where the secrets of receiver objects are.
    pub secrets: Secrets,
    /// What is awaited of the pipeline, and who hears of it.
    pub pulse: Settings,
    /// How time is cut for digests: weeks, but for tests.
    pub calendar: Calendar,
}

/// Where the secrets of receiver objects are. An object is written by whoever may operate its
/// tenant, and is sent where it says: so it can name only what was put there for it.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    dir: Option<PathBuf>,
}

impl Secrets {
    /// In a folder.
    #[must_use]
    pub fn of_dir(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// The secret that an object names; `None`: it names none.
    ///
    /// # Errors
    /// Why it cannot be had, in words.
    pub fn of_object(
        &self,
        receiver: &Receiver,
        entry: &ReceiverEntry,
    ) -> Result<Option<String>, String> {
        if let Some(file) = &entry.secret_file {
            let Some(dir) = &self.dir else {
                return Err("secret_file needs a notifier started with --secrets-dir".into());
            };
            let dir = match receiver.tenant.as_deref() {
                None | Some(PLATFORM) => dir.clone(),
                Some(tenant) => dir.join(tenant),
            };
            let text = read_text(&dir.join(file));
            return text.map(Some).map_err(|error| error.to_string());
        }
        secret_of(entry).map_err(|error| error.to_string())
    }
}

impl ReceiverArgs {
    /// Reads files and secrets and checks everything.
    ///
    /// # Errors
    /// The first thing that is wrong, named.
    pub fn load(&self) -> Result<Config, Error> {
        let mut entries = match &self.receivers {
            Some(path) => read_file(path)?.receivers,
            None => Vec::new(),
        };
        let mut secrets = Vec::with_capacity(entries.len() + 1);
        for entry in &entries {
            secrets.push(secret_of(entry)?);
        }
        if let Some(url) = &self.webhook {
            entries.push(webhook_entry(url));
            secrets.push(self.webhook_secret.clone());
        } else if self.webhook_secret.is_some() {
            return Err(Error::Receiver {
                receiver: WEBHOOK_NAME.into(),
                reason: "--webhook-secret needs --webhook".into(),
            });
        }
        let mut backoff = Backoff::default();
        if let Some(attempts) = self.delivery_attempts {
            backoff.attempts_max = attempts.max(1);
        }
        let mut config = Config::of(&entries, &secrets, backoff, DEADLINE)?;
        config.secrets = Secrets::of_dir(self.secrets_dir.clone());
        config.pulse.late_after = Duration::from_secs(self.heartbeat_late_seconds.into());
        config.pulse.dead_man = self.dead_man_url.as_deref().map(DeadMan::new).transpose()?;
        Ok(config)
    }
}

impl Config {
    /// Of entries and, in the same order, their secrets (`None`: there is none).
    ///
    /// # Errors
    /// The first thing that is wrong, named.
    pub fn of(
        entries: &[ReceiverEntry],
        secrets: &[Option<String>],
        backoff: Backoff,
        deadline: Duration,
    ) -> Result<Self, Error> {
        balefire_kit::install_crypto();
        let routes = Routes::of(entries)?;
        let mut receivers = Vec::with_capacity(entries.len());
        for (index, (entry, receiver)) in entries.iter().zip(routes.receivers()).enumerate() {
            let secret = secrets.get(index).and_then(Option::as_deref);
            let key = Key::of(&receiver.target, secret).map_err(|reason| Error::Receiver {
                receiver: entry.name.clone(),
                reason: reason.into(),
            })?;
            receivers.push(Callable {
                caller: Caller::new(receiver, &entry.url, key, deadline)?,
                receiver: receiver.clone(),
            });
        }
        Ok(Self {
            receivers,
            routes: Arc::new(routes),
            backoff,
            deadline,
            secrets: Secrets::default(),
            pulse: Settings::default(),
            calendar: Calendar::default(),
        })
    }
}

fn webhook_entry(url: &str) -> ReceiverEntry {
    ReceiverEntry {
        name: WEBHOOK_NAME.into(),
        url: url.to_owned(),
        allow_loopback: true,
        ..ReceiverEntry::default()
    }
}

fn read_text(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(Error::Malformed {
            path: path.to_owned(),
            reason: format!("larger than {FILE_BYTES_MAX} bytes"),
        });
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn read_file(path: &Path) -> Result<ReceiverFile, Error> {
    toml::from_str(&read_text(path)?).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        reason: error.message().to_owned(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the receivers file names the variable, so that no flag can"
)]
pub(crate) fn secret_of(entry: &ReceiverEntry) -> Result<Option<String>, Error> {
    if let Some(path) = &entry.secret_file {
        return read_text(Path::new(path)).map(Some);
    }
    let Some(name) = &entry.secret_env else {
        return Ok(None);
    };
    match std::env::var(name) {
        Ok(secret) => Ok(Some(secret)),
        Err(_) => Err(Error::Receiver {
            receiver: entry.name.clone(),
            reason: format!("the variable {name} is not set"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_receivers_file_and_a_webhook_go_together() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("r.toml"), dir.path().join("s"));
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let text = format!(
            "[[receiver]]\nname = \"soc\"\nurl = \"https://soc.example/hook\"\nsecret_file = {:?}\nseverity_min = \"high\"\naudiences = [\"soc\"]\n",
            secret.display()
        );
        std::fs::write(&file, text).unwrap();
        let args = ReceiverArgs {
            webhook: Some("http://127.0.0.1:9/".into()),
            receivers: Some(file),
            delivery_attempts: Some(3),
            ..ReceiverArgs::default()
        };
        let config = args.load().unwrap();
        let names: Vec<_> = config.receivers.iter().map(|c| &*c.receiver.name).collect();
        assert_eq!(names, ["soc", WEBHOOK_NAME]);
        assert_eq!(config.backoff.attempts_max, 3);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("r.toml");
        for (text, part) in [
            ("[[receivers]]\n", "unknown field"),
            ("[[receiver]]\nname = \"a\"\n", "missing field"),
            (
                "[[receiver]]\nname = \"a\"\nurl = \"http://soc.example/\"\n",
                "must be https",
            ),
            (
                "[[receiver]]\nname = \"a\"\nurl = \"https://s.example/\"\nsecret_env = \"BALEFIRE_NO_SUCH\"\n",
                "BALEFIRE_NO_SUCH",
            ),
            (
                "[[receiver]]\nname = \"A\"\nurl = \"https://s.example/\"\n",
                "receiver name",
            ),
        ] {
            std::fs::write(&file, text).unwrap();
            let args = ReceiverArgs {
                receivers: Some(file.clone()),
                ..ReceiverArgs::default()
            };
            let error = args.load().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let alone = ReceiverArgs {
            webhook_secret: Some(SECRET.into()),
            ..ReceiverArgs::default()
        };
        assert!(alone.load().is_err());
    }
}
