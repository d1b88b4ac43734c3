//! Notices about Balefire itself, straight to people: what must not wait for the log.
//!
//! The process that found the trouble posts them to one receiver, so they arrive where the log is
//! away, or is itself the trouble. Each is also an error in the log file and a counter, with or
//! without a receiver. Never holds an event, a user or a secret.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use balefire_event::digest::FieldHasher;
use balefire_event::time::SECOND;
use balefire_event::{Severity, Timestamp};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::clock;
use crate::process::chain;

/// Notices that may wait for the receiver; more are counted and dropped.
pub const QUEUE_LEN: usize = 64;
/// Attempts at one notice.
pub const ATTEMPTS_MAX: u32 = 8;
/// A notice of the same reason and place is not told again for so long, nanoseconds.
pub const QUIET: i64 = 15 * 60 * SECOND;
/// Reasons and places that are remembered for that.
const PLACES_MAX: usize = 1024;
/// Deadline of one attempt.
const DEADLINE: Duration = Duration::from_secs(10);
/// Wait after the first failed attempt; doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Details are cut to so many bytes.
const DETAIL_BYTES_MAX: usize = 1024;

static INSTALLED: OnceLock<SelfAlerts> = OnceLock::new();

/// Who is told about Balefire itself.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SelfAlertArgs {
    /// Post critical notices about Balefire itself (a log that lost records) to this URL, as JSON
    /// and without the log; HTTPS, or HTTP to this machine
    #[arg(long, env = "BALEFIRE_SELF_ALERT_URL", value_name = "URL")]
    pub self_alert_url: Option<String>,
    /// Let that URL be plain HTTP to another machine
    #[arg(long, env = "BALEFIRE_SELF_ALERT_ALLOW_HTTP")]
    pub self_alert_allow_http: bool,
}

/// Why notices cannot be sent. Never shows the URL: its path often is the secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No URL.
    #[error("--self-alert-url is no URL; give https://HOST/PATH")]
    Url,
    /// A URL that may not be used.
    #[error(
        "--self-alert-url is plain HTTP to another machine; use https, or --self-alert-allow-http"
    )]
    Plain,
    /// Another protocol.
    #[error("--self-alert-url speaks {scheme}; use https")]
    Scheme {
        /// Its protocol.
        scheme: String,
    },
    /// The HTTP client.
    #[error("prepare the client of --self-alert-url")]
    Client {
        /// Why not.
        source: reqwest::Error,
    },
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Stable code, a page of docs/runbooks: `log_regression` …
    pub reason: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Service or stage that found it.
    pub service: &'static str,
    /// Partition that it concerns; `None`: all of them.
    pub partition: Option<u32>,
    /// What it means, in one sentence.
    pub title: String,
    /// What was found.
    pub detail: String,
}

/// A notice as it is posted.
#[derive(Debug, Clone, Serialize)]
struct Body {
    /// Format of this object.
    schema: &'static str,
    /// The same over all attempts at this notice.
    id: String,
    severity: &'static str,
    reason: &'static str,
    title: String,
    detail: String,
    service: &'static str,
    partition: Option<u32>,
    version: &'static str,
    /// RFC 3339, UTC.
    raised_at: String,
    /// Notices of the same reason and place that were held back since the last one.
    held_back: u64,
    runbook: String,
}

/// When the last notice of a reason and place went out, and how many were held back since.
type Place = (&'static str, &'static str, Option<u32>);

#[derive(Debug, Default)]
struct Quiet {
    told: BTreeMap<Place, (Timestamp, u64)>,
}

impl Quiet {
    /// How many were held back since the last one; `None`: this one is, too.
    fn admit(&mut self, place: Place, now: Timestamp) -> Option<u64> {
        if let Some((at, held_back)) = self.told.get_mut(&place)
            && now < at.plus(QUIET)
            // A clock that was set back must not silence it.
            && now >= *at
        {
            *held_back += 1;
            return None;
        }
        let held_back = self.told.remove(&place).map_or(0, |(_, count)| count);
        if self.told.len() >= PLACES_MAX {
            self.told.retain(|_, (at, _)| now < at.plus(QUIET));
        }
        if self.told.len() < PLACES_MAX {
            self.told.insert(place, (now, 0));
        }
        Some(held_back)
    }
}

/// The way to the receiver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SelfAlerts {
    queue: mpsc::Sender<Body>,
    quiet: Arc<Mutex<Quiet>>,
}

