//! An escalation that nothing led to: for trying a receiver out.

use balefire_event::{
    Escalation, EscalationId, EscalationKind, RuleId, Severity, Timestamp, Timing,
};

/// Name of the rule that it is said to be of.
pub const TRIAL_RULE: &str = "balefire_receiver_test";

/// One that says it is a test, and who asked for it. Its records of both kinds are of one episode.
#[must_use]
pub fn escalation(
    id: EscalationId,
    kind: EscalationKind,
    (tenant, actor, receiver): (&str, &str, &str),
    now: Timestamp,
) -> Escalation {
    Escalation {
        escalation_id: id,
        episode_id: id,
        kind,
        tenant: tenant.into(),
        rule_id: RuleId([0; 16]),
        rule_name: TRIAL_RULE.into(),
        title: format!("Test of receiver {receiver}, asked for by {actor}: nothing happened"),
        key: Vec::new(),
        slot_start: now,
        rearm: 0,
        breach_at: now,
        severity: Severity::Low,
        timing: Timing::OnTime,
        assurance: None,
        evidence: Vec::new(),
        event_count: 0,
        recommended_actions: Vec::new(),
        audiences: Vec::new(),
        atlas: Vec::new(),
        owasp: Vec::new(),
        trigger: None,
        received_at: now,
        revision: u32::from(kind == EscalationKind::Closed),
        backfill: false,
        window: 0,
        threshold: 0,
        at_close: false,
        condition: String::new(),
        shadow: false,
    }
}
