//! `balefire silences`, `balefire changes`, and `balefire rules disable|enable`: what operators do
//! in between. All of it is in the log, with who and why.

use std::time::Duration;

use balefire_control::{Kind, Spec, Value};
use balefire_event::Timestamp;
use balefire_wire::control::v1 as wire;
use balefire_wire::control::v1::control_service_client::ControlServiceClient;
use serde_json::json;

use crate::apply::{kind, objects};
use crate::connect::Target;
use crate::print::{Listing, Out, note, table};
use crate::{Failure, span};

/// Adds and lists silences.
///
/// A silence keeps receivers from being told for a while; escalations are decided nevertheless, and
/// who was not told is shown by `balefire deliveries --withheld silenced`. To stop a rule, use
/// `balefire rules disable`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Adds a silence and prints its name
    Add {
        /// For how long, from now
        #[arg(long = "for", value_parser = span::parse, value_name = "SPAN")]
        span: Duration,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Only escalations of this rule; may be given more than once
        #[arg(long = "rule", value_name = "NAME")]
        rules: Vec<String>,
        /// Only these receivers are not told; may be given more than once
        #[arg(long = "receiver", value_name = "NAME")]
        receivers: Vec<String>,
        /// More severe escalations are told nevertheless
        #[arg(long, value_name = "SEVERITY")]
        severity_max: Option<String>,
        /// Its name [default: one made of the time]
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Lists silences, those that are over too
    List {
        #[command(flatten)]
        target: Target,
    },
}

/// Switches a rule off for a while, or on again.
#[derive(Debug, clap::Args)]
pub struct Switch {
    /// The rule object: its file's name without the ending
    name: String,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    target: Target,
}

/// Shows who changed what, when and why.
#[derive(Debug, clap::Args)]
pub struct ChangesArgs {
    /// Only this kind
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Only this name
    #[arg(long)]
    name: Option<String>,
    /// How they are printed
    #[arg(long, value_enum, default_value_t)]
    output: Listing,
    #[command(flatten)]
    target: Target,
}

fn text(text: String) -> Value {
    Value::Text(text)
}

fn cause(reason: &str) -> Option<wire::Cause> {
    Some(wire::Cause {
        reason: reason.to_owned(),
        purpose: String::new(),
    })
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Add {
            span,
            reason,
            rules,
            receivers,
            severity_max,
            name,
            target,
        } => {
            let now = balefire_kit::clock::now();
            let ends_at = now.plus(span::nanos(span));
            let mut spec = Spec::from([
                ("starts_at".to_owned(), text(now.to_string())),
                ("ends_at".to_owned(), text(ends_at.to_string())),
                ("reason".to_owned(), text(reason.clone())),
            ]);
            if !rules.is_empty() {
                spec.insert("rules".into(), Value::Texts(rules));
            }
            if !receivers.is_empty() {
                spec.insert("receivers".into(), Value::Texts(receivers));
            }
            if let Some(severity) = severity_max {
                spec.insert("severity_max".into(), text(severity));
            }
            let name = name.unwrap_or_else(|| format!("silence-{}", now.0));
            let object = wire::Object {
                name: name.clone(),
                spec: Some(wire::Spec::of(Kind::Silence, &spec)),
                ..Default::default()
            };
            let request = wire::CreateObjectRequest {
                object: Some(object),
                cause: cause(&reason),
                ..Default::default()
            };
            let mut client = ControlServiceClient::new(target.connect().await?);
            client.create_object(request).await?;
            Out::new().line(&name);
            Ok(())
        }
        Command::List { target } => list(&target).await,
    }
}

async fn list(target: &Target) -> Result<(), Failure> {
    let mut client = ControlServiceClient::new(target.connect().await?);
    let now = balefire_kit::clock::now();
    let rows: Vec<Vec<String>> = objects(&mut client, Some(Kind::Silence))
        .await?
        .into_values()
        .map(|object| {
            let ends_at = Timestamp::parse(object.text("ends_at"));
            let state = if ends_at.is_ok_and(|ends_at| ends_at > now) {
                "active"
            } else {
                "over"
            };
            vec![
                object.key.name.clone(),
                state.to_owned(),
                object.text("ends_at").to_owned(),
                object.created.1.clone(),
                object.text("reason").to_owned(),
            ]
        })
        .collect();
    let head = ["SILENCE", "STATE", "UNTIL", "BY", "REASON"];
    Out::new().line(&table(&head, &rows));
    Ok(())
}

/// Puts a rule out of force for `span`, or into force again. Rules of other owners too: the
/// override is in the audit.
///
/// # Errors
/// See [`Failure`].
pub async fn switch(args: Switch, span: Option<Duration>) -> Result<(), Failure> {
    let until = span.map(|span| balefire_kit::clock::now().plus(span::nanos(span)));
    let mut spec = Spec::new();
    if let Some(until) = until {
        spec.insert("disabled_until".into(), text(until.to_string()));
        spec.insert("disabled_reason".into(), text(args.reason.clone()));
    }
    let object = wire::Object {
        name: args.name.clone(),
        spec: Some(wire::Spec::of(Kind::Rule, &spec)),
        ..Default::default()
    };
    let request = wire::UpdateObjectRequest {
        object: Some(object),
        update_mask: vec!["spec.disabled_until".into(), "spec.disabled_reason".into()],
        cause: cause(&args.reason),
        r#override: true,
        ..Default::default()
    };
    let mut client = ControlServiceClient::new(args.target.connect().await?);
    client.update_object(request).await?;
    match until {
        Some(until) => note(&format!("{} is out of force until {until}", args.name)),
        None => note(&format!("{} is in force", args.name)),
    }
    Ok(())
}

/// Runs `changes`.
///
/// # Errors
/// See [`Failure`].
pub async fn changes(args: ChangesArgs) -> Result<(), Failure> {
    let mut client = ControlServiceClient::new(args.target.connect().await?);
    let mut entries = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListChangesRequest {
            kind: args.kind.map_or(0, |kind| wire::Kind::from(kind).into()),
            name: args.name.clone().unwrap_or_default(),
            page_size: 1000,
            page_token,
        };
        let page = client.list_changes(request).await?.into_inner();
        entries.extend(page.changes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut out = Out::new();
    let mut rows = Vec::new();
    for entry in entries {
        let change = entry.change.unwrap_or_default();
        let what = match (&change.object, change.old_revision) {
            (None, _) => "deleted",
            (Some(_), 0) => "created",
            (Some(_), _) => "changed",
        };
        let kind = wire::Kind::known(change.kind).map_or("?", Kind::as_str);
        let at = Timestamp(entry.at_ns).to_string();
        match args.output {
            Listing::Ndjson => {
                let line = json!({
                    "control_revision": entry.control_revision, "at": at, "actor": entry.actor,
                    "what": what, "kind": kind, "name": change.name, "old_revision": change.old_revision,
                    "new_revision": change.new_revision, "overridden": change.overridden,
                    "reason": entry.reason, "purpose": change.purpose,
                });
                if !out.line(&line.to_string()) {
                    return Ok(());
                }
            }
            Listing::Table => rows.push(vec![
                at,
                entry.actor,
                if change.overridden {
                    format!("{what}, overriding")
                } else {
                    what.to_owned()
                },
                kind.to_owned(),
                change.name,
                entry.reason,
            ]),
        }
    }
    if args.output == Listing::Table {
        out.line(&table(
            &["AT", "BY", "WHAT", "KIND", "NAME", "REASON"],
            &rows,
        ));
    }
    out.flush();
    Ok(())
}
