//! Calls a receiver: one signed POST, no redirects, a deadline, a bounded answer, and only to
//! addresses that the receiver may have.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use balefire_event::Timestamp;
use balefire_event::time::SECOND;
use balefire_kit::clock;
use balefire_notifier_core::address::AddressPolicy;
use balefire_notifier_core::classify::{Verdict, classify};
use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, Url};

use crate::error::Error;
use crate::sign::Secret;

/// Deadline of one attempt.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Of an answer so much is read, bytes.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Of an error text so much is kept, bytes.
pub const ERROR_BYTES_MAX: usize = 512;
/// The rest of an answer whose status said enough may take this long.
const ANSWER_REST_MAX: Duration = Duration::from_secs(1);
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it means.
    pub verdict: Verdict,
    /// HTTP status; 0: none was received.
    pub status: u16,
    /// What went wrong; empty: nothing.
    pub error: String,
}

/// A receiver that can be called.
#[derive(Debug, Clone)]
pub struct Webhook {
    url: Url,
    literal: Option<IpAddr>,
    policy: Guard,
    secret: Option<Secret>,
    client: Client,
}

#[derive(Debug, Clone)]
struct Guard {
    policy: Arc<AddressPolicy>,
    /// Plain HTTP: this host only.
    loopback_only: bool,
}

/// An address that may not be called.
#[derive(Debug, thiserror::Error)]
#[error("{address} may not be called: {reason}")]
struct Refused {
    address: IpAddr,
    reason: &'static str,
}

impl Guard {
    fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let reason = match self.policy.refusal(address) {
            Some(reason) => reason,
            None if self.loopback_only && !address.to_canonical().is_loopback() => {
                "without TLS only this host may be called"
            }
            None => return Ok(()),
        };
        Err(Refused { address, reason })
    }
}

