//! The schemas of the provider, its resources and its data sources, from the one table of fields in
//! `balefire-control`.

use balefire_control::{Form, Kind};

use crate::tfplugin6::schema::{Attribute, Block};
use crate::tfplugin6::{Schema, StringKind};

/// Write-only: the token of an API key. Only its digest leaves this process.
pub const TOKEN: &str = "token_wo";
/// Another number makes the token be read again.
pub const TOKEN_VERSION: &str = "token_wo_version";
/// The digest that is made of the token where it is not given.
pub const DIGEST: &str = "token_blake3";

/// Whether an attribute is given, may be given, or is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Required,
    Optional,
    Computed,
    OptionalComputed,
    WriteOnly,
}

fn attribute(name: &str, of: &str, mode: Mode, doc: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        r#type: of.as_bytes().to_vec(),
        description: doc.to_owned(),
        description_kind: StringKind::Plain.into(),
        required: mode == Mode::Required,
        optional: matches!(
            mode,
            Mode::Optional | Mode::OptionalComputed | Mode::WriteOnly
        ),
        computed: matches!(mode, Mode::Computed | Mode::OptionalComputed),
        sensitive: mode == Mode::WriteOnly,
        write_only: mode == Mode::WriteOnly,
        ..Attribute::default()
    }
}

fn schema(mut attributes: Vec<Attribute>, doc: &str) -> Schema {
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    Schema {
        version: 1,
        block: Some(Block {
            version: 1,
            attributes,
            description: doc.to_owned(),
            ..Block::default()
        }),
    }
}

const fn of(form: Form) -> &'static str {
    match form {
        Form::Text => "\"string\"",
        Form::Number => "\"number\"",
        Form::Flag => "\"bool\"",
        Form::Texts => "[\"list\",\"string\"]",
        Form::Words => "[\"map\",\"string\"]",
    }
}

/// Name of the resource and the data source of a kind.
#[must_use]
pub fn type_name(kind: Kind) -> String {
    format!("balefire_{kind}")
}

/// The kind of a type name.
#[must_use]
pub fn kind_of(type_name: &str) -> Option<Kind> {
    Kind::parse(type_name.strip_prefix("balefire_")?)
}

/// What the provider takes.
#[must_use]
pub fn provider() -> Schema {
    let text = "\"string\"";
    schema(
        vec![
            attribute(
                "endpoint",
                text,
                Mode::Optional,
                "Address of the gRPC server. Absent: BALEFIRE_ADDR, else http://127.0.0.1:7400.",
            ),
            Attribute {
                sensitive: true,
                ..attribute(
                    "token",
                    text,
                    Mode::Optional,
                    "Bearer token with the scope operate. Absent: BALEFIRE_TOKEN, else none.",
                )
            },
            attribute(
                "managed_by",
                text,
                Mode::Optional,
                "Owner of what is made; others are refused to change it. Absent: terraform.",
            ),
            attribute(
                "override",
                "\"bool\"",
                Mode::Optional,
                "Take over what another tool owns. It is kept in the audit.",
            ),
            attribute(
                "reason",
                text,
                Mode::Optional,
                "Why things are changed, for the audit.",
            ),
            attribute(
                "preview",
                text,
                Mode::Optional,
                "A plan that makes or changes a rule tries it out on so much of the log, such as 24h, and warns of what it would have raised. Absent: it does not.",
            ),
        ],
        "Rules, routes, receivers and the rest of what is set in Balefire.",
    )
}

/// What a resource of a kind holds.
#[must_use]
pub fn resource(kind: Kind) -> Schema {
    let mut attributes = vec![
        attribute(
            "name",
            "\"string\"",
            Mode::Required,
            "Its name; another name is another object. Import by it.",
        ),
        attribute(
            "labels",
            of(Form::Words),
            Mode::Optional,
            "Words for people.",
        ),
        attribute("id", "\"string\"", Mode::Computed, "Its name."),
        attribute(
            "revision",
            "\"number\"",
            Mode::Computed,
            "Counts its changes. A plan of an older one is refused.",
        ),
    ];
    for field in kind.fields().iter().filter(|field| !field.operational) {
        let mode = match (kind, field.name) {
            (Kind::ApiKey, DIGEST) => Mode::OptionalComputed,
            _ if field.required => Mode::Required,
            _ => Mode::Optional,
        };
        attributes.push(attribute(field.name, of(field.form), mode, field.doc));
    }
    if kind == Kind::ApiKey {
        attributes.push(attribute(
            TOKEN,
            "\"string\"",
            Mode::WriteOnly,
            "The token, at least 16 bytes. Only its digest is sent; it is in no state and no plan.",
        ));
        attributes.push(attribute(
            TOKEN_VERSION,
            "\"number\"",
            Mode::Optional,
            "Change it to have token_wo read again.",
        ));
    }
    schema(attributes, doc(kind))
}

