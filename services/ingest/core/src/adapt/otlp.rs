//! OpenTelemetry spans and log records, as OTLP's JSON: `gen_ai.*` spans, evaluation results and
//! the three drafts of a guardrail namespace. Any other span leaves who it was for, or nothing.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::draft::Draft;
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, first, list, text, whole};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "otlp",
    about: "OpenTelemetry spans and logs (OTLP JSON)",
    recognises: |record| {
        at(record, "resourceSpans").is_array() || at(record, "resourceLogs").is_array()
    },
    adapt,
};

/// The drafts of a guardrail namespace, newest first.
const GUARDRAILS: [&str; 3] = ["gen_ai.guardrail.", "gen_ai.security.", "gen_ai.guardian."];
/// The event of a judge.
const EVALUATION: &str = "gen_ai.evaluation.result";
/// Parts of a judge's label that say that something is wrong. Labels are each evaluator's own.
const BAD: [&str; 12] = [
    "violat",
    "fail",
    "unsafe",
    "toxic",
    "hallucinat",
    "harm",
    "inject",
    "jailbreak",
    "leak",
    "flag",
    "block",
    "irrelevant",
];
/// Attributes that hold bodies: evidence, or left out.
const BODIES: [&str; 5] = [
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
];

/// Attributes by name, resource's and record's own.
type Attributes = BTreeMap<String, Value>;

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let mut drafts = Vec::new();
    for (resources, scopes, records) in [
        ("resourceSpans", "scopeSpans", "spans"),
        ("resourceLogs", "scopeLogs", "logRecords"),
    ] {
        for resource in list(at(record, resources)) {
            let shared = attributes(at(resource, "resource.attributes"));
            for scope in list(at(resource, scopes)) {
                for one in list(at(scope, records)) {
                    drafts.extend(of(one, &shared, context));
                }
            }
        }
    }
    Ok(drafts)
}

fn attributes(list_of: &Value) -> Attributes {
    let pairs = list(list_of).iter();
    pairs
        .filter_map(|pair| Some((text(at(pair, "key"))?, plain(at(pair, "value"), 8))))
        .collect()
}

/// OTLP's AnyValue as plain JSON.
fn plain(value: &Value, depth: usize) -> Value {
    let Some(depth) = depth.checked_sub(1) else {
        return Value::Null;
    };
    if let Some(whole) = whole(at(value, "intValue")) {
        return Value::from(whole);
    }
    let elements = list(at(value, "arrayValue.values"));
    if !elements.is_empty() {
        return elements
            .iter()
            .map(|element| plain(element, depth))
            .collect();
    }
    first(
        value,
        &["stringValue", "boolValue", "doubleValue", "intValue"],
    )
    .clone()
}

fn get(attributes: &Attributes, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| text(attributes.get(*name)?))
}

/// A span or log record: the events in it, itself where it says anything.
fn of(record: &Value, shared: &Attributes, context: &Context) -> Vec<Draft> {
    let own = attributes(at(record, "attributes"));
    let mut all = shared.clone();
    all.extend(own.clone());
    let who = who(record, &all, context);
    let base = base(&who, &all);
    let mut drafts = verdict(&base, &all, &own);
    drafts.extend(evaluation(&base, &name_of(record, &own), &own));
    for (index, event) in list(at(record, "events")).iter().enumerate() {
        let inner = attributes(at(event, "attributes"));
        let found = verdict(&base, &all, &inner).into_iter().chain(evaluation(
            &base,
            &name_of(event, &inner),
            &inner,
        ));
        drafts.extend(
            found
                .enumerate()
                .map(|(part, draft)| draft.part(&format!("event{index}.{part}"))),
        );
    }
    if drafts.is_empty() {
        let speaks = own.keys().any(|name| name.starts_with("gen_ai."));
        // Of a query, a page or a message of somebody's only the somebody is kept.
        let left = if speaks { Some(base) } else { None };
        drafts.extend(left.or_else(|| get(&all, &USERS).map(|_| who)));
    }
    drafts
}

const USERS: [&str; 3] = ["user.id", "enduser.id", "enduser.pseudo.id"];

fn name_of(record: &Value, own: &Attributes) -> String {
    let named = text(first(record, &["eventName", "name"]));
    get(own, &["event.name"]).or(named).unwrap_or_default()
}

