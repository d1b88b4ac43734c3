//! From the typed event on the wire to what the core admits, and from outcomes to answers.

use std::borrow::Cow;

use balefire_event::{Category, Severity, Timestamp};
use balefire_ingest_core::evidence::Bodies;
use balefire_ingest_core::{NativeInput, Reason, Violation};
use balefire_kit::violation;
use balefire_wire::ingest::v1::{
    AppendResult, AppendStatus, BatchError, NativeEvent, Place, Violation as WireViolation,
};
use bytes::Bytes;
use tonic::{Code, Status};

use crate::outcome::{Outcome, Refusal};

/// Of a dedup id.
const DEDUP_ID_BYTES: usize = 16;

/// Reads a typed event.
///
/// # Errors
/// A time out of range, an unknown enum number, further fields that are no JSON object.
pub fn native(event: &NativeEvent) -> Result<NativeInput<'_>, Violation> {
    let labels = event.labels.iter();
    let said = event.timestamp.as_ref();
    NativeInput {
        event_id: text(&event.event_id),
        occurred_at: said
            .map(|said| time(said.seconds, said.nanos))
            .transpose()?,
        category: word("category", event.category, Category::from_number)?,
        severity: word("severity", event.severity, Severity::from_number)?,
        request_id: text(&event.request_id),
        trace_id: text(&event.trace_id),
        session_id: text(&event.session_id),
        user_id: text(&event.user_id),
        agent_id: text(&event.agent_id),
        service_principal: text(&event.service_principal),
        api_key_id: text(&event.api_key_id),
        src_ip: text(&event.src_ip),
        model: text(&event.model),
        judge_model: text(&event.judge_model),
        judge_score: event.judge_score,
        judge_verdict: text(&event.judge_verdict),
        policy_violated: text(&event.policy_violated),
        guardrail_result: text(&event.guardrail_result),
        tokens_in: event.tokens_in,
        tokens_out: event.tokens_out,
        endpoint: text(&event.endpoint),
        risk_tier: event.risk_tier,
        tool: text(&event.tool),
        tool_allowed: event.tool_allowed,
        attack_type: text(&event.attack_type),
        reason: text(&event.reason),
        labels: labels
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        extensions: Vec::new(),
        bodies: Bodies {
            request: body(&event.request),
            response: body(&event.response),
        },
        bodies_wire_bytes: event.request.len() + event.response.len(),
    }
    .with_extensions(event.extensions_json.as_bytes())
}

fn text(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn body(body: &Bytes) -> Option<Cow<'_, [u8]>> {
    (!body.is_empty()).then_some(Cow::Borrowed(body.as_ref()))
}

fn time(seconds: i64, nanos: i32) -> Result<Timestamp, Violation> {
    let refuse = |reason, description| Violation::new("timestamp", reason, description);
    let nanos = i64::from(nanos);
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(refuse(
            Reason::Malformed,
            "nanos must lie from 0 to 999999999",
        ));
    }
    seconds
        .checked_mul(1_000_000_000)
        .and_then(|seconds| seconds.checked_add(nanos))
        .map(Timestamp)
        .ok_or_else(|| refuse(Reason::OutOfRange, "expected a time from 1970 to 2199"))
}

/// Zero is not said; any other number must be a word's.
fn word<W>(
    field: &'static str,
    number: i32,
    from_number: impl Fn(i32) -> Option<W>,
) -> Result<Option<W>, Violation> {
    match number {
        0 => Ok(None),
        number => from_number(number).map(Some).ok_or(Violation::new(
            field,
            Reason::UnknownValue,
            "not a number of this enum",
        )),
    }
}

/// The answers for events, in their order.
pub fn results(outcomes: Vec<Outcome>) -> Vec<AppendResult> {
    // One allocation for all ids, of which each answer holds its part.
    let id_of = |outcome: &Outcome| match outcome {
        Outcome::Accepted { dedup_id, .. } | Outcome::Duplicate { dedup_id, .. } => dedup_id.0,
        Outcome::Rejected(_) => [0; DEDUP_ID_BYTES],
    };
    let ids: Bytes = outcomes.iter().flat_map(id_of).collect();
    let part = |index: usize| ids.slice(index * DEDUP_ID_BYTES..(index + 1) * DEDUP_ID_BYTES);
    let each = outcomes.into_iter().enumerate();
    each.map(|(index, outcome)| result(outcome, part(index)))
        .collect()
}

/// The answer for one event, whose dedup id, where it has one, is `dedup_id`.
fn result(outcome: Outcome, dedup_id: Bytes) -> AppendResult {
    match outcome {
        Outcome::Accepted {
            stream,
            place,
            timing,
            ..
        } => AppendResult {
            status: AppendStatus::Accepted.into(),
            place: Some(Place {
                stream: String::from(&*stream),
                sequence: place.sequence,
                index: place.index,
            }),
            dedup_id,
            timing: timing.number(),
            violation: None,
        },
        Outcome::Duplicate { timing, .. } => AppendResult {
            status: AppendStatus::Duplicate.into(),
            dedup_id,
            timing: timing.number(),
            ..AppendResult::default()
        },
        Outcome::Rejected(violation) => AppendResult {
            status: AppendStatus::Rejected.into(),
            violation: Some(WireViolation {
                field: violation.field.into_owned(),
                reason: violation.reason.as_str().to_owned(),
                description: violation.description.into_owned(),
            }),
            ..AppendResult::default()
        },
    }
}

/// The status of a refused call.
pub fn status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Overloaded {
            message,
            retry_after,
        } => violation::overloaded(message, *retry_after),
        Refusal::Unavailable {
            message,
            retry_after,
        } => violation::unavailable(message, *retry_after),
        Refusal::Forbidden { message } => Status::permission_denied(message.clone()),
        Refusal::Invalid {
            field, description, ..
        } => violation::invalid(field, description),
    }
}

/// The same for one batch of a stream.
pub fn batch_error(refusal: &Refusal) -> BatchError {
    let (code, message, retry_after) = match refusal {
        Refusal::Overloaded {
            message,
            retry_after,
        } => (Code::ResourceExhausted, message.clone(), *retry_after),
        Refusal::Unavailable {
            message,
            retry_after,
        } => (Code::Unavailable, message.clone(), *retry_after),
        Refusal::Forbidden { message } => (
            Code::PermissionDenied,
            message.clone(),
            std::time::Duration::ZERO,
        ),
        Refusal::Invalid {
            field, description, ..
        } => (
            Code::InvalidArgument,
            format!("{field}: {description}"),
            std::time::Duration::ZERO,
        ),
    };
    BatchError {
        code: u32::try_from(i32::from(code)).unwrap_or_default(),
        message,
        retry_after_ns: i64::try_from(retry_after.as_nanos()).unwrap_or(i64::MAX),
    }
}
