//! The source document's tables as data: what a severity means to a SOC, and who owns a category
//! and when it becomes a ticket. The default; a SOC's own words replace the names.

use balefire_event::{Category, Severity};

/// A severity in a SOC's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: &'static str,
    /// What is expected, in words.
    pub response: &'static str,
    /// Triage within so many minutes; 0: at once. `None`: nobody waits for it.
    pub triage_minutes: Option<u32>,
}

/// The severity map.
#[must_use]
pub const fn tier(severity: Severity) -> Tier {
    let (name, response, triage_minutes) = match severity {
        Severity::Low => ("Informational", "log, aggregate, review weekly", None),
        Severity::Medium => ("Warning", "triage within 4 hours", Some(240)),
        Severity::High => ("Alert", "triage within 1 hour", Some(60)),
        Severity::Critical => ("Incident", "immediate response", Some(0)),
    };
    Tier {
        name,
        response,
        triage_minutes,
    }
}

/// What a single event of a category becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticket {
    /// Nothing by itself; a rule that counts may say otherwise.
    None,
    /// A ticket.
    Ticket,
    /// An incident.
    Incident,
}

/// Who owns a category, and when it becomes a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runbook {
    /// Who runs it.
    pub owner: &'static str,
    /// What it becomes at `severity_min` and above.
    pub becomes: Ticket,
    /// From this severity on.
    pub severity_min: Severity,
    /// False: the source document has no row; this is its nearest neighbour's.
    pub documented: bool,
}

/// The runbook table. Anomaly and data exfiltration have no row in the source document: the first
/// is treated as a judge flag, the second as a prompt attack.
#[must_use]
pub const fn runbook(category: Category) -> Runbook {
    use Severity::{High, Low, Medium};
    let (owner, becomes, severity_min, documented) = match category {
        Category::GuardrailBlock => ("AI Platform", Ticket::None, Low, true),
        Category::JudgeFlag => ("AI Security + SOC L1", Ticket::Ticket, Medium, true),
        Category::Anomaly => ("AI Security + SOC L1", Ticket::Ticket, Medium, false),
        Category::PromptAttack => ("SOC L2 + AI Security", Ticket::Incident, High, true),
        Category::DataExfiltrationSignal => ("SOC L2 + AI Security", Ticket::Incident, High, false),
        Category::AgentBoundaryViolation => ("AI Platform + SOC L2", Ticket::Incident, Low, true),
        Category::ModelDrift | Category::Telemetry => ("AI Platform", Ticket::None, Low, true),
    };
    Runbook {
        owner,
        becomes,
        severity_min,
        documented,
    }
}

/// What one event becomes under the default ticket policy.
#[must_use]
pub fn ticket(category: Category, severity: Severity) -> Ticket {
    let row = runbook(category);
    if severity >= row.severity_min {
        row.becomes
    } else {
        Ticket::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_the_source_documents() {
        use Category as C;
        use Severity::{High, Low, Medium};
        for (category, severity, becomes) in [
            (C::GuardrailBlock, High, Ticket::None),
            (C::JudgeFlag, Low, Ticket::None),
            (C::JudgeFlag, Medium, Ticket::Ticket),
            (C::PromptAttack, Medium, Ticket::None),
            (C::PromptAttack, High, Ticket::Incident),
            (C::AgentBoundaryViolation, Low, Ticket::Incident),
            (C::ModelDrift, High, Ticket::None),
        ] {
            assert_eq!(ticket(category, severity), becomes, "{category} {severity}");
        }
        assert_eq!(tier(Medium).triage_minutes, Some(240));
        assert_eq!(tier(Severity::Critical).name, "Incident");
    }

    #[test]
    fn only_two_rows_are_neighbours() {
        let ours: Vec<_> = Category::ALL
            .iter()
            .filter(|category| !runbook(**category).documented)
            .collect();
        assert_eq!(
            ours,
            [&Category::Anomaly, &Category::DataExfiltrationSignal]
        );
    }
}