/// Looks a name up and lets through what the guard allows.
#[derive(Debug)]
struct GuardedResolver(Guard);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (mut allowed, mut refused) = (Vec::new(), None);
            for address in found {
                match guard.check(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(refusal) => refused = Some(refusal),
                }
            }
            match refused {
                Some(refusal) if allowed.is_empty() => Err(refusal.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

impl Webhook {
    /// Checks the URL and prepares a client. HTTPS, or plain HTTP to this host where the policy
    /// allows it.
    ///
    /// # Errors
    /// [`Error::Receiver`], [`Error::Client`].
    pub fn new(
        receiver: &str,
        url: &str,
        policy: &AddressPolicy,
        secret: Option<Secret>,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Receiver {
            receiver: receiver.to_owned(),
            reason,
        };
        let url: Url = url
            .parse()
            .map_err(|error| refuse(format!("the URL is none: {error}")))?;
        let loopback_only = match url.scheme() {
            "https" => false,
            "http" if policy.loopback => true,
            "http" => return Err(refuse("the URL must be https".into())),
            other => return Err(refuse(format!("{other} is not spoken; use https"))),
        };
        let host = url
            .host_str()
            .ok_or_else(|| refuse("the URL names no host".into()))?;
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let guard = Guard {
            policy: Arc::new(policy.clone()),
            loopback_only,
        };
        if let Some(address) = literal {
            guard
                .check(address)
                .map_err(|error| refuse(error.to_string()))?;
        }
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .timeout(deadline)
            .connect_timeout(CONNECT_MAX.min(deadline))
            .user_agent(concat!("balefire/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(GuardedResolver(guard.clone())))
            .build()
            .map_err(|source| Error::Client {
                receiver: receiver.to_owned(),
                source,
            })?;
        Ok(Self {
            url,
            literal,
            policy: guard,
            secret,
            client,
        })
    }

    /// Sends `body` once under the constant id `id`.
    pub async fn send(&self, id: &str, body: Bytes) -> Reply {
        if let Some(refusal) = self.literal.and_then(|ip| self.policy.check(ip).err()) {
            return refused(&refusal);
        }
        let seconds = clock::now().0.div_euclid(SECOND);
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string());
        if let Some(secret) = &self.secret {
            request = request.header("webhook-signature", secret.sign(id, seconds, &body));
        }
        match request.body(body).send().await {
            Ok(response) => read(response, clock::now()).await,
            Err(error) => failed(error),
        }
    }
}

async fn read(mut response: Response, now: Timestamp) -> Reply {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let verdict = classify(status, retry_after, now);
    let mut text = Vec::new();
    let rest = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ANSWER_BYTES_MAX.saturating_sub(text.len());
            text.extend(chunk.iter().take(room));
            if text.len() >= ANSWER_BYTES_MAX {
                return;
            }
        }
    };
    // The status has decided already.
    let _late = tokio::time::timeout(ANSWER_REST_MAX, rest).await;
    let error = match verdict {
        Verdict::Delivered => String::new(),
        Verdict::Retry { .. } | Verdict::Permanent => {
            let said = printable(&String::from_utf8_lossy(&text));
            if said.is_empty() {
                format!("HTTP {status}")
            } else {
                clip(format!("HTTP {status}: {said}"))
            }
        }
    };
    Reply {
        verdict,
        status,
        error,
    }
}

fn refused(refusal: &Refused) -> Reply {
    Reply {
        verdict: Verdict::Permanent,
        status: 0,
        error: clip(refusal.to_string()),
    }
}

/// No answer: worth another attempt, unless the address is refused. The URL is left out: it may
/// hold a token.
fn failed(error: reqwest::Error) -> Reply {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(refusal) = cause.downcast_ref::<Refused>() {
            return refused(refusal);
        }
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if error.is_timeout() {
        text.push_str(" (no answer in time)");
    }
    Reply {
        verdict: Verdict::Retry { after: None },
        status: 0,
        error: clip(printable(&text)),
    }
}

fn printable(text: &str) -> String {
    let clean = text.replace(|c: char| c.is_control(), " ");
    clean.trim().to_owned()
}

fn clip(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        let mut end = ERROR_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, loopback: bool) -> Result<Webhook, Error> {
        balefire_kit::install_crypto();
        let policy = AddressPolicy {
            loopback,
            networks: Vec::new(),
        };
        Webhook::new("soc", url, &policy, None, DEADLINE)
    }

    #[test]
    fn only_https_and_only_public_addresses_without_leave() {
        for url in [
            "http://soc.example/hook",
            "http://127.0.0.1:1/",
            "https://127.0.0.1:1/",
            "https://[::1]/",
            "https://169.254.169.254/latest",
            "https://10.0.0.1/",
            "https://[::ffff:10.0.0.1]/",
            "https://0x7f000001/",
            "ftp://soc.example/",
            "soc.example",
        ] {
            assert!(webhook(url, false).is_err(), "{url}");
        }
        assert!(webhook("https://soc.example/hook", false).is_ok());
        assert!(webhook("http://127.0.0.1:1/", true).is_ok());
        assert!(webhook("http://1.1.1.1/", true).is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_for_good() {
        let reply = webhook("https://localhost:1/", false)
            .unwrap()
            .send("id", Bytes::new())
            .await;
        assert_eq!(reply.verdict, Verdict::Permanent);
        assert!(reply.error.contains("loopback"), "{}", reply.error);
    }

    #[tokio::test]
    async fn nobody_there_is_worth_another_attempt() {
        let reply = webhook("http://127.0.0.1:1/secret-token", true)
            .unwrap()
            .send("id", Bytes::new())
            .await;
        assert_eq!(reply.verdict, Verdict::Retry { after: None });
        assert!(!reply.error.contains("secret-token"), "{}", reply.error);
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        assert_eq!(clip("é".repeat(400)).len(), ERROR_BYTES_MAX);
        assert_eq!(printable("a\r\nb\u{1b}[31m"), "a  b [31m");
    }
}
