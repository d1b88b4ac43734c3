//! The event feed: every event behind joining, to receivers that keep events, in batches. Each item
//! has the event's own id, by which a target or a search drops what comes twice. Pure: bytes of
//! items and batches, and what an answer leaves to be done.

mod posted;

use std::ops::Range;
use std::sync::Arc;

use balefire_event::{DedupId, Event};
use serde::Serialize;

use crate::body;
use crate::classify::{Item as Fate, Response, Verdict};
use crate::feed::posted::Around;
use crate::json::{self, name};
use crate::receiver::{Call, Method, Target, elastic, sentinel, splunk, syslog};
use crate::view::{Classification, filter};

pub use crate::feed::posted::{Body, Posted};

/// Batches of one lane of a partition under way at once to what does not keep an order.
pub const BATCHES_MAX: usize = 3;

/// Most of one batch, and of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events.
    pub items_max: usize,
    /// Bytes of their items; one that is larger goes alone.
    pub bytes_max: usize,
    /// Batches of one lane of a partition that are under way at once. 1: what is given stays in its
    /// order.
    pub batches_max: usize,
}

/// The id of an event, as its target gets it: an amendment has one of its own, so that a target
/// that keeps the first keeps both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemId {
    dedup_id: DedupId,
    amendment: bool,
}

impl ItemId {
    /// That of an event.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        let amendment = event.join.as_ref().is_some_and(|join| join.amendment);
        Self {
            dedup_id: event.dedup_id,
            amendment,
        }
    }

    const fn suffix(self) -> &'static str {
        match self.amendment {
            true => "-amended",
            false => "",
        }
    }
}

impl std::fmt::Display for ItemId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.dedup_id, self.suffix())
    }
}

/// One event on its way. What the target gets of it stands in a buffer that it shares with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The event's id.
    pub id: ItemId,
    /// Whose it is.
    pub tenant: Arc<str>,
    /// Sequence of its message.
    pub sequence: u64,
    /// Its place in the message.
    pub index: u32,
    /// Where in the buffer.
    pub place: Range<usize>,
}

impl Item {
    /// What the target gets of it.
    #[must_use]
    pub fn bytes<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.place.clone()).unwrap_or_default()
    }
}

/// What an answer left of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// What goes again, in this order, batch by batch.
    pub again: Vec<Vec<Item>>,
    /// What is refused for good.
    pub refused: Vec<Item>,
    /// How many the target has.
    pub delivered: usize,
    /// `Some`: not before so many nanoseconds, where the target said; 0 where it did not.
    pub wait: Option<i64>,
}

/// [`ItemId`] as text.
pub(crate) fn id(event: &Event<'_>) -> String {
    ItemId::of(event).to_string()
}

/// The source document's record of an event, and what Balefire made of it.
#[derive(Serialize)]
pub(crate) struct Document<'a> {
    #[serde(flatten)]
    record: body::Record<'a>,
    balefire: Ours<'a>,
}

/// What Balefire made of an event.
#[derive(Serialize)]
pub(crate) struct Ours<'a> {
    id: String,
    tenant: &'a str,
    source: &'a str,
    received_at: String,
    timing: &'static str,
    severity_derived: bool,
    partial: bool,
    amendment: bool,
    filled: &'a [String],
    history: bool,
}

pub(crate) fn ours<'a>(event: &'a Event<'_>, tenant: &'a str) -> Ours<'a> {
    let join = event.join.as_ref();
    Ours {
        id: id(event),
        tenant,
        source: &event.source,
        received_at: event.received_at.to_string(),
        timing: event.timing.as_str(),
        severity_derived: event.severity_derived,
        partial: join.is_some_and(|join| join.partial),
        amendment: join.is_some_and(|join| join.amendment),
        filled: join.map(|join| join.filled.as_slice()).unwrap_or_default(),
        history: event.backfill,
    }
}

