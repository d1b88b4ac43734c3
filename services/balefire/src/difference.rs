//! The difference between what files say and what is in force, and how it is shown.

use std::collections::BTreeMap;

use balefire_control::{Kind, Object, Value};

use crate::folder::{Folder, Wanted};
use crate::print::Out;

/// One thing to be done.
pub enum Step {
    /// It is not there.
    Create(Wanted),
    /// It is another.
    Update(Object, Wanted),
    /// It is no more wanted.
    Delete(Object),
}

/// Steps in the order in which they go.
pub type Steps = Vec<((Kind, String), Step)>;

/// What makes the objects that are there be those that are wanted; with `prune`, those of that
/// owner that are not wanted go.
pub fn plan(wanted: Folder, there: BTreeMap<(Kind, String), Object>, prune: Option<&str>) -> Steps {
    let mut steps = Steps::new();
    let mut rest = there;
    for (id, mut want) in wanted {
        match rest.remove(&id) {
            None => steps.push((id, Step::Create(want))),
            Some(object) => {
                // What operators set in between is not the files' to say.
                let operational = id.0.fields().iter().filter(|field| field.operational);
                for field in operational {
                    if let Some(value) = object.spec.get(field.name) {
                        let entry = want.spec.entry(field.name.to_owned());
                        entry.or_insert_with(|| value.clone());
                    }
                }
                if object.spec != want.spec || object.labels != want.labels {
                    steps.push((id, Step::Update(object, want)));
                }
            }
        }
    }
    let mut deleted: Steps = rest
        .into_iter()
        .filter(|(_, object)| prune.is_some_and(|owner| object.managed_by == owner))
        .map(|(id, object)| (id, Step::Delete(object)))
        .collect();
    // What others name goes last.
    deleted.reverse();
    steps.extend(deleted);
    let order = |kind: Kind| Kind::ALL.iter().position(|known| *known == kind);
    steps.sort_by_key(|((kind, _), step)| match step {
        Step::Create(_) | Step::Update(..) => (0, order(*kind)),
        Step::Delete(_) => (1, order(*kind).map(|place| Kind::ALL.len() - place)),
    });
    steps
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "(absent)".into(),
        Some(Value::Text(text)) => format!("{text:?}"),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Flag(flag)) => flag.to_string(),
        Some(Value::Texts(texts)) => format!("{texts:?}"),
        Some(Value::Words(words)) => format!("{words:?}"),
    }
}

/// The lines that differ between two texts: those between the first and the last difference.
fn changed_lines(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    let head = before
        .iter()
        .zip(&after)
        .take_while(|(a, b)| a == b)
        .count();
    let (before, after) = (
        before.get(head..).unwrap_or_default(),
        after.get(head..).unwrap_or_default(),
    );
    let tail = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let middle = |lines: &[&str], mark: char| -> Vec<String> {
        let kept = lines.len() - tail;
        lines
            .iter()
            .take(kept)
            .map(|line| format!("    {mark} {line}"))
            .collect()
    };
    let mut lines = middle(before, '-');
    lines.extend(middle(after, '+'));
    lines
}

/// Prints steps, for people.
pub fn show(steps: &Steps, out: &mut Out) {
    for ((kind, name), step) in steps {
        match step {
            Step::Create(want) => {
                out.line(&format!("+ {kind} {name}"));
                for (field, value) in want.spec.iter().filter(|(field, _)| *field != "yaml") {
                    out.line(&format!("    {field}: {}", shown(Some(value))));
                }
            }
            Step::Delete(_) => {
                out.line(&format!("- {kind} {name}"));
            }
            Step::Update(object, want) => {
                out.line(&format!("~ {kind} {name}"));
                let fields = kind.fields().iter().map(|field| field.name);
                for field in fields {
                    let (before, after) = (object.spec.get(field), want.spec.get(field));
                    if before == after {
                        continue;
                    }
                    if let (Some(Value::Text(before)), Some(Value::Text(after))) = (before, after)
                        && (before.contains('\n') || after.contains('\n'))
                    {
                        out.line(&format!("    {field}:"));
                        for line in changed_lines(before, after) {
                            out.line(&line);
                        }
                        continue;
                    }
                    out.line(&format!(
                        "    {field}: {} -> {}",
                        shown(before),
                        shown(after)
                    ));
                }
                if object.labels != want.labels {
                    out.line(&format!(
                        "    labels: {:?} -> {:?}",
                        object.labels, want.labels
                    ));
                }
            }
        }
    }
    out.flush();
}

/// How many steps of each kind, in words.
#[must_use]
pub fn counts(steps: &Steps, tense: &str) -> String {
    let mut counts = [0usize; 3];
    for (_, step) in steps {
        let [created, updated, deleted] = &mut counts;
        match step {
            Step::Create(_) => *created += 1,
            Step::Update(..) => *updated += 1,
            Step::Delete(_) => *deleted += 1,
        }
    }
    let [created, updated, deleted] = counts;
    format!("{tense}: {created} created, {updated} changed, {deleted} deleted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_texts_only_what_differs_is_shown() {
        let lines = changed_lines("a\nb\nc\nd\n", "a\nB\nBB\nc\nd\n");
        assert_eq!(lines, ["    - b", "    + B", "    + BB"]);
        assert_eq!(changed_lines("a\na\n", "a\n"), ["    - a"]);
        assert_eq!(changed_lines("a", "a"), [""; 0]);
    }
}
