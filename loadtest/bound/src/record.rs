//! A record of the reference workload, as the source documents have it.

use std::io::{self, Write};

use balefire_event::{Category, Event};

/// Text of a time to the millisecond, without its zone.
const MILLIS_LEN: usize = 23;

/// Writes the record of an event, without the end of a line: 379 bytes on average.
pub fn write(number: usize, event: &Event<'_>, out: &mut impl Write) -> io::Result<()> {
    let t = event.t.to_string();
    let label = event.user.as_ref().and_then(|user| user.label.as_ref());
    write!(
        out,
        r#"{{"event_type":"ai_security","event_id":"{}","timestamp":"{}Z","severity":"{}","category":"{}","request_id":"req-{number:012}","user_id":"{}","model":"{}""#,
        event.event_id,
        t.get(..MILLIS_LEN).unwrap_or(&t),
        event.severity.as_str(),
        event.category.as_str(),
        label.and_then(|label| label.readable()).unwrap_or_default(),
        event.model,
    )?;
    match event.category {
        Category::GuardrailBlock => write!(
            out,
            r#","policy_violated":"personal_data","guardrail_result":"blocked""#
        )?,
        Category::JudgeFlag => write!(
            out,
            r#","judge_model":"gpt-4o","judge_score":0.{:02},"judge_verdict":"policy_violation","policy_violated":"financial_advice","guardrail_result":"pass""#,
            50 + number % 50,
        )?,
        Category::PromptAttack => write!(
            out,
            r#","attack_type":"instruction_override","guardrail_result":"pass""#
        )?,
        Category::AgentBoundaryViolation => write!(
            out,
            r#","agent_id":"agent-billing","tool":"payments.refund","tool_allowed":{},"guardrail_result":"pass""#,
            event.tool_allowed.unwrap_or_default(),
        )?,
        _ => {}
    }
    write!(
        out,
        r#","tokens_in":{},"tokens_out":{},"endpoint":"{}","risk_tier":2}}"#,
        number % 900,
        number % 2_000,
        event.endpoint,
    )
}