pub(crate) fn document<'a>(event: &'a Event<'_>, tenant: &'a str) -> Document<'a> {
    Document {
        record: body::record(event),
        balefire: ours(event, tenant),
    }
}

/// The same, straight into a buffer.
pub(crate) fn write_ours(out: &mut Vec<u8>, event: &Event<'_>, tenant: &str) {
    let (join, id) = (event.join.as_ref(), ItemId::of(event));
    let mut object = json::Object::open(out);
    object.quoted(name!("id"), &[&id.dedup_id.hex(), id.suffix().as_bytes()]);
    object.text(name!("tenant"), tenant);
    object.text(name!("source"), &event.source);
    object.quoted(name!("received_at"), &[&event.received_at.text()]);
    object.text(name!("timing"), event.timing.as_str());
    object.flag(name!("severity_derived"), event.severity_derived);
    object.flag(name!("partial"), join.is_some_and(|join| join.partial));
    object.flag(name!("amendment"), id.amendment);
    let filled = join.map(|join| join.filled.as_slice()).unwrap_or_default();
    match filled {
        [] => object.field(name!("filled")).extend_from_slice(b"[]"),
        filled => object.plain(name!("filled"), &filled),
    }
    object.flag(name!("history"), event.backfill);
    object.close();
}

/// [`document`], straight into a buffer.
pub(crate) fn write_document(out: &mut Vec<u8>, event: &Event<'_>, tenant: &str) {
    let mut object = json::Object::open(out);
    body::write_record(&mut object, event);
    write_ours(object.field(name!("balefire")), event, tenant);
    object.close();
}

