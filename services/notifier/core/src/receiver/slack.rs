//! Slack. An incoming webhook posts and can never edit; a bot posts to a channel and edits what it
//! posted. Dedup: none by Slack: a repeated attempt is a second message with the same id in it.
//! Resolve: the bot's message of the episode becomes what is so now; a webhook's is a message of
//! its own, where `updates` is on.

use balefire_event::EscalationKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Call;
use crate::ack::SLACK_ACTION;
use crate::classify::{Response, Verdict};
use crate::story::{APPROXIMATE, Story, clip, line};
use crate::view::View;

/// Longest header, characters.
const HEADER_CHARS_MAX: usize = 150;
/// Longest text of a section, characters: 3000, of which escaping may take more.
const TEXT_CHARS_MAX: usize = 2900;
/// Longest field of a section, characters.
const FIELD_CHARS_MAX: usize = 1900;
/// Fields of one section.
const FIELDS_MAX: usize = 10;

/// Configuration of an incoming webhook: none. The secret is the URL's part behind `/services/`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {}

/// Configuration of a bot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BotConfig {
    /// Id of the channel: C….
    pub channel: String,
    /// File with the app's signing secret: messages have a button, and who presses it acknowledges.
    #[serde(default)]
    pub ack_secret_file: Option<String>,
    /// Variable with that secret.
    #[serde(default)]
    pub ack_secret_env: Option<String>,
}

/// For an incoming webhook.
#[must_use]
pub fn encode_webhook(view: &View) -> Call {
    Call::post("", &message(view))
}

/// For chat.postMessage; for chat.update where the message of the episode is known.
#[must_use]
pub fn encode_bot(config: &BotConfig, view: &View, handle: &str) -> Call {
    let mut message = message(view);
    let asks = config.ack_secret_file.is_some() || config.ack_secret_env.is_some();
    let open = view.record().kind != EscalationKind::Closed;
    if asks
        && open
        && let Some(blocks) = message.get_mut("blocks").and_then(Value::as_array_mut)
    {
        blocks.push(button(&view.record().episode_id.to_string()));
    }
    if let (false, Some(map)) = (handle.is_empty(), message.as_object_mut()) {
        map.insert("channel".into(), config.channel.as_str().into());
        map.insert("ts".into(), handle.into());
        return Call::post("/api/chat.update", &message);
    }
    if let Some(map) = message.as_object_mut() {
        map.insert("channel".into(), config.channel.as_str().into());
        map.insert("unfurl_links".into(), false.into());
        map.insert("unfurl_media".into(), false.into());
    }
    Call::post("/api/chat.postMessage", &message)
}

/// All text is `plain_text`, which Slack never reads as markup, mentions or links. `text`, which it
/// does read, is escaped.
fn message(view: &View) -> Value {
    let story = Story::of(view);
    let section = |name: &str, value: &str| json!({ "type": "section", "text": plain(&format!("{name}: {}", line(value)), TEXT_CHARS_MAX) });
    let facts = story.facts.iter().take(FIELDS_MAX);
    let fields: Vec<_> = facts
        .map(|(name, value)| plain(&format!("{name}: {}", line(value)), FIELD_CHARS_MAX))
        .collect();
    json!({
        "text": escaped(&clip(&story.headline, HEADER_CHARS_MAX)),
        "blocks": [
            { "type": "header", "text": plain(&story.headline, HEADER_CHARS_MAX) },
            section("What was seen", &story.seen),
            section("Why it matters", story.why),
            section("What to do first", story.first),
            { "type": "section", "fields": fields },
            section(&format!("SPL ({APPROXIMATE})"), &story.spl),
            section(&format!("KQL ({APPROXIMATE})"), &story.kql),
        ],
    })
}

/// Who presses it is on the episode.
fn button(episode: &str) -> Value {
    json!({ "type": "actions", "elements": [{
        "type": "button",
        "action_id": SLACK_ACTION,
        "text": plain("Acknowledge", 75),
        "value": episode,
    }] })
}

fn plain(text: &str, chars_max: usize) -> Value {
    json!({ "type": "plain_text", "emoji": false, "text": clip(text, chars_max) })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// 200 is success. 404 and 410: the webhook was taken away.
#[must_use]
pub fn classify_webhook(response: &Response<'_>) -> Verdict {
    response.by_status()
}

/// The time stamp that names a message of a bot. Slack's answers repeat the message and may be cut;
/// `ts` stands before it.
#[must_use]
pub fn handle(response: &Response<'_>) -> String {
    let text = String::from_utf8_lossy(response.body);
    let Some((_, rest)) = text.split_once("\"ts\":\"") else {
        return String::new();
    };
    let ts = rest.split('"').next().unwrap_or("");
    let plain = (1..=32).contains(&ts.len())
        && ts.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { ts.to_owned() } else { String::new() }
}

/// A bot's failures come under status 200 with ok: false.
#[must_use]
pub fn classify_bot(response: &Response<'_>) -> Verdict {
    if response.status != 200 {
        return response.by_status();
    }
    let json = response.json();
    match json.get("ok").and_then(Value::as_bool) {
        Some(true) => return Verdict::Delivered,
        Some(false) => {}
        // Cut at 4 KiB: Slack's answers begin with "ok".
        None if response.body.starts_with(b"{\"ok\":true") => return Verdict::Delivered,
        None => return response.again(),
    }
    match json.get("error").and_then(Value::as_str).unwrap_or("") {
        "ratelimited"
        | "rate_limited"
        | "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout" => response.again(),
        "token_expired" => Verdict::AuthExpired,
        _ => Verdict::Permanent,
    }
}
