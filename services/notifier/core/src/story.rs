//! An escalation in plain words, for targets that people read: what was seen, why it matters, what
//! to do first, and where to look on. Made from a view, so it says nothing that the view hides.

use balefire_event::time::{MINUTE, SECOND};
use balefire_event::{Category, EscalationKind, IdentityKind, KeyKind, Severity, Timestamp};

use crate::advice::advice_on;
use crate::body::{ENFORCEMENT, seen};
use crate::policy;
use crate::view::View;

/// Said before the queries.
pub const APPROXIMATE: &str =
    "approximate: Balefire's window slides, these count over a fixed stretch";

/// The words of one escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// One line: severity, what, who.
    pub headline: String,
    /// What was seen, as a sentence.
    pub seen: String,
    /// Why anyone should care.
    pub why: &'static str,
    /// The first steps of triage.
    pub first: &'static str,
    /// Names and values, in order; none is empty.
    pub facts: Vec<(&'static str, String)>,
    /// Where to look in Splunk.
    pub spl: String,
    /// Where to look in Sentinel.
    pub kql: String,
}

impl Story {
    /// Of what a receiver may see.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let record = view.record();
        let words = advice_on(record);
        let severity = record.severity.as_str().to_uppercase();
        let word = match record.kind {
            EscalationKind::Raised => "",
            EscalationKind::Continued => "continues: ",
            EscalationKind::Closed => "closed: ",
            EscalationKind::Amended => "amended: ",
        };
        let whom = view.whom().map(|who| format!(" by {}", line(who)));
        Self {
            headline: format!(
                "{severity} {word}{}{}",
                line(&record.title),
                whom.unwrap_or_default()
            ),
            seen: seen(record, words.what),
            why: words.why,
            first: words.first,
            facts: facts(view),
            spl: spl(view),
            kql: kql(view),
        }
    }

    /// All of it as plain text of at most `chars_max` characters.
    #[must_use]
    pub fn text(&self, chars_max: usize) -> String {
        let mut text = format!(
            "{}\n\nWhat was seen: {}\nWhy it matters: {}\nWhat to do first: {}\n\n",
            self.headline,
            line(&self.seen),
            self.why,
            self.first
        );
        for (name, value) in &self.facts {
            text.push_str(&format!("{name}: {}\n", line(value)));
        }
        text.push_str(&format!(
            "\nQueries ({APPROXIMATE})\nSPL: {}\nKQL: {}\n",
            self.spl, self.kql
        ));
        clip(&text, chars_max)
    }
}

fn facts(view: &View) -> Vec<(&'static str, String)> {
    let record = view.record();
    let mut facts = vec![
        ("Escalation", record.escalation_id.to_string()),
        ("Episode", record.episode_id.to_string()),
        ("Rule", record.rule_name.clone()),
        ("Tenant", record.tenant.clone()),
        ("SOC tier", view.tier()),
        ("Time", record.breach_at.to_string()),
        ("Timing", record.timing.as_str().into()),
    ];
    if let Some(assurance) = record.assurance {
        facts.push(("Identity", assurance.as_str().into()));
    }
    if let Some(event) = view.event() {
        let said = [
            ("Category", event.category.as_str()),
            ("Request", event.key(KeyKind::Request).unwrap_or("")),
            ("User", view.identity(IdentityKind::User).unwrap_or("")),
            ("Agent", view.identity(IdentityKind::Agent).unwrap_or("")),
            ("Address", &event.src_ip),
            ("Model", &event.model),
            ("Endpoint", &event.endpoint),
            ("Tool", &event.tool),
            ("Policy", &event.policy_violated),
        ];
        facts.push(("Owner", policy::runbook(event.category).owner.into()));
        let said = said.into_iter().filter(|(_, value)| !value.is_empty());
        facts.extend(said.map(|(name, value)| (name, value.to_owned())));
    }
    let ids: Vec<_> = record
        .evidence
        .iter()
        .map(|item| item.event_id.as_str())
        .collect();
    if !ids.is_empty() {
        facts.push(("Events", ids.join(", ")));
    }
    for action in &record.recommended_actions {
        let text = format!("{} of {} ({ENFORCEMENT})", action.name, action.target);
        facts.push(("Recommended", text));
    }
    if view.is_withholding() {
        facts.push(("Note", "this receiver is not shown everything".into()));
    }
    facts
}

/// The stretch to look at: the window before the breach, or an hour, and five minutes more.
fn stretch(view: &View) -> (Timestamp, Timestamp) {
    let record = view.record();
    let window = match record.window {
        0 => 60 * MINUTE,
        window => window,
    };
    let around = 5 * MINUTE;
    (
        record.breach_at.minus(window).minus(around),
        record.breach_at.plus(around),
    )
}