/// Its JSON. Plain values under text keys always have one.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// How a target wants events.
enum Form<'a> {
    /// Objects one behind the other.
    Objects(&'a splunk::Config),
    /// An array of rows.
    Rows(&'a sentinel::Config),
    /// Pairs of lines.
    Bulk(&'a elastic::Config),
    /// Counted messages.
    Messages(&'a syslog::Config),
    /// An array in an envelope.
    Envelope,
}

impl Target {
    fn form(&self) -> Option<Form<'_>> {
        match self {
            Self::Splunk(config) => Some(Form::Objects(config)),
            Self::Sentinel(config) => Some(Form::Rows(config)),
            Self::Elastic(config) => Some(Form::Bulk(config)),
            Self::Syslog(config) => Some(Form::Messages(config)),
            Self::Webhook => Some(Form::Envelope),
            Self::Ocsf(_)
            | Self::Pagerduty(_)
            | Self::ServicenowIncident(_)
            | Self::ServicenowEvent(_)
            | Self::Jira(_)
            | Self::SlackWebhook(_)
            | Self::SlackBot(_)
            | Self::Email(_) => None,
        }
    }

    /// Whether it takes the event feed.
    #[must_use]
    pub fn feeds(&self) -> bool {
        self.form().is_some()
    }

    /// What fits into one batch.
    #[must_use]
    pub fn feed_limits(&self) -> Limits {
        let (items_max, bytes_max, batches_max) = match self.form() {
            // The service's 1 MiB a call.
            Some(Form::Rows(_)) => (500, 900 * 1024, BATCHES_MAX),
            Some(Form::Bulk(_)) => (1000, 4 * 1024 * 1024, BATCHES_MAX),
            Some(Form::Messages(_)) => (200, 512 * 1024, 1),
            Some(Form::Objects(_)) => (1000, 800 * 1024, BATCHES_MAX),
            Some(Form::Envelope) | None => (500, 800 * 1024, BATCHES_MAX),
        };
        Limits {
            items_max,
            bytes_max,
            batches_max,
        }
    }

    /// Writes one event in the target's form behind what `out` holds, with what is above `max`
    /// taken out.
    pub fn feed_item(
        &self,
        out: &mut Vec<u8>,
        mut event: Event<'_>,
        tenant: &str,
        max: Classification,
    ) {
        filter(&mut event, max);
        match self.form() {
            Some(Form::Objects(config)) => splunk::event(out, config, &event, tenant),
            Some(Form::Rows(_)) => sentinel::event(out, &event, tenant),
            Some(Form::Bulk(config)) => out.extend(elastic::event(config, &event, tenant)),
            Some(Form::Messages(config)) => out.extend(syslog::event(config, &event, tenant)),
            Some(Form::Envelope) | None => write_document(out, &event, tenant),
        }
    }

    /// The call with a batch, whose items stand in `buffer`.
    #[must_use]
    pub fn feed_call(&self, buffer: &[u8], items: &[Item]) -> Posted {
        const JSON: &str = "application/json";
        let rows = |before, after| Around {
            before,
            between: ",",
            after,
        };
        let plain = Around::default();
        let (path, content_type, around) = match self.form() {
            Some(Form::Objects(_)) => (splunk::PATH.to_owned(), JSON, plain),
            Some(Form::Rows(config)) => (config.path(), JSON, rows("[", "]")),
            Some(Form::Bulk(_)) => (elastic::PATH.to_owned(), "application/x-ndjson", plain),
            Some(Form::Messages(_)) => (String::new(), "text/plain", plain),
            Some(Form::Envelope) | None => {
                let envelope = rows("{\"type\":\"events\",\"data\":{\"events\":[", "]}}");
                (String::new(), JSON, envelope)
            }
        };
        let call = Call {
            method: Method::Post,
            path,
            content_type,
            body: Vec::new(),
        };
        Posted {
            call,
            body: around.body(buffer, items),
        }
    }

    /// Reads the answer to a batch.
    #[must_use]
    pub fn feed_classify(&self, response: &Response<'_>, sent: usize) -> Verdict {
        if matches!(self, Self::Splunk(_)) {
            return splunk::classify_batch(response, sent);
        }
        self.classify(response)
    }
}

/// Cuts what was gathered into batches within the limits; an item that is larger goes alone.
#[must_use]
pub fn cut(items: Vec<Item>, limits: Limits) -> Vec<Vec<Item>> {
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for item in items {
        let full = batch.len() >= limits.items_max || bytes + item.place.len() > limits.bytes_max;
        if full && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += item.place.len();
        batch.push(item);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// What is left to do about a batch. One that is refused as a whole is sent in halves until it is
/// known which event is refused; so is one that is too large. Credentials that are refused are no
/// fault of an event: that waits.
#[must_use]
pub fn sort(verdict: &Verdict, status: u16, mut items: Vec<Item>) -> Left {
    let mut left = Left::default();
    match verdict {
        Verdict::Delivered => left.delivered = items.len(),
        Verdict::AuthExpired => {
            left.wait = Some(0);
            left.again.push(items);
        }
        Verdict::Retry { after } => {
            left.wait = Some(after.unwrap_or(0));
            left.again.push(items);
        }
        Verdict::Permanent if matches!(status, 0 | 401 | 403 | 404 | 407) => {
            left.wait = Some(0);
            left.again.push(items);
        }
        Verdict::Permanent if items.len() > 1 => {
            let rest = items.split_off(items.len() / 2);
            left.again = vec![items, rest];
        }
        Verdict::Permanent => left.refused = items,
        Verdict::Partial(fates) => {
            let mut again = Vec::new();
            let missing = std::iter::repeat(&Fate::Retry { after: None });
            for (item, fate) in items.into_iter().zip(fates.iter().chain(missing)) {
                match fate {
                    Fate::Delivered => left.delivered += 1,
                    Fate::Permanent => left.refused.push(item),
                    Fate::Retry { after } => {
                        let asked = after.unwrap_or(0);
                        left.wait = Some(left.wait.unwrap_or(0).max(asked));
                        again.push(item);
                    }
                }
            }
            // Something went in: what was behind it need not wait.
            if left.delivered + left.refused.len() > 0 {
                left.wait = left.wait.filter(|asked| *asked > 0);
            }
            if !again.is_empty() {
                left.again.push(again);
            }
        }
    }
    left
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
