//! The ping of an external dead man's switch: a service outside that tells people when it hears
//! nothing any more. Who pings decides what a ping means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Client, Url};

use crate::process::chain;

/// Deadline of a ping.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why it cannot be pinged. Never shows the URL: its path often is the secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No URL that may be used.
    #[error("--dead-man-url takes https://HOST/PATH, or http:// to this machine")]
    Url,
    /// The HTTP client.
    #[error("prepare the client of --dead-man-url")]
    Client {
        /// Why not.
        source: reqwest::Error,
    },
}

/// The switch. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadMan {
    url: Url,
    client: Client,
    busy: Arc<AtomicBool>,
}

impl DeadMan {
    /// Checks the URL. Call it after [`crate::install_crypto`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(url: &str) -> Result<Self, Error> {
        let url: Url = url.parse().map_err(|_| Error::Url)?;
        let host = url.host_str().ok_or(Error::Url)?.trim_matches(['[', ']']);
        let address: Option<std::net::IpAddr> = host.parse().ok();
        let home = host == "localhost" || address.is_some_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if home => {}
            _ => return Err(Error::Url),
        }
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            // An answer too many is not taken for that of the next call.
            .pool_max_idle_per_host(0)
            .timeout(DEADLINE)
            .user_agent(concat!("balefire/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|source| Error::Client {
            source: source.without_url(),
        })?;
        Ok(Self {
            url,
            client,
            busy: Arc::default(),
        })
    }

    /// Pings once, beside whatever goes on; not while a ping is under way. One that fails is said
    /// and not repeated: the next follows soon, and the switch exists to notice.
    pub fn ping(&self) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let sent = this.client.get(this.url.clone()).send().await;
            let outcome = match sent {
                Ok(response) if response.status().is_success() => "answered",
                Ok(response) => {
                    let status = response.status().as_u16();
                    tracing::warn!(status, "the dead man's switch refused a ping");
                    "refused"
                }
                Err(error) => {
                    let why = chain(&error.without_url());
                    tracing::warn!(why, "the dead man's switch does not answer");
                    "failed"
                }
            };
            metrics::counter!("balefire_dead_man_pings_total", "outcome" => outcome).increment(1);
            this.busy.store(false, Ordering::Release);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_this_machine() {
        crate::install_crypto();
        for url in ["http://hc.example/x", "ftp://hc.example/x", "hc", ""] {
            assert!(DeadMan::new(url).is_err(), "{url}");
        }
        for url in [
            "https://hc.example/x",
            "http://127.0.0.1:1/x",
            "http://[::1]:1/",
        ] {
            assert!(DeadMan::new(url).is_ok(), "{url}");
        }
    }
}
