//! How large an event is.

use balefire_event::Event;

/// Bytes of an event's texts.
pub(crate) fn size(event: &Event<'_>) -> usize {
    let texts = [
        &event.event_id,
        &event.judge_verdict,
        &event.policy_violated,
        &event.guardrail_result,
        &event.endpoint,
        &event.reason,
    ];
    let labels = event
        .labels
        .iter()
        .map(|(name, value)| name.len() + value.len());
    let extensions = event.extensions.iter().map(|e| e.name.len() + e.json.len());
    texts.iter().map(|text| text.len()).sum::<usize>()
        + labels.sum::<usize>()
        + extensions.sum::<usize>()
}
