//! Calls a receiver: what its encoder says, with its secret, no redirects, a deadline, a bounded
//! answer, and only to addresses that the receiver may have.

mod otherwise;

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use balefire_event::time::SECOND;
use balefire_event::{Escalation, Event, Timestamp};
use balefire_kit::clock;
use balefire_notifier_core::Notice;
use balefire_notifier_core::classify::{
    Item as Fate, Response as CoreResponse, Verdict, parse_retry_after,
};
use balefire_notifier_core::feed::{Body, Item, Limits, Posted};
use balefire_notifier_core::receiver::{Auth, Call, Found, Method, Target};
use balefire_notifier_core::route::Receiver;
use balefire_notifier_core::view::{Classification, View};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use rustls::pki_types::CertificateDer;

use crate::error::Error;
use crate::guard::{self, Guard, Plain};
use crate::reply::{Reply, clip, failed, printable, refused};
use crate::secret::Key;
use crate::stream::{self, Tls};
use crate::token::Tokens;

/// Deadline of one attempt.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Of an answer so much is read, bytes.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// The rest of an answer whose status said enough may take this long.
const ANSWER_REST_MAX: Duration = Duration::from_secs(1);

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
    /// For what speaks TLS and no HTTP.
    tls: Option<Tls>,
    /// A word of this process's own for what it sends.
    channel: String,
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
        let (roots, tls) = trusted(receiver).map_err(refuse)?;
        let client = guard::client(&allowed, &roots, deadline).map_err(|source| Error::Client {
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
            | Auth::Login
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
            tls,
            channel: otherwise::channel(),
        })
    }

    /// Tells the receiver of a record of an escalation once, under its constant id. `tier` is the
    /// SOC's own words for the severity, `handle` what the receiver calls what it was told first.
    pub async fn send(&self, record: &Escalation, tier: &Arc<str>, handle: &str) -> Reply {
        if let Some(refusal) = self.literal.and_then(|ip| self.guard.check(ip).err()) {
            return refused(&refusal);
        }
        let view = View::of(record, self.max_classification).with_tier(tier);
        let id = message_id(record);
        let mut call = self.target.encode(&view, handle);
        if let Some(search) = self.target.search(&view) {
            let answered = match self.exchange(&id, search).await {
                Ok(answered) => answered,
                Err(reply) => return reply,
            };
            match self.target.found(&answered.response()) {
                Found::There(there) => match self.target.update(&view, &there) {
                    Some(update) => call = Some(update),
                    None => return self.reply(Verdict::Delivered, &answered),
                },
                Found::Unknown(verdict) => return self.reply(verdict, &answered),
                Found::Nothing => {}
            }
        }
        let Some(call) = call else {
            // Nothing is there that could be amended or closed.
            return Reply::of(Verdict::Delivered);
        };
        if let Some(reply) = self.otherwise(&view, handle, &call.body).await {
            return reply;
        }
        match self.exchange(&id, call).await {
            Ok(answered) => {
                let verdict = self.target.classify(&answered.response());
                if let Some(unconfirmed) = self.confirm(&verdict, &answered).await {
                    return unconfirmed;
                }
                if let (Verdict::AuthExpired, Some(tokens)) = (&verdict, &self.tokens) {
                    tokens.forget().await;
                }
                Reply {
                    handle: self.target.handle(&answered.response()),
                    ..self.reply(verdict, &answered)
                }
            }
            Err(reply) => reply,
        }
    }

    /// Writes what a feed receiver gets of an event behind what `out` holds.
    pub fn feed_item(&self, out: &mut Vec<u8>, event: Event<'_>, tenant: &str) {
        self.target
            .feed_item(out, event, tenant, self.max_classification);
    }

    /// What fits into one batch of the feed.
    #[must_use]
    pub fn feed_limits(&self) -> Limits {
        self.target.feed_limits()
    }

    /// Gives a batch of the feed, whose items stand in `buffer`, to the receiver once; `id` is the
    /// batch's own.
    pub async fn feed(&self, id: &str, buffer: &Bytes, items: &[Item]) -> Reply {
        if let Some(refusal) = self.literal.and_then(|ip| self.guard.check(ip).err()) {
            return refused(&refusal);
        }
        let Posted { call, body } = self.target.feed_call(buffer, items);
        if matches!(self.target, Target::Syslog(_)) {
            return self.line(body.bytes(buffer)).await;
        }
        let body = match body {
            Body::There(place) => buffer.slice(place),
            Body::Made(body) => body.into(),
        };
        match self.post(id, call, body).await {
            Ok(answered) => {
                let response = answered.response();
                let verdict = self.target.feed_classify(&response, items.len());
                if let Some(unconfirmed) = self.confirm(&verdict, &answered).await {
                    return unconfirmed;
                }
                if let (Verdict::AuthExpired, Some(tokens)) = (&verdict, &self.tokens) {
                    tokens.forget().await;
                }
                self.reply(verdict, &answered)
            }
            Err(reply) => reply,
        }
    }

    async fn exchange(&self, id: &str, mut call: Call) -> Result<Answered, Reply> {
        let body = self.key.into_body(std::mem::take(&mut call.body));
        self.post(id, call, body.into()).await
    }

    /// The call with a body that stands elsewhere.
    async fn post(&self, id: &str, call: Call, body: Bytes) -> Result<Answered, Reply> {
        let mut url = self.url.to_string();
        if !call.path.is_empty() {
            url = format!("{}{}", url.trim_end_matches('/'), call.path);
        }
        let mut request = match call.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
            Method::Patch => self.client.patch(url),
        };
        if call.method != Method::Get {
            request = request.header(CONTENT_TYPE, call.content_type);
        }
        if matches!(self.target, Target::Webhook) {
            let seconds = clock::now().0.div_euclid(SECOND);
            request = request
                .header("webhook-id", id)
                .header("webhook-timestamp", seconds.to_string());
            if let Some(signature) = self.key.signature(id, seconds, &body) {
                request = request.header("webhook-signature", signature);
            }
        }
        let body = match self.target.packs() {
            true => {
                request = request.header(CONTENT_ENCODING, "gzip");
                packed(&body).into()
            }
            false => body,
        };
        if self.target.confirms() {
            request = request.header("x-splunk-request-channel", &self.channel);
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

    fn reply(&self, verdict: Verdict, answered: &Answered) -> Reply {
        let status = answered.status;
        let error = if verdict.alone() == Fate::Delivered {
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
            status,
            error,
            ..Reply::of(verdict)
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

/// Root certificates of the receiver's own, and TLS for what speaks it without HTTP.
fn trusted(receiver: &Receiver) -> Result<(Vec<CertificateDer<'static>>, Option<Tls>), String> {
    let roots = match &receiver.ca_file {
        Some(file) => stream::roots(file.as_ref())?,
        None => Vec::new(),
    };
    let tls = match matches!(receiver.target, Target::Syslog(_) | Target::Email(_)) {
        true => Some(Tls::new(&roots)?),
        false => None,
    };
    Ok((roots, tls))
}

/// The same bytes for the same body: the header holds no time.
fn packed(body: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    // Into memory nothing fails.
    let _written = packer.write_all(body);
    packer.finish().unwrap_or_default()
}

/// The id of what is told, over all attempts: the escalation's own, and for what becomes of it one
/// made of it.
fn message_id(record: &Escalation) -> String {
    let id = record.escalation_id;
    match Notice::about(record) {
        Notice::First => id.to_string(),
        Notice::Amended(revision) => format!("{id}.amended.{revision}"),
        Notice::Closed(revision) => format!("{id}.closed.{revision}"),
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
            .send(&record(), &"".into(), "")
            .await;
        assert_eq!(reply.verdict, Verdict::Permanent);
        assert!(reply.error.contains("loopback"), "{}", reply.error);
    }

    #[tokio::test]
    async fn nobody_there_is_worth_another_attempt() {
        let reply = webhook("http://127.0.0.1:1/secret-token", true)
            .unwrap()
            .send(&record(), &"".into(), "")
            .await;
        assert_eq!(reply.verdict, Verdict::Retry { after: None });
        assert!(!reply.error.contains("secret-token"), "{}", reply.error);
    }
}
