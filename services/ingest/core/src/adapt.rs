//! Vendors' records made into native ones, a file a source.
//!
//! Pure: a vendor's JSON in, native JSON records out, with ids that a replay repeats. A record of
//! no known shape is refused by name and never guessed at. An adapter reads what it knows, keeps
//! what it does not know under a name of its own, and never copies what a guardrail matched.

pub mod anthropic;
pub mod apim;
pub mod apply_guardrail;
pub mod aws_gateway;
pub mod azure_filter;
pub mod azure_openai;
pub mod bedrock;
pub mod cloudtrail;
pub mod databricks;
pub mod databricks_audit;
pub mod draft;
pub mod envelope;
pub mod envoy;
pub mod finding;
pub mod guardrail;
pub mod kong;
pub mod lakera;
pub mod litellm;
pub mod litellm_decision;
pub mod llama_guard;
pub mod map;
pub mod mcp;
pub mod moment;
pub mod native;
pub mod nemo;
pub mod opa;
pub mod openai_moderation;
pub mod otlp;
pub mod otlp_wire;
pub mod prompt_guard;
pub mod vector;
pub mod vertex;
pub mod view;

use balefire_event::digest::FieldHasher;
use balefire_event::{DedupId, Timestamp};
use serde_json::Value;

use draft::Draft;

/// What is known besides the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The time of a record that says none: of its file, of its delivery, or of its arrival.
    pub at: Timestamp,
    /// What tells a record without an id from the same record delivered for another reason.
    /// Empty: nothing does.
    pub delivery: String,
}

impl Context {
    /// Of a time alone.
    #[must_use]
    pub const fn at(at: Timestamp) -> Self {
        Self {
            at,
            delivery: String::new(),
        }
    }

    /// The same for a CloudEvent, by what it says of itself; a time that is none is passed over.
    #[must_use]
    pub fn of_cloud_event(&self, source: &str, id: &str, time: &str) -> Self {
        let named = FieldHasher::new("balefire cloudevent v1")
            .field(source.as_bytes())
            .field(id.as_bytes())
            .id();
        Self {
            at: Timestamp::parse(time).unwrap_or(self.at),
            delivery: DedupId(named).to_string(),
        }
    }

    /// The same for a record at a place of its own: a file and a line of it.
    #[must_use]
    pub fn of_place(&self, place: &str, record: &[u8]) -> Self {
        let named = FieldHasher::new("balefire placed record v1")
            .field(place.as_bytes())
            .field(record)
            .id();
        Self {
            at: self.at,
            delivery: DedupId(named).to_string(),
        }
    }

    /// Of one of several records.
    fn part(&self, index: usize, count: usize) -> Self {
        let mut part = self.clone();
        if count > 1 && !part.delivery.is_empty() {
            part.delivery = format!("{}.{index}", part.delivery);
        }
        part
    }
}

/// Why a record is none of a source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

/// A source's adapter.
pub struct Adapter {
    /// The source's name.
    pub name: &'static str,
    /// What it reads, for people.
    pub about: &'static str,
    /// Whether a record has its shape.
    pub recognises: fn(&Value) -> bool,
    /// The records it makes of one of the vendor's.
    pub adapt: fn(&Value, &Context) -> Result<Vec<Draft>, Unfit>,
}

/// Every adapter. A record has the shape of at most one.
pub static ALL: [Adapter; 25] = [
    native::ADAPTER,
    bedrock::ADAPTER,
    apply_guardrail::ADAPTER,
    cloudtrail::ADAPTER,
    aws_gateway::ADAPTER,
    azure_openai::ADAPTER,
    azure_filter::ADAPTER,
    apim::ADAPTER,
    databricks::ADAPTER,
    databricks_audit::ADAPTER,
    vertex::ADAPTER,
    litellm::ADAPTER,
    litellm_decision::ADAPTER,
    nemo::ADAPTER,
    lakera::ADAPTER,
    openai_moderation::ADAPTER,
    llama_guard::ADAPTER,
    prompt_guard::ADAPTER,
    opa::ADAPTER,
    mcp::ADAPTER,
    envoy::ADAPTER,
    kong::ADAPTER,
    vector::ADAPTER,
    anthropic::ADAPTER,
    otlp::ADAPTER,
];

/// OpenTelemetry's, which has doors of its own.
pub static OTLP: Adapter = otlp::ADAPTER;

/// The name that stands for whichever source a record is of.
pub const AUTO: &str = "auto";

/// Which sources a record may be of.
#[derive(Clone, Copy)]
pub enum Choice {
    /// Whichever recognises it.
    Auto,
    /// This one.
    One(&'static Adapter),
}

impl Choice {
    /// Of a name; `None` where no source has it.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        if name == AUTO {
            return Some(Self::Auto);
        }
        ALL.iter()
            .find(|adapter| adapter.name == name)
            .map(Self::One)
    }
}

/// A native record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapted {
    /// Name of the source that it is of.
    pub source: &'static str,
    /// Its JSON.
    pub json: Vec<u8>,
}

/// A record that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong and what to do; never what the record said.
    pub why: &'static str,
    /// The record.
    pub record: Vec<u8>,
}

/// Everything that a body, a line or a vendor's envelope holds, in its order.
#[must_use]
pub fn read(choice: Choice, bytes: &[u8], context: &Context) -> Vec<Result<Adapted, Refused>> {
    let opened = envelope::open(bytes, context);
    let count = opened.len();
    let each = opened.into_iter().enumerate();
    each.flat_map(|(index, opened)| match opened {
        // Byte for byte: its own door is stricter than a reading of it would be.
        Ok(opened)
            if is_native(choice, &opened.record)
                && view::parse(bytes).as_ref() == Some(&opened.record) =>
        {
            vec![Ok(native::named(
                bytes.to_vec(),
                &opened.record,
                &opened.context,
            ))]
        }
        Ok(opened) => one(choice, &opened.record, &opened.context.part(index, count)),
        Err(refused) => vec![Err(refused)],
    })
    .collect()
}

fn is_native(choice: Choice, record: &Value) -> bool {
    let open = match choice {
        Choice::Auto => true,
        Choice::One(adapter) => adapter.name == native::NAME,
    };
    open && (native::ADAPTER.recognises)(record)
}

/// The native records of one of a vendor's.
#[must_use]
pub fn read_value(
    choice: Choice,
    record: &Value,
    context: &Context,
) -> Vec<Result<Adapted, Refused>> {
    one(choice, record, context)
}

fn one(choice: Choice, record: &Value, context: &Context) -> Vec<Result<Adapted, Refused>> {
    let refused = |why| {
        let record = record.to_string().into_bytes();
        vec![Err(Refused { why, record })]
    };
    let found = match choice {
        Choice::One(adapter) => Some(adapter),
        Choice::Auto => ALL.iter().find(|adapter| (adapter.recognises)(record)),
    };
    let Some(adapter) = found else {
        return refused("of no known source; name it with --source, or describe it by a field map");
    };
    if !(adapter.recognises)(record) {
        return refused("not of the shape that this source has; try the source auto");
    }
    if adapter.name == native::NAME {
        let json = record.to_string().into_bytes();
        return vec![Ok(native::named(json, record, context))];
    }
    match (adapter.adapt)(record, context) {
        Ok(drafts) => drafts
            .into_iter()
            .map(|draft| {
                Ok(Adapted {
                    source: adapter.name,
                    json: draft.finish(),
                })
            })
            .collect(),
        Err(Unfit(why)) => refused(why),
    }
}
