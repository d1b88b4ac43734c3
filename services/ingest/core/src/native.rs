//! The native record: the source documents' SIEM event, field for field.

use std::borrow::Cow;

use balefire_event::category::UnknownWord;
use balefire_event::event::Text;
use balefire_event::{Category, Extension, Severity, Timestamp};

use crate::evidence::Bodies;
use crate::flatten;
use crate::json::{self, Member, Raw};
use crate::schema;
use crate::violation::{Reason, Violation};

/// What a producer said. Empty text and `None`: not said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NativeInput<'a> {
    /// Producer's id.
    pub event_id: Text<'a>,
    /// When it happened. Needed.
    pub occurred_at: Option<Timestamp>,
    /// What was seen. Needed.
    pub category: Option<Category>,
    /// How bad.
    pub severity: Option<Severity>,
    /// Correlation key of type request.
    pub request_id: Text<'a>,
    /// Correlation key of type trace.
    pub trace_id: Text<'a>,
    /// Correlation key of type session, and an identity.
    pub session_id: Text<'a>,
    /// The user.
    pub user_id: Text<'a>,
    /// The agent.
    pub agent_id: Text<'a>,
    /// The workload.
    pub service_principal: Text<'a>,
    /// Id of the API key.
    pub api_key_id: Text<'a>,
    /// Address of the caller.
    pub src_ip: Text<'a>,
    /// Model that answered.
    pub model: Text<'a>,
    /// Model that judged.
    pub judge_model: Text<'a>,
    /// Judge's score, 0 to 1.
    pub judge_score: Option<f64>,
    /// Judge's verdict.
    pub judge_verdict: Text<'a>,
    /// Policy violated.
    pub policy_violated: Text<'a>,
    /// What the guardrail did.
    pub guardrail_result: Text<'a>,
    /// Tokens of the request.
    pub tokens_in: Option<u64>,
    /// Tokens of the response.
    pub tokens_out: Option<u64>,
    /// Endpoint called.
    pub endpoint: Text<'a>,
    /// Risk tier, 1 upward.
    pub risk_tier: Option<u32>,
    /// Tool called.
    pub tool: Text<'a>,
    /// Tool was on the allow-list.
    pub tool_allowed: Option<bool>,
    /// Attack technique.
    pub attack_type: Text<'a>,
    /// Free text.
    pub reason: Text<'a>,
    /// Labels, in any order.
    pub labels: Vec<(Text<'a>, Text<'a>)>,
    /// Everything else, sorted by name.
    pub extensions: Vec<Extension<'a>>,
    /// Request and response.
    pub bodies: Bodies<'a>,
    /// Bytes of the bodies as they were sent, quotes and escapes included.
    pub bodies_wire_bytes: usize,
}