impl SelfAlerts {
    /// Starts what posts to `url`. Call it inside a runtime, after [`crate::install_crypto`].
    ///
    /// # Errors
    /// [`Error`] for a URL that may not be used.
    pub fn start(url: &str, allow_http: bool) -> Result<Self, Error> {
        let url = checked(url, allow_http)?;
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            // An answer too many is not taken for that of the next call.
            .pool_max_idle_per_host(0)
            .timeout(DEADLINE)
            .user_agent(concat!("balefire/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| Error::Client {
                source: source.without_url(),
            })?;
        let (queue, waiting) = mpsc::channel(QUEUE_LEN);
        tokio::spawn(post_all(client, url, waiting));
        Ok(Self {
            queue,
            quiet: Arc::default(),
        })
    }

    /// Tells people, once per reason and place and [`QUIET`]. Never waits.
    pub fn raise(&self, notice: &Notice) {
        let now = clock::now();
        let place = (notice.reason, notice.service, notice.partition);
        // Poisoned: better twice than never.
        let admitted = self
            .quiet
            .lock()
            .map_or(Some(0), |mut quiet| quiet.admit(place, now));
        let Some(held_back) = admitted else { return };
        if self.queue.try_send(body(notice, now, held_back)).is_err() {
            failed(notice.reason, "too many notices wait");
        }
    }
}

/// Lets [`raise`] of this process reach the receiver that is configured, if one is.
///
/// # Errors
/// [`Error`] for a URL that may not be used.
pub fn install(args: &SelfAlertArgs) -> Result<(), Error> {
    if let Some(url) = &args.self_alert_url {
        let alerts = SelfAlerts::start(url, args.self_alert_allow_http)?;
        // The first one stays, as with logs and metrics.
        let _already = INSTALLED.set(alerts);
    }
    Ok(())
}

/// Says it in the log and the metrics, and tells people where a receiver is configured.
pub fn raise(notice: &Notice) {
    tracing::error!(
        self_alert = notice.reason,
        severity = notice.severity.as_str(),
        service = notice.service,
        partition = notice.partition,
        detail = %notice.detail,
        "{}; see docs/runbooks/{}.md",
        notice.title,
        notice.reason
    );
    metrics::counter!("balefire_self_alerts_total", "reason" => notice.reason).increment(1);
    if let Some(alerts) = INSTALLED.get() {
        alerts.raise(notice);
    }
}

fn checked(url: &str, allow_http: bool) -> Result<Url, Error> {
    let url: Url = url.parse().map_err(|_| Error::Url)?;
    let host = url.host_str().ok_or(Error::Url)?.trim_matches(['[', ']']);
    let address: Option<std::net::IpAddr> = host.parse().ok();
    let home = host == "localhost" || address.is_some_and(|ip| ip.to_canonical().is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if home || allow_http => Ok(url),
        "http" => Err(Error::Plain),
        other => Err(Error::Scheme {
            scheme: other.to_owned(),
        }),
    }
}

fn body(notice: &Notice, now: Timestamp, held_back: u64) -> Body {
    let Notice {
        reason,
        severity,
        service,
        partition,
        title,
        detail,
    } = notice;
    let mut hasher = FieldHasher::new("balefire self-alert v1");
    hasher
        .field(reason.as_bytes())
        .field(service.as_bytes())
        .number(partition.map_or(-1, i64::from))
        .number(now.0)
        .field(detail.as_bytes());
    let digest = hasher.digest();
    let id = digest.iter().take(16);
    Body {
        schema: "balefire.self_alert.v1",
        id: id.map(|byte| format!("{byte:02x}")).collect(),
        severity: severity.as_str(),
        reason,
        title: title.clone(),
        detail: clipped(detail),
        service,
        partition: *partition,
        version: env!("CARGO_PKG_VERSION"),
        raised_at: now.to_string(),
        held_back,
        runbook: format!("docs/runbooks/{reason}.md"),
    }
}

fn clipped(text: &str) -> String {
    let cut = text.floor_char_boundary(DETAIL_BYTES_MAX);
    text.get(..cut).unwrap_or_default().to_owned()
}

fn failed(reason: &'static str, why: &str) {
    metrics::counter!("balefire_self_alerts_failed_total", "reason" => reason).increment(1);
    tracing::error!(reason, why, "nobody could be told of this");
}