/// What both queries ask for: the category, and the parts of the key that may be seen.
fn conditions(view: &View) -> Vec<(&str, &str)> {
    let category = view.event().map(|event| event.category);
    let category = category.filter(|category| *category != Category::Telemetry);
    let mut all: Vec<_> = category
        .into_iter()
        .map(|category| ("category", category.as_str()))
        .collect();
    let key = view.record().key.iter();
    let shown = key.filter(|part| {
        part.readable != crate::view::WITHHELD
            && part
                .field
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    all.extend(shown.map(|part| (part.field.as_str(), part.readable.as_str())));
    all
}

/// A search in the source document's own fields (index=ai_security).
fn spl(view: &View) -> String {
    let (Timestamp(from), Timestamp(to)) = stretch(view);
    let mut text = format!(
        "index=ai_security earliest={} latest={}",
        from.div_euclid(SECOND),
        to.div_euclid(SECOND).saturating_add(1)
    );
    for (field, value) in conditions(view) {
        text.push_str(&format!(" {field}={}", quoted(value)));
    }
    text.push_str(" | stats count by user_id, category");
    text
}

/// The same over the source document's table AISecurity_CL.
fn kql(view: &View) -> String {
    let (from, to) = stretch(view);
    let mut text =
        format!("AISecurity_CL | where TimeGenerated between (datetime({from}) .. datetime({to}))");
    for (field, value) in conditions(view) {
        text.push_str(&format!(" | where {field}_s == {}", quoted(value)));
    }
    text.push_str(" | summarize count() by user_id_s, category_s");
    text
}

/// A string literal of SPL and KQL: both escape backslash and quote with a backslash.
fn quoted(value: &str) -> String {
    let value = line(value).replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{value}\"")
}

/// On one line: controls, line separators and marks that turn the direction of writing become
/// spaces.
#[must_use]
pub fn line(text: &str) -> String {
    text.replace(is_invisible, " ")
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{feff}'
        )
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// At most so many characters; what was cut ends in "…".
#[must_use]
pub fn clip(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// 1 low to 4 critical.
#[must_use]
pub const fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{escalation, hostile, nasty, view};
    use crate::view::Classification;
    use proptest::prelude::*;

    /// Reads a literal back; the rest behind it.
    fn literal(text: &str) -> Option<(String, &str)> {
        let mut value = String::new();
        let mut rest = text.strip_prefix('"')?.chars();
        loop {
            match rest.next()? {
                '"' => return Some((value, rest.as_str())),
                '\\' => value.push(rest.next()?),
                other => value.push(other),
            }
        }
    }

    #[test]
    fn it_says_what_why_and_what_to_do_and_where_to_look() {
        let story = Story::of(&view(&escalation()));
        assert_eq!(
            story.headline,
            "HIGH More than 3 high judge flags in an hour by jgill@example.com"
        );
        assert_eq!(
            story.spl,
            "index=ai_security earliest=1770816300 latest=1770820501 category=\"judge_flag\" \
             user_id=\"jgill@example.com\" | stats count by user_id, category"
        );
        assert!(story.kql.contains("user_id_s == \"jgill@example.com\""));
        let text = story.text(10_000);
        for part in [
            "4 events (more than 3 in 1 hour)",
            "Why it matters: ",
            "SOC tier: Alert (triage within 1 hour)",
            "approximate",
            "recommended, not enforced",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(story.text(100).chars().count(), 100);
    }

    #[test]
    fn nothing_hidden_is_told() {
        let hidden = View::of(&escalation(), Classification::Internal);
        let text = Story::of(&hidden).text(100_000);
        assert!(!text.contains("jgill"), "{text}");
        assert!(text.contains("not shown everything"));
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_literal_in_a_query(user in nasty()) {
            let story = Story::of(&view(&hostile(&user, "x")));
            let (_, spl) = story.spl.split_once(" user_id=").unwrap();
            prop_assert_eq!(
                literal(spl).unwrap(),
                (line(&user), " | stats count by user_id, category")
            );
            let (_, kql) = story.kql.split_once("user_id_s == ").unwrap();
            prop_assert_eq!(
                literal(kql).unwrap(),
                (line(&user), " | summarize count() by user_id_s, category_s")
            );
        }

        #[test]
        fn no_text_adds_a_line(user in nasty(), text in nasty()) {
            let lines = |user: &str, text: &str| {
                let story = Story::of(&view(&hostile(user, text)));
                story.text(usize::MAX).lines().count()
            };
            prop_assert_eq!(lines(&format!("{user}x"), &format!("{text}x")), lines("a", "b"));
        }
    }
}
