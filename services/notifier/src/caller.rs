//! Calls a receiver: what its encoder says, with its secret, no redirects, a deadline, a bounded
//! answer, and only to addresses that the receiver may have.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use balefire_event::time::SECOND;
use balefire_event::{Escalation, Timestamp};
use balefire_kit::clock;
use balefire_notifier_core::classify::{
    Item, Response as CoreResponse, Verdict, parse_retry_after,
};
use balefire_notifier_core::receiver::{Auth, Call, Found, Target};
use balefire_notifier_core::route::Receiver;
use balefire_notifier_core::view::{Classification, View};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, Url};

use crate::error::Error;
use crate::guard::{self, Guard, Plain, Refused};
use crate::line::{Refusable, syslog};
use crate::secret::Key;
use crate::token::Tokens;

/// Deadline of one attempt.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Of an answer so much is read, bytes.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Of an error text so much is kept, bytes.
pub const ERROR_BYTES_MAX: usize = 512;
/// The rest of an answer whose status said enough may take this long.
const ANSWER_REST_MAX: Duration = Duration::from_secs(1);

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
pub struct Caller {
    url: Url,
    literal: Option<IpAddr>,
    guard: Guard,
    target: Target,
    max_classification: Classification,
    key: Key,
    /// Where its secret buys tokens.
    tokens: Option<Tokens>,
    deadline: Duration,
    client: Client,
}

/// What was answered, as far as it was read.
struct Answered {
    status: u16,
    retry_after: Option<i64>,
    body: Vec<u8>,
}

impl Answered {
    fn response(&self) -> CoreResponse<'_> {
        CoreResponse {
            status: self.status,
            retry_after: self.retry_after,
            body: &self.body,
        }
    }
}

impl Caller {
    /// Checks the URL and prepares a client. HTTPS, or plain HTTP to this host where the policy
    /// allows it; syslog in plain TCP to what was allowed by name.
    ///
    /// # Errors
    /// [`Error::Receiver`], [`Error::Client`].
    pub fn new(
        receiver: &Receiver,
        url: &str,
        key: Key,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Receiver {
            receiver: receiver.name.to_string(),
            reason,
        };
        let target = receiver.target.clone();
        let mut allowed = Guard {
            policy: Arc::new(receiver.addresses.clone()),
            plain: Plain::No,
        };
        let parse = |text: &str| {
            let parsed: Result<Url, _> = text.parse();
            parsed.map_err(|error| refuse(format!("the URL is none: {error}")))
        };
        let url = match key.path() {
            Some(path) => parse(&format!("{}/{path}", url.trim_end_matches('/')))?,
            None => parse(url)?,
        };
        allowed.plain = guard::plain(&url, &target, &receiver.addresses).map_err(refuse)?;
        let literal = guard::literal(&url).map_err(refuse)?;
        if let Some(address) = literal {
            allowed
                .check(address)
                .map_err(|error| refuse(error.to_string()))?;
        }
        let client = guard::client(&allowed, deadline).map_err(|source| Error::Client {
            receiver: receiver.name.to_string(),
            source,
        })?;
        let tokens = match target.auth() {
            Auth::ClientCredentials {
                token_url,
                client_id,
                scope,
            } => {
                let token_url = parse(&token_url)?;
                guard::plain(&token_url, &target, &receiver.addresses).map_err(refuse)?;
                if let Some(address) = guard::literal(&token_url).map_err(refuse)? {
                    let refusal = allowed.check(address).err();
                    if let Some(refusal) = refusal {
                        return Err(refuse(refusal.to_string()));
                    }
                }
                Some(Tokens::new(token_url, client_id, scope, client.clone()))
            }
            Auth::None
            | Auth::Signature
            | Auth::Authorization(_)
            | Auth::Basic
            | Auth::Field(_)
            | Auth::Path => None,
        };
        Ok(Self {
            url,
            literal,
            guard: allowed,
            target,
            max_classification: receiver.max_classification,
            key,
            tokens,
            deadline,
            client,
        })
    }

    /// Tells the receiver of an escalation once, under its constant id.
    pub async fn send(&self, record: &Escalation) -> Reply {
        if let Some(refusal) = self.literal.and_then(|ip| self.guard.check(ip).err()) {
            return refused(&refusal);
        }
        let view = View::of(record, self.max_classification);
        let Some(call) = self.target.encode(&view) else {
            return Reply {
                verdict: Verdict::Permanent,
                status: 0,
                error: format!("{} is not told of this", self.target.name()),
            };
        };
        if matches!(self.target, Target::Syslog(_)) {
            return self.line(&call.body).await;
        }
        let id = view.id().to_string();
        if let Some(search) = self.target.search(&view) {
            let answered = match self.exchange(&id, search).await {
                Ok(answered) => answered,
                Err(reply) => return reply,
            };
            match self.target.found(&answered.response()) {
                Found::There => return self.reply(Verdict::Delivered, &answered),
                Found::Unknown(verdict) => return self.reply(verdict, &answered),
                Found::Nothing => {}
            }
        }
        match self.exchange(&id, call).await {
            Ok(answered) => {
                let verdict = self.target.classify(&answered.response());
                if let (Verdict::AuthExpired, Some(tokens)) = (&verdict, &self.tokens) {
                    tokens.forget().await;
                }
                self.reply(verdict, &answered)
            }
            Err(reply) => reply,
        }
    }

