//! A plan as a file: NDJSON, first what it was made from, then every event with its record, then
//! every escalation that must come of them.

use serde::Deserialize;
use serde_json::json;

use crate::oracle::expected;
use crate::plan::{Plan, Shape};
use crate::planned::Planned;

/// What is wrong with a plan file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a line of a plan.
    #[error("line {line} is not understood")]
    Line {
        /// From 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// No first line.
    #[error("it is empty")]
    Empty,
    /// Its events are not those that its first line tells of.
    #[error("its events have the digest {found}, its first line says {said}")]
    Digest {
        /// Of the events.
        found: String,
        /// Of the first line.
        said: String,
    },
}

#[derive(Deserialize)]
struct Head {
    shape: Shape,
    tag: String,
    digest: String,
}

#[derive(Deserialize)]
struct Line {
    event: Option<Planned>,
}

/// The lines of a plan's file, in order.
pub fn lines(plan: &Plan) -> impl Iterator<Item = String> {
    let due = expected(plan.events.iter());
    let head = json!({
        "shape": plan.shape, "tag": plan.tag, "digest": plan.digest(),
        "events": plan.events.len(), "expected": due.len(),
    });
    let events = plan
        .events
        .iter()
        .map(|event| json!({"event": event, "payload": event.payload(&plan.tag)}).to_string());
    let due = due
        .into_iter()
        .map(|(name, completion)| json!({"expected": name, "completed": completion}).to_string());
    std::iter::once(head.to_string()).chain(events).chain(due)
}

/// Reads a plan's file.
///
/// # Errors
/// [`Error`].
pub fn read(text: &str) -> Result<Plan, Error> {
    let mut lines = text.lines().zip(1usize..);
    let wrong = |line| move |source| Error::Line { line, source };
    let (head, _) = lines.next().ok_or(Error::Empty)?;
    let head: Head = serde_json::from_str(head).map_err(wrong(1))?;
    let mut events = Vec::new();
    for (text, number) in lines {
        let line: Line = serde_json::from_str(text).map_err(wrong(number))?;
        events.extend(line.event);
    }
    let plan = Plan {
        shape: head.shape,
        tag: head.tag,
        events,
    };
    let found = plan.digest();
    if found != head.digest {
        return Err(Error::Digest {
            found,
            said: head.digest,
        });
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Scenario;

    fn text() -> (Plan, String) {
        let plan = Shape {
            scenario: Scenario::Join,
            arrival: Shape::usual_arrival(Scenario::Join),
            rate: 100,
            flood_rate: 0,
            seconds: 3,
            seed: 9,
            base_ns: 1_700_000_000_000_000_000,
        }
        .plan();
        let text = lines(&plan).collect::<Vec<_>>().join("\n");
        (plan, text)
    }

    #[test]
    fn a_plan_comes_back_from_its_file() {
        let (plan, text) = text();
        assert_eq!(read(&text).unwrap(), plan);
        assert!(text.contains("\"expected\":{"));
    }

    #[test]
    fn a_plan_that_was_changed_is_refused() {
        let (_, text) = text();
        let without_an_event: Vec<_> = text
            .lines()
            .enumerate()
            .filter(|(line, _)| *line != 7)
            .map(|(_, line)| line)
            .collect();
        let error = read(&without_an_event.join("\n")).unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{error}");
        assert!(matches!(read("").unwrap_err(), Error::Empty));
        assert!(matches!(
            read("{}").unwrap_err(),
            Error::Line { line: 1, .. }
        ));
    }
}