impl<'a> NativeInput<'a> {
    /// Reads a JSON record.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_json(bytes: &'a [u8], tenant: &str) -> Result<Self, Violation> {
        let mut input = Self::default();
        let mut further = Vec::new();
        json::each(bytes, |member| {
            if let Some((field, slot)) = input.text_slot(&member.name) {
                *slot = text(field, member.value)?;
            } else if !input.read(&member.name, member.value, tenant)? {
                further.push(member);
            }
            Ok(())
        })?;
        input.extensions = flatten::extensions(further)?;
        Ok(input)
    }

    /// Reads further fields of a typed event from one JSON object. Empty: none.
    ///
    /// # Errors
    /// Where it is no object, or has a field that the record has a name for.
    pub fn with_extensions(mut self, json: &'a [u8]) -> Result<Self, Violation> {
        if json.is_empty() {
            return Ok(self);
        }
        let mut further = Vec::new();
        json::each(json, |member| {
            further.push(member);
            Ok(())
        })
        .map_err(|violation| Violation {
            field: Cow::Borrowed("extensions_json"),
            ..violation
        })?;
        let mut known = Self::default();
        for Member { name, .. } in &further {
            if known.text_slot(name).is_some() || TYPED.contains(&name.as_ref()) {
                return Err(Violation::named(
                    name,
                    Reason::Conflict,
                    "has a field of its own; send it there",
                ));
            }
        }
        self.extensions = flatten::extensions(further)?;
        Ok(self)
    }

    fn text_slot(&mut self, name: &str) -> Option<(&'static str, &mut Text<'a>)> {
        Some(match name {
            "event_id" => ("event_id", &mut self.event_id),
            "request_id" => ("request_id", &mut self.request_id),
            "trace_id" => ("trace_id", &mut self.trace_id),
            "session_id" => ("session_id", &mut self.session_id),
            "user_id" => ("user_id", &mut self.user_id),
            "agent_id" => ("agent_id", &mut self.agent_id),
            "service_principal" => ("service_principal", &mut self.service_principal),
            "api_key_id" => ("api_key_id", &mut self.api_key_id),
            "src_ip" => ("src_ip", &mut self.src_ip),
            "model" => ("model", &mut self.model),
            "judge_model" => ("judge_model", &mut self.judge_model),
            "judge_verdict" => ("judge_verdict", &mut self.judge_verdict),
            "policy_violated" => ("policy_violated", &mut self.policy_violated),
            "guardrail_result" => ("guardrail_result", &mut self.guardrail_result),
            "endpoint" => ("endpoint", &mut self.endpoint),
            "tool" => ("tool", &mut self.tool),
            "attack_type" => ("attack_type", &mut self.attack_type),
            "reason" => ("reason", &mut self.reason),
            _ => return None,
        })
    }

    /// Reads a field that is not plain text; false where the name is none of these.
    fn read(&mut self, name: &str, value: Raw<'a>, tenant: &str) -> Result<bool, Violation> {
        let json = value.json;
        match name {
            "event_type" => event_type(value)?,
            "tenant" => same_tenant(value, tenant)?,
            schema::VERSION_FIELD => version(value)?,
            "timestamp" => self.occurred_at = timestamp(value)?,
            "category" => self.category = word("category", value)?,
            "severity" => self.severity = word("severity", value)?,
            "judge_score" => self.judge_score = number(json)?,
            "tokens_in" => self.tokens_in = whole("tokens_in", json)?,
            "tokens_out" => self.tokens_out = whole("tokens_out", json)?,
            "risk_tier" => {
                self.risk_tier = whole("risk_tier", json)?
                    .map(|tier| u32::try_from(tier).map_err(|_| TIER))
                    .transpose()?;
            }
            "tool_allowed" => self.tool_allowed = flag("tool_allowed", json)?,
            "labels" => self.labels = labels(json)?,
            "request" => self.bodies.request = self.body("request", value)?,
            "response" => self.bodies.response = self.body("response", value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A string's own bytes; anything else as the JSON text it was.
    fn body(
        &mut self,
        field: &'static str,
        value: Raw<'a>,
    ) -> Result<Option<Cow<'a, [u8]>>, Violation> {
        let json = value.json;
        if json == "null" {
            return Ok(None);
        }
        self.bodies_wire_bytes += json.len();
        if !json.starts_with('"') {
            return Ok(Some(Cow::Borrowed(json.as_bytes())));
        }
        match value.text() {
            Some(Cow::Borrowed(text)) => Ok(Some(Cow::Borrowed(text.as_bytes()))),
            Some(Cow::Owned(text)) => Ok(Some(Cow::Owned(text.into_bytes()))),
            None => Err(Violation::new(field, Reason::Malformed, "not Unicode text")),
        }
    }
}

/// The fields that are not plain text.
const TYPED: [&str; 14] = [
    "event_type",
    "tenant",
    "timestamp",
    "category",
    "severity",
    "judge_score",
    "tokens_in",
    "tokens_out",
    "risk_tier",
    "tool_allowed",
    "labels",
    "request",
    "response",
    "extensions_json",
];

const TIER: Violation = Violation::new(
    "risk_tier",
    Reason::OutOfRange,
    "expected a whole number from 1 upward",
);

fn text<'a>(field: &'static str, value: Raw<'a>) -> Result<Text<'a>, Violation> {
    if value.json == "null" {
        return Ok(Cow::Borrowed(""));
    }
    if !value.json.starts_with('"') {
        return Err(Violation::new(
            field,
            Reason::Malformed,
            "expected a string",
        ));
    }
    value
        .text()
        .ok_or(Violation::new(field, Reason::Malformed, "not Unicode text"))
}

fn event_type(value: Raw<'_>) -> Result<(), Violation> {
    match &*text("event_type", value)? {
        "ai_security" | "" => Ok(()),
        _ => Err(Violation::new(
            "event_type",
            Reason::UnknownValue,
            "expected ai_security",
        )),
    }
}

/// A newer minor version has fields that are kept as extensions; another major one is not known.
fn version(value: Raw<'_>) -> Result<(), Violation> {
    // A number is text here: 1.0 is written so too.
    let said = match value.json.as_bytes().first() {
        Some(b'"' | b'n') => text(schema::VERSION_FIELD, value)?,
        Some(_) | None => Cow::Borrowed(value.json),
    };
    let said = said.trim();
    if said.is_empty() || schema::reads(said) == Some(true) {
        return Ok(());
    }
    Err(Violation::new(
        schema::VERSION_FIELD,
        Reason::UnknownValue,
        "expected 1, or 1 and a minor version such as 1.0; `balefire schemas list` shows what is read",
    ))
}

fn same_tenant(value: Raw<'_>, tenant: &str) -> Result<(), Violation> {
    let said = text("tenant", value)?;
    if said.is_empty() || said == tenant {
        return Ok(());
    }
    Err(Violation::new(
        "tenant",
        Reason::Conflict,
        "not the caller's tenant; leave it out, the credential says it",
    ))
}

fn timestamp(value: Raw<'_>) -> Result<Option<Timestamp>, Violation> {
    if value.json == "null" {
        return Ok(None);
    }
    let said = text("timestamp", value)?;
    match Timestamp::parse(&said) {
        Ok(time) => Ok(Some(time)),
        Err(_) if beyond_nanoseconds(&said) => Err(crate::admit::TIME_RANGE),
        Err(_) => Err(Violation::new(
            "timestamp",
            Reason::Malformed,
            "not a time; expected RFC 3339 with an offset, such as 2026-02-11T14:30:00Z",
        )),
    }
}

/// Whether a time that cannot be read has a year that nanoseconds do not reach.
fn beyond_nanoseconds(text: &str) -> bool {
    let year = text.trim().split('-').next().unwrap_or_default();
    let in_reach = 1678..=2261;
    year.len() == 4
        && year
            .parse::<u32>()
            .is_ok_and(|year| !in_reach.contains(&year))
}

fn word<W>(field: &'static str, value: Raw<'_>) -> Result<Option<W>, Violation>
where
    W: std::str::FromStr<Err = UnknownWord>,
{
    let said = text(field, value)?;
    if said.trim().is_empty() {
        return Ok(None);
    }
    said.trim()
        .parse()
        .map(Some)
        .map_err(|unknown: UnknownWord| Violation {
            field: Cow::Borrowed(field),
            reason: Reason::UnknownValue,
            description: Cow::Owned(format!("expected one of {}", unknown.expected)),
        })
}

fn number(json: &str) -> Result<Option<f64>, Violation> {
    let malformed = Violation::new("judge_score", Reason::Malformed, "expected a number");
    if json == "null" {
        return Ok(None);
    }
    if !json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Err(malformed);
    }
    json.parse().map(Some).map_err(|_| malformed)
}

