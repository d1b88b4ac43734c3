//! OpenAI's moderation answer.

use serde_json::Value;

use super::draft::{CALLER, Draft};
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, list, members, said, without, yes};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "openai-moderation",
    about: "OpenAI moderation answers",
    recognises: |record| {
        list(at(record, "results")).first().is_some_and(|result| {
            at(result, "flagged").is_boolean() && at(result, "categories").is_object()
        })
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let mut hits = Vec::new();
    for result in list(at(record, "results"))
        .iter()
        .filter(|result| yes(at(result, "flagged")))
    {
        let flagged = members(at(result, "categories")).filter(|(_, flag)| yes(flag));
        let before = hits.len();
        hits.extend(flagged.map(|(name, _)| Hit::new(Finding::Content, Action::Blocked, name)));
        if hits.len() == before {
            hits.push(Hit::new(Finding::Content, Action::Blocked, "flagged"));
        }
    }
    let base = Draft::of_caller(record, said(record, &["id"]), context)
        .text("judge_model", said(record, &["model"]))
        .rest(
            "openai_moderation",
            &without(&without(record, &["id", "model"]), &CALLER),
        );
    Ok(finding::flagged(base, &hits))
}