const fn doc(kind: Kind) -> &'static str {
    match kind {
        Kind::Rule => "A rule file, in force as soon as it is applied.",
        Kind::Route => "Which receivers are told of what, in force as soon as it is applied.",
        Kind::Receiver => "Who is told, in force as soon as it is applied.",
        Kind::Silence => "Nobody is told for a while, in force as soon as it is applied.",
        Kind::Source => "What is known of a producer. Ingest acts on it.",
        Kind::SeverityMap => {
            "The SOC's own tiers, in force as soon as it is applied; a source's severities, not acted on yet."
        }
        Kind::IdentityAlias => {
            "An identity that stands for another. Ingest acts on it from the next request on."
        }
        Kind::ApiKey => "A caller's credential. Stored and checked; not acted on yet.",
        Kind::Tenant => "A tenant. Stored and checked; not acted on yet.",
    }
}

/// What the data source of a kind tells.
#[must_use]
pub fn data(kind: Kind) -> Schema {
    let mut attributes = vec![
        attribute("name", "\"string\"", Mode::Required, "Its name."),
        attribute(
            "labels",
            of(Form::Words),
            Mode::Computed,
            "Words for people.",
        ),
        attribute("id", "\"string\"", Mode::Computed, "Its name."),
        attribute(
            "revision",
            "\"number\"",
            Mode::Computed,
            "Counts its changes.",
        ),
        attribute("managed_by", "\"string\"", Mode::Computed, "Who owns it."),
    ];
    for field in kind.fields() {
        attributes.push(attribute(
            field.name,
            of(field.form),
            Mode::Computed,
            field.doc,
        ));
    }
    schema(attributes, doc(kind))
}

/// What `balefire_platform` tells.
#[must_use]
pub fn platform() -> Schema {
    schema(
        vec![
            attribute("id", "\"string\"", Mode::Computed, "The address."),
            attribute(
                "ready",
                "\"bool\"",
                Mode::Computed,
                "Whether every service can serve.",
            ),
            attribute(
                "version",
                "\"string\"",
                Mode::Computed,
                "Version of the binary.",
            ),
            attribute(
                "control_revision",
                "\"number\"",
                Mode::Computed,
                "The newest change of what is set.",
            ),
            attribute(
                "services",
                of(Form::Texts),
                Mode::Computed,
                "The services of this server.",
            ),
        ],
        "How the platform is.",
    )
}

/// What `balefire_names` tells.
#[must_use]
pub fn names() -> Schema {
    schema(
        vec![
            attribute(
                "kind",
                "\"string\"",
                Mode::Required,
                "rule, route, receiver …",
            ),
            attribute("id", "\"string\"", Mode::Computed, "The kind."),
            attribute(
                "names",
                of(Form::Texts),
                Mode::Computed,
                "Names of all objects of the kind.",
            ),
        ],
        "The objects of a kind.",
    )
}

/// What `balefire_rule_preview` tells.
#[must_use]
pub fn rule_preview() -> Schema {
    let count = |name, doc| attribute(name, "\"number\"", Mode::Computed, doc);
    schema(
        vec![
            attribute(
                "name",
                "\"string\"",
                Mode::Required,
                "The rule object that it is tried as: the one of this name is left out, the others stay.",
            ),
            attribute(
                "yaml",
                "\"string\"",
                Mode::Required,
                "One YAML file in the rule language.",
            ),
            attribute(
                "since",
                "\"string\"",
                Mode::Optional,
                "How far back, such as 12h. Absent: 24h.",
            ),
            attribute("id", "\"string\"", Mode::Computed, "The name."),
            count("added", "Escalations that only this would have raised."),
            count(
                "removed",
                "Escalations that were raised, and this would not have.",
            ),
            count(
                "unchanged",
                "Escalations that were raised, and this would have too.",
            ),
            count("events", "Events looked at."),
            attribute(
                "examples",
                of(Form::Texts),
                Mode::Computed,
                "The first ten differences, in words.",
            ),
        ],
        "What a rule would have raised, by the same engine from the recorded log. Nothing is changed.",
    )
}
