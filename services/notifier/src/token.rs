//! Tokens of OAuth 2.0 client credentials: bought when needed, kept until shortly before they run
//! out, thrown away when a receiver refuses one.

use std::sync::Arc;

use balefire_event::Timestamp;
use balefire_event::time::{MINUTE, SECOND};
use balefire_kit::clock;
use balefire_notifier_core::classify::{Response, Verdict};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::reply::{Reply, failed};
use crate::secret::Key;

/// A token is not used in its last minute.
const SPARE: i64 = MINUTE;
/// Largest answer of a token endpoint, bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Where tokens come from.
#[derive(Debug, Clone)]
pub struct Tokens {
    url: Url,
    client_id: String,
    scope: &'static str,
    client: Client,
    kept: Arc<Mutex<Option<Kept>>>,
}

#[derive(Clone)]
struct Kept {
    value: HeaderValue,
    until: Timestamp,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(..)")
    }
}

#[derive(Deserialize)]
struct Sold {
    access_token: String,
    #[serde(default)]
    expires_in: i64,
}

/// Why there is no token.
#[derive(Debug)]
pub struct NoToken(Reply);

impl NoToken {
    /// As the end of an attempt.
    #[must_use]
    pub fn reply(self) -> Reply {
        self.0
    }

    fn of(verdict: Verdict, status: u16, error: &str) -> Self {
        Self(Reply {
            status,
            error: format!("no token: {error}"),
            ..Reply::of(verdict)
        })
    }
}

impl Tokens {
    /// Of an endpoint, through a client that only calls what may be called.
    #[must_use]
    pub fn new(url: Url, client_id: String, scope: &'static str, client: Client) -> Self {
        Self {
            url,
            client_id,
            scope,
            client,
            kept: Arc::default(),
        }
    }

    /// The value of Authorization. One at a time buys; the others wait for it.
    ///
    /// # Errors
    /// The attempt ends like that.
    pub async fn get(&self, key: &Key) -> Result<HeaderValue, NoToken> {
        let mut kept = self.kept.lock().await;
        let now = clock::now();
        if let Some(one) = kept.as_ref().filter(|one| one.until > now) {
            return Ok(one.value.clone());
        }
        let bought = self.buy(key, now).await?;
        let value = bought.value.clone();
        *kept = Some(bought);
        Ok(value)
    }

    /// Buys a new one next time.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn buy(&self, key: &Key, now: Timestamp) -> Result<Kept, NoToken> {
        let form = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", key.client_secret().unwrap_or_default()),
            ("scope", self.scope),
        ]);
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let sent = request.body(form).send().await;
        let mut response = sent.map_err(|error| NoToken(failed(error)))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > TOKEN_BYTES_MAX {
                break;
            }
        }
        let answered = Response {
            status,
            retry_after: None,
            body: &[],
        };
        let verdict = answered.by_status();
        if verdict != Verdict::Delivered {
            let error = format!("HTTP {status} from the token endpoint");
            return Err(NoToken::of(verdict, status, &error));
        }
        let read = || {
            let sold: Sold = serde_json::from_slice(&body).ok()?;
            let value = HeaderValue::from_str(&format!("Bearer {}", sold.access_token)).ok()?;
            let lasts = sold.expires_in.saturating_mul(SECOND).saturating_sub(SPARE);
            Some(Kept {
                value,
                until: now.plus(lasts.max(0)),
            })
        };
        read().ok_or_else(|| NoToken::of(answered.again(), status, "the answer is unreadable"))
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(char::from(byte));
                }
                other => text.push_str(&format!("%{other:02X}")),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_any_secret() {
        assert_eq!(
            form(&[("a", "x&y=z"), ("b", "é ")]),
            "a=x%26y%3Dz&b=%C3%A9%20"
        );
    }
}