fn whole(field: &'static str, json: &str) -> Result<Option<u64>, Violation> {
    if json == "null" {
        return Ok(None);
    }
    let digits = json.strip_prefix('-').unwrap_or(json);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Violation::new(
            field,
            Reason::Malformed,
            "expected a whole number",
        ));
    }
    json.parse().map(Some).map_err(|_| {
        Violation::new(
            field,
            Reason::OutOfRange,
            "expected a whole number from 0 to 18446744073709551615",
        )
    })
}

fn flag(field: &'static str, json: &str) -> Result<Option<bool>, Violation> {
    match json {
        "null" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(Violation::new(
            field,
            Reason::Malformed,
            "expected true or false",
        )),
    }
}

/// Labels: an object of strings; numbers and flags as the text they were.
fn labels(json: &str) -> Result<Vec<(Text<'_>, Text<'_>)>, Violation> {
    let malformed = || {
        Violation::new(
            "labels",
            Reason::Malformed,
            "expected an object of strings, numbers, true or false",
        )
    };
    if json == "null" {
        return Ok(Vec::new());
    }
    let members = json::members(json).map_err(|_| malformed())?;
    let mut labels = Vec::with_capacity(members.len());
    for Member { name, value } in members {
        let value = match value.json.as_bytes().first() {
            Some(b'"') => value.text().ok_or_else(malformed)?,
            Some(b'{' | b'[') | None => return Err(malformed()),
            Some(b'n') => continue,
            Some(_) => Cow::Borrowed(value.json),
        };
        labels.push((name, value));
    }
    Ok(labels)
}
