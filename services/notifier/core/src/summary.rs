//! A summary page: what a receiver is told in place of the pages that a storm held, and the record
//! that encoders make it of. A function of the intent alone, so that every attempt sends the same.

use balefire_event::{
    DedupId, Escalation, EscalationId, EscalationKind, EvidenceItem, KeyPart, RuleId, Severity,
    Timestamp, Timing,
};

use crate::record::Intent;
use crate::storm::STORM_FOR;

/// Name of the rule that summaries are said to be of, and of the route of the first.
pub const STORM_RULE: &str = "balefire_storm";

/// A page that was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The escalation.
    pub escalation_id: EscalationId,
    /// Its severity.
    pub severity: Severity,
    /// When it was held.
    pub at: Timestamp,
    /// Its rule; empty where only the log of deliveries was read since.
    pub rule: String,
}

/// What a summary page tells of: the whole content of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Pages in ten minutes that the receiver takes.
    pub pages_max: u32,
    /// Since when pages are held.
    pub since: Timestamp,
    /// Pages held since then.
    pub held: u64,
    /// The first of them.
    pub listed: Vec<Held>,
    /// Whether further ones are held.
    pub goes_on: bool,
}

/// The record that a summary page is made of, as every encoder takes it.
#[must_use]
pub fn record(tenant: &str, intent: &Intent, summary: &Summary) -> Escalation {
    let receiver = &intent.receiver;
    let (kind, revision) = intent.notice.parts();
    let held = |held: &Held| EvidenceItem {
        event_id: held.escalation_id.to_string(),
        dedup_id: DedupId::default(),
        t: held.at,
    };
    Escalation {
        escalation_id: intent.escalation_id,
        episode_id: intent.episode_id,
        kind,
        tenant: tenant.into(),
        rule_id: RuleId([0; 16]),
        rule_name: STORM_RULE.into(),
        title: title(receiver, summary, kind),
        key: vec![KeyPart {
            field: "receiver".into(),
            readable: receiver.to_string(),
            canonical: receiver.as_bytes().to_vec(),
        }],
        slot_start: summary.since,
        rearm: 0,
        breach_at: intent.decided_at,
        severity: intent.severity,
        timing: Timing::OnTime,
        assurance: None,
        evidence: summary.listed.iter().map(held).collect(),
        event_count: summary.held,
        recommended_actions: Vec::new(),
        audiences: Vec::new(),
        atlas: Vec::new(),
        owasp: Vec::new(),
        trigger: None,
        received_at: intent.decided_at,
        revision,
        backfill: false,
        window: STORM_FOR,
        threshold: u64::from(summary.pages_max),
        at_close: false,
        condition: told(receiver, summary),
        shadow: false,
    }
}

fn title(receiver: &str, summary: &Summary, kind: EscalationKind) -> String {
    let (max, held) = (summary.pages_max, summary.held);
    match (kind, summary.goes_on) {
        (EscalationKind::Raised, _) => {
            format!(
                "Storm: more than {max} pages to {receiver} in 10 minutes, further ones are held"
            )
        }
        (_, true) => format!("Storm goes on: {held} pages to {receiver} held in 10 minutes"),
        (_, false) => format!("Storm over: {held} pages to {receiver} were held, look at them"),
    }
}

/// The whole story in words.
fn told(receiver: &str, summary: &Summary) -> String {
    let mut text = format!(
        "{} page(s) to {receiver} held since {}",
        summary.held, summary.since
    );
    let mut glue = ": ";
    for held in &summary.listed {
        let rule = if held.rule.is_empty() { "" } else { " " };
        text.push_str(&format!(
            "{glue}{} {}{rule}{}",
            held.severity, held.escalation_id, held.rule
        ));
        glue = ", ";
    }
    let listed = u64::try_from(summary.listed.len()).unwrap_or(u64::MAX);
    if summary.held > listed {
        text.push_str(&format!(" and {} more", summary.held - listed));
    }
    text.push_str(&format!(
        ". All of them: balefire deliveries --receiver {receiver} --withheld storm"
    ));
    text
}

/// Whether a record is a summary page.
#[must_use]
pub fn is_summary(record: &Escalation) -> bool {
    record.rule_name == STORM_RULE && record.rule_id == RuleId([0; 16])
}
