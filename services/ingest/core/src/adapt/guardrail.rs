//! A Bedrock `GuardrailAssessment`, wherever it stands.

use serde_json::Value;

use super::finding::{Action, Finding, Hit};
use super::view::{at, list, members, text, yes};

/// Assessments within each other, at most.
const DEPTH_MAX: usize = 16;

/// The hits of every assessment in a guardrail's trace.
pub fn search(trace: &Value, hits: &mut Vec<Hit>) {
    search_at(trace, DEPTH_MAX, hits);
}

fn search_at(node: &Value, depth: usize, hits: &mut Vec<Hit>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    assess(node, hits);
    for element in list(node) {
        search_at(element, depth, hits);
    }
    for (name, child) in members(node) {
        if !name.ends_with("Policy") {
            search_at(child, depth, hits);
        }
    }
}

/// The hits of one assessment.
fn assess(assessment: &Value, hits: &mut Vec<Hit>) {
    for filter in list(at(assessment, "contentPolicy.filters")) {
        let finding = match at(filter, "type").as_str() {
            Some("PROMPT_ATTACK") => Finding::Injection,
            Some(_) | None => Finding::Content,
        };
        push(filter, finding, "content", at(filter, "type"), hits);
    }
    for topic in list(at(assessment, "topicPolicy.topics")) {
        push(topic, Finding::Content, "topic", at(topic, "name"), hits);
    }
    // A custom word is the very text that was matched: it is not repeated.
    for word in list(at(assessment, "wordPolicy.customWords")) {
        push(word, Finding::Content, "word", &Value::Null, hits);
    }
    for word in list(at(assessment, "wordPolicy.managedWordLists")) {
        push(word, Finding::Content, "word", at(word, "type"), hits);
    }
    for entity in list(at(assessment, "sensitiveInformationPolicy.piiEntities")) {
        push(
            entity,
            Finding::PersonalData,
            "pii",
            at(entity, "type"),
            hits,
        );
    }
    for regex in list(at(assessment, "sensitiveInformationPolicy.regexes")) {
        push(
            regex,
            Finding::PersonalData,
            "regex",
            at(regex, "name"),
            hits,
        );
    }
    for filter in list(at(assessment, "contextualGroundingPolicy.filters")) {
        push(
            filter,
            Finding::Hallucination,
            "grounding",
            at(filter, "type"),
            hits,
        );
    }
}

fn push(entry: &Value, finding: Finding, policy: &str, name: &Value, hits: &mut Vec<Hit>) {
    let action = match at(entry, "action").as_str() {
        Some("BLOCKED") => Action::Blocked,
        Some("ANONYMIZED") => Action::Masked,
        // Before `detected` was there, an entry without an action was one that was seen.
        Some(_) | None if yes(at(entry, "detected")) => Action::Detected,
        Some("NONE") if at(entry, "detected").is_null() => Action::Detected,
        Some(_) | None => return,
    };
    let name = match text(name) {
        Some(name) => format!("{policy}:{name}"),
        None => policy.to_owned(),
    };
    hits.push(Hit::new(finding, action, name));
}