/// Whose a span is and which call's, with its counts.
fn who(record: &Value, all: &Attributes, context: &Context) -> Draft {
    let trace = id(at(record, "traceId"), 16);
    let span = id(at(record, "spanId"), 8);
    let native = trace
        .clone()
        .zip(span)
        .map(|(trace, span)| format!("{trace}/{span}"));
    let logged = !at(record, "body").is_null() || !at(record, "severityNumber").is_null();
    // A span may have many log records.
    let native = native.filter(|_| !logged);
    let time = first(
        record,
        &["timeUnixNano", "startTimeUnixNano", "observedTimeUnixNano"],
    );
    let number = |names: &[&str]| names.iter().find_map(|name| whole(all.get(*name)?));
    let tool = get(all, &["gen_ai.tool.name"]);
    Draft::new(record, native, time, context)
        .text(
            "request_id",
            get(
                all,
                &[
                    "request.id",
                    "http.request.header.x-request-id",
                    "gen_ai.response.id",
                ],
            ),
        )
        .text("trace_id", trace)
        .text(
            "session_id",
            get(
                all,
                &["gen_ai.conversation.id", "session.id", "mcp.session.id"],
            ),
        )
        .text("user_id", get(all, &USERS))
        .text(
            "agent_id",
            get(all, &["gen_ai.agent.id", "gen_ai.agent.name"]),
        )
        .address(get(all, &["client.address", "source.address"]))
        .text(
            "model",
            get(all, &["gen_ai.response.model", "gen_ai.request.model"]),
        )
        .text(
            "endpoint",
            get(all, &["http.route", "url.path", "gen_ai.operation.name"]),
        )
        .text("tool", tool)
        .whole(
            "tokens_in",
            number(&["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"]),
        )
        .whole(
            "tokens_out",
            number(&[
                "gen_ai.usage.output_tokens",
                "gen_ai.usage.completion_tokens",
            ]),
        )
        .label_of("application", get(all, &["service.name"]))
}

/// With all that it says.
fn base(who: &Draft, all: &Attributes) -> Draft {
    let rest: serde_json::Map<String, Value> = all
        .iter()
        .filter(|(name, _)| !BODIES.contains(&name.as_str()) && !USERS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let body = |name: &str| all.get(name).unwrap_or(&Value::Null);
    who.clone()
        .body("request", body("gen_ai.input.messages"))
        .body("response", body("gen_ai.output.messages"))
        .rest("otel", &Value::Object(rest))
}

/// An id in hexadecimal, or base64 as protobuf's own JSON has it.
fn id(value: &Value, bytes: usize) -> Option<String> {
    let said = value.as_str()?.trim();
    if said.len() == 2 * bytes && said.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(said.to_ascii_lowercase());
    }
    let raw = STANDARD
        .decode(said)
        .ok()
        .filter(|raw| raw.len() == bytes)?;
    Some(raw.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a guardrail says in one of its namespaces, or a tool that was refused.
fn verdict(base: &Draft, all: &Attributes, own: &Attributes) -> Vec<Draft> {
    let mut hits = Vec::new();
    for space in GUARDRAILS {
        let said = |name: &str| get(own, &[&format!("{space}{name}")]);
        let action = match said("action.type")
            .or_else(|| said("verdict.type"))
            .as_deref()
        {
            Some("block" | "deny") => Action::Blocked,
            Some("modify") => Action::Masked,
            Some("audit" | "escalate" | "warn") => Action::Detected,
            Some(_) | None => continue,
        };
        let risk = said("risk.category").or_else(|| said("verdict.reason"));
        let tool = said("target.subtype").is_some_and(|kind| kind.starts_with("tool"));
        let finding = match &risk {
            Some(risk) => Finding::of_name(risk),
            None if tool => Finding::ToolDenied,
            None => Finding::Content,
        };
        let name = said("policy.id")
            .or(risk)
            .unwrap_or_else(|| "guardrail".to_owned());
        hits.push(Hit::new(finding, action, name));
    }
    let refused = get(own, &["error.type"]).is_some_and(|error| {
        let error = error.to_ascii_lowercase();
        [
            "denied",
            "permission",
            "forbidden",
            "not_allowed",
            "unauthorized",
        ]
        .iter()
        .any(|word| error.contains(word))
    });
    if refused && get(all, &["gen_ai.operation.name"]).as_deref() == Some("execute_tool") {
        hits.push(Hit::new(
            Finding::ToolDenied,
            Action::Blocked,
            "execute_tool",
        ));
        return finding::events(base.clone().tool_allowed(false), &hits);
    }
    if hits.is_empty() {
        return Vec::new();
    }
    finding::events(base.clone(), &hits)
}

/// A judge's verdict; telemetry where its label says nothing bad.
fn evaluation(base: &Draft, name: &str, own: &Attributes) -> Option<Draft> {
    if name != EVALUATION {
        return None;
    }
    let label = get(own, &["gen_ai.evaluation.score.label"]);
    let evaluator = get(own, &["gen_ai.evaluation.name"]);
    let score = own
        .get("gen_ai.evaluation.score.value")
        .unwrap_or(&Value::Null);
    let said = label.clone().unwrap_or_default().to_ascii_lowercase();
    let judged = base
        .clone()
        .part("evaluation")
        .text("judge_verdict", label)
        .text("judge_model", get(own, &["gen_ai.evaluation.model"]))
        .score(score);
    if !BAD.iter().any(|word| said.contains(word)) {
        return Some(judged);
    }
    let finding = if Finding::of_name(&said) == Finding::Hallucination {
        Finding::Hallucination
    } else {
        Finding::Judged
    };
    let hit = Hit::new(
        finding,
        Action::Blocked,
        evaluator.unwrap_or_else(|| "evaluation".to_owned()),
    );
    let event = finding::events(judged, &[hit]).pop()?;
    // A judge says; nothing was stopped.
    Some(
        event
            .part("evaluation")
            .text("guardrail_result", Some("flagged".to_owned())),
    )
}