/// One after the other, until nobody can raise any more.
async fn post_all(client: Client, url: Url, mut waiting: mpsc::Receiver<Body>) {
    while let Some(body) = waiting.recv().await {
        let mut delay = RETRY_FIRST;
        for attempt in 1..=ATTEMPTS_MAX {
            let Err(why) = post(&client, &url, &body).await else {
                break;
            };
            if attempt == ATTEMPTS_MAX {
                failed(body.reason, &why);
                break;
            }
            tracing::warn!(
                reason = body.reason,
                attempt,
                why,
                "self-alert not taken yet"
            );
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }
}

async fn post(client: &Client, url: &Url, body: &Body) -> Result<(), String> {
    let text = serde_json::to_vec(body).map_err(|error| error.to_string())?;
    let request = client
        .post(url.clone())
        .header(CONTENT_TYPE, "application/json");
    let sent = request.body(text).send().await;
    let response = sent.map_err(|error| chain(&error.without_url()))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("HTTP {}", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Json;
    use axum::http::StatusCode;
    use axum::routing::post;
    use serde_json::Value;

    use super::*;

    fn notice(partition: u32) -> Notice {
        Notice {
            reason: "log_regression",
            severity: Severity::Critical,
            service: "rule-engine",
            partition: Some(partition),
            title: "The log lost records that were read before".into(),
            detail: "EVENTS_g1_urgent_0: it ends at 3, the checkpoint stands at 9".into(),
        }
    }

    /// A receiver that fails the first `failures` calls; its URL and what it took.
    async fn receiver(failures: u32) -> (String, mpsc::Receiver<Value>) {
        let (sender, taken) = mpsc::channel(16);
        let left = Arc::new(AtomicU32::new(failures));
        let take = move |Json(body): Json<Value>| {
            let (left, sender) = (Arc::clone(&left), sender.clone());
            async move {
                let before =
                    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                if before.is_ok() {
                    return StatusCode::SERVICE_UNAVAILABLE;
                }
                sender.send(body).await.unwrap();
                StatusCode::NO_CONTENT
            }
        };
        let app = axum::Router::new().route("/told", post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/told", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (url, taken)
    }

    #[tokio::test]
    async fn a_notice_arrives_at_a_receiver_that_fails_first() {
        crate::install_crypto();
        let (url, mut taken) = receiver(1).await;
        let alerts = SelfAlerts::start(&url, false).unwrap();
        alerts.raise(&notice(3));
        let body = taken.recv().await.unwrap();
        assert_eq!(body["schema"], "balefire.self_alert.v1");
        assert_eq!(body["severity"], "critical");
        assert_eq!(body["reason"], "log_regression");
        assert_eq!(body["service"], "rule-engine");
        assert_eq!(body["partition"], 3);
        assert_eq!(body["runbook"], "docs/runbooks/log_regression.md");
        assert_eq!(body["id"].as_str().unwrap().len(), 32);
    }

    #[tokio::test]
    async fn the_same_trouble_is_told_once_and_another_place_beside_it() {
        crate::install_crypto();
        let (url, mut taken) = receiver(0).await;
        let alerts = SelfAlerts::start(&url, false).unwrap();
        for partition in [3, 3, 3, 4] {
            alerts.raise(&notice(partition));
        }
        assert_eq!(taken.recv().await.unwrap()["partition"], 3);
        assert_eq!(taken.recv().await.unwrap()["partition"], 4);
    }

    #[test]
    fn what_was_held_back_is_counted() {
        let mut quiet = Quiet::default();
        let place = ("log_regression", "rule-engine", Some(1));
        let at = |seconds: i64| Timestamp(1_000 * SECOND).plus(seconds * SECOND);
        assert_eq!(quiet.admit(place, at(0)), Some(0));
        assert_eq!(quiet.admit(place, at(1)), None);
        assert_eq!(quiet.admit(place, at(899)), None);
        assert_eq!(quiet.admit(place, at(900)), Some(2));
        assert_eq!(quiet.admit(place, at(1_800)), Some(0));
        assert_eq!(quiet.admit(place, at(10)), Some(0), "a clock set back");
    }

    #[test]
    fn only_https_and_this_machine_without_leave() {
        for url in [
            "http://soc.example/hook",
            "http://10.0.0.1/",
            "ftp://soc.example/",
            "soc.example",
            "",
        ] {
            assert!(checked(url, false).is_err(), "{url}");
        }
        for url in [
            "https://soc.example/hook",
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
            "http://localhost:9/x",
        ] {
            assert!(checked(url, false).is_ok(), "{url}");
        }
        assert!(checked("http://soc.example/hook", true).is_ok());
        assert!(checked("ftp://soc.example/", true).is_err());
    }
}