    async fn exchange(&self, id: &str, call: Call) -> Result<Answered, Reply> {
        let mut url = self.url.to_string();
        if !call.path.is_empty() {
            url = format!("{}{}", url.trim_end_matches('/'), call.path);
        }
        let body = self.key.into_body(call.body);
        let mut request = match call.get {
            true => self.client.get(url),
            false => self
                .client
                .post(url)
                .header(CONTENT_TYPE, call.content_type),
        };
        if matches!(self.target, Target::Webhook) {
            let seconds = clock::now().0.div_euclid(SECOND);
            request = request
                .header("webhook-id", id)
                .header("webhook-timestamp", seconds.to_string());
            if let Some(signature) = self.key.signature(id, seconds, &body) {
                request = request.header("webhook-signature", signature);
            }
        }
        let authorization = match &self.tokens {
            Some(tokens) => {
                let token = tokens.get(&self.key).await;
                Some(token.map_err(|error| self.hidden(error.reply()))?)
            }
            None => self.key.authorization(),
        };
        if let Some(mut value) = authorization {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let sent = request.body(body).send().await;
        let response = sent.map_err(|error| self.hidden(failed(error)))?;
        // The status of a webhook has decided already; others say it in the body.
        let rest = if matches!(self.target, Target::Webhook) {
            ANSWER_REST_MAX
        } else {
            self.deadline
        };
        Ok(read(response, clock::now(), rest).await)
    }

    /// Writes one counted message, and waits a moment for the peer to refuse it.
    async fn line(&self, message: &[u8]) -> Reply {
        let sent = tokio::time::timeout(self.deadline, syslog(&self.url, &self.guard, message));
        match sent.await {
            Ok(Ok(())) => Reply {
                verdict: Verdict::Delivered,
                status: 0,
                error: String::new(),
            },
            Ok(Err(Refusable::Refused(refusal))) => refused(&refusal),
            Ok(Err(Refusable::Failed(error))) => again(&error.to_string()),
            Err(_) => again("no connection in time"),
        }
    }

    fn reply(&self, verdict: Verdict, answered: &Answered) -> Reply {
        let status = answered.status;
        let error = if verdict.alone() == Item::Delivered {
            String::new()
        } else {
            let said = printable(&String::from_utf8_lossy(&answered.body));
            if said.is_empty() {
                format!("HTTP {status}")
            } else {
                format!("HTTP {status}: {said}")
            }
        };
        self.hidden(Reply {
            verdict,
            status,
            error,
        })
    }

    /// An answer may repeat the secret: the log may not.
    fn hidden(&self, reply: Reply) -> Reply {
        Reply {
            error: clip(self.key.hide(&reply.error)),
            ..reply
        }
    }
}

async fn read(mut response: Response, now: Timestamp, rest_max: Duration) -> Answered {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| parse_retry_after(text, now));
    let mut body = Vec::new();
    let rest = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ANSWER_BYTES_MAX.saturating_sub(body.len());
            body.extend(chunk.iter().take(room));
            if body.len() >= ANSWER_BYTES_MAX {
                return;
            }
        }
    };
    let _late = tokio::time::timeout(rest_max, rest).await;
    Answered {
        status,
        retry_after,
        body,
    }
}

fn refused(refusal: &Refused) -> Reply {
    Reply {
        verdict: Verdict::Permanent,
        status: 0,
        error: clip(refusal.to_string()),
    }
}

fn again(error: &str) -> Reply {
    Reply {
        verdict: Verdict::Retry { after: None },
        status: 0,
        error: clip(printable(error)),
    }
}

/// No answer: worth another attempt, unless the address is refused. The URL is left out: it may
/// hold a token.
pub(crate) fn failed(error: reqwest::Error) -> Reply {
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
    again(&text)
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
    use balefire_event::{EscalationId, EscalationKind, RuleId, Severity, Timing};
    use balefire_notifier_core::route::ReceiverEntry;

    fn webhook(url: &str, loopback: bool) -> Result<Caller, Error> {
        balefire_kit::install_crypto();
        let receiver = Receiver::of(&ReceiverEntry {
            name: "soc".into(),
            allow_loopback: loopback,
            ..ReceiverEntry::default()
        })
        .unwrap();
        Caller::new(&receiver, url, Key::None, DEADLINE)
    }

    fn record() -> Escalation {
        let t = Timestamp(0);
        Escalation {
            escalation_id: EscalationId([1; 16]),
            episode_id: EscalationId([1; 16]),
            kind: EscalationKind::Raised,
            tenant: "default".into(),
            rule_id: RuleId([9; 16]),
            rule_name: "rule".into(),
            title: "Rule".into(),
            key: Vec::new(),
            slot_start: t,
            rearm: 0,
            breach_at: t,
            severity: Severity::High,
            timing: Timing::OnTime,
            assurance: None,
            evidence: Vec::new(),
            event_count: 1,
            recommended_actions: Vec::new(),
            audiences: Vec::new(),
            atlas: Vec::new(),
            owasp: Vec::new(),
            trigger: None,
            received_at: t,
            revision: 0,
            backfill: false,
            window: 0,
            threshold: 0,
            at_close: false,
            condition: String::new(),
            shadow: false,
        }
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
            .send(&record())
            .await;
        assert_eq!(reply.verdict, Verdict::Permanent);
        assert!(reply.error.contains("loopback"), "{}", reply.error);
    }

    #[tokio::test]
    async fn nobody_there_is_worth_another_attempt() {
        let reply = webhook("http://127.0.0.1:1/secret-token", true)
            .unwrap()
            .send(&record())
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
