//! NeMo Guardrails' generation log.
//!
//! A rail that stopped because it failed also says `stop: true`: its actions returned nothing. That
//! is an error of the guardrail and no attack.

use serde_json::Value;

use super::draft::{CALLER, Draft};
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, list, said, without, yes};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "nemo-guardrails",
    about: "NeMo Guardrails generation logs",
    recognises: |record| at(record, "log.activated_rails").is_array(),
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let rails = list(at(record, "log.activated_rails"));
    let mut hits = Vec::new();
    let mut failed = false;
    for rail in rails.iter().filter(|rail| yes(at(rail, "stop"))) {
        let actions = list(at(rail, "executed_actions"));
        if !actions.is_empty()
            && actions
                .iter()
                .all(|action| at(action, "return_value").is_null())
        {
            failed = true;
            continue;
        }
        let name = said(rail, &["name"]).unwrap_or_else(|| "rail".to_owned());
        let kind = said(rail, &["type"]).unwrap_or_else(|| "dialog".to_owned());
        hits.push(Hit::new(
            Finding::of_name(&name),
            Action::Blocked,
            format!("{kind}:{name}"),
        ));
    }
    let rest = without(
        &without(
            record,
            &[
                "response",
                "log.activated_rails",
                "log.llm_calls",
                "log.internal_events",
                "log.colang_history",
            ],
        ),
        &CALLER,
    );
    let mut base = Draft::of_caller(record, None, context)
        .body("response", at(record, "response"))
        .label("guardrail_error", if failed { "true" } else { "" })
        .rest("nemo_guardrails", &rest);
    if at(record, "timestamp").is_null() {
        let time = rails
            .first()
            .and_then(|rail| super::moment::of(at(rail, "started_at")));
        base = base.text("timestamp", time.map(|at| at.to_string()));
    }
    Ok(finding::events(base, &hits))
}
