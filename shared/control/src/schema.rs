//! What a spec of each kind can hold: the one table that checks, files, commands and the Terraform
//! provider are made of. `proto/balefire/control/v1` says the same in protobuf.

use crate::field::{Check, Field, Form};

mod producer;

pub(crate) use producer::{IDENTITY_ALIAS, SOURCE};

const fn field(name: &'static str, form: Form, check: Check, doc: &'static str) -> Field {
    Field {
        name,
        form,
        required: false,
        check,
        operational: false,
        doc,
    }
}

const fn required(name: &'static str, form: Form, check: Check, doc: &'static str) -> Field {
    Field {
        required: true,
        ..field(name, form, check, doc)
    }
}

const fn operational(name: &'static str, form: Form, check: Check, doc: &'static str) -> Field {
    Field {
        operational: true,
        ..field(name, form, check, doc)
    }
}

const SEVERITY_MIN: Field = field(
    "severity_min",
    Form::Text,
    Check::Severity,
    "Less severe escalations are not told: low, medium, high or critical. Absent: all are.",
);
const AUDIENCES: Field = field(
    "audiences",
    Form::Texts,
    Check::Any,
    "Only escalations for one of these. Absent: any.",
);
const MATCHERS: Field = field(
    "matchers",
    Form::Words,
    Check::Pattern,
    "Only escalations that have this, field by field: rule, category, severity, timing, kind, \
     audience, label.NAME or a field of the key. \"a|b\" is one of both, \"a*\" what begins so, \
     \"!a\" anything else. Absent: any.",
);
const RULES: Field = field(
    "rules",
    Form::Texts,
    Check::Name,
    "Only escalations of these rules. Absent: any.",
);

/// Kinds of receivers.
const TARGETS: &[&str] = &[
    "webhook",
    "splunk",
    "sentinel",
    "elastic",
    "ocsf",
    "pagerduty",
    "servicenow_incident",
    "servicenow_event",
    "jira",
    "slack_webhook",
    "slack_bot",
    "syslog",
    "email",
];

pub(crate) const RULE: &[Field] = &[
    required(
        "yaml",
        Form::Text,
        Check::Any,
        "One YAML file in the rule language; it may hold several documents.",
    ),
    operational(
        "disabled_until",
        Form::Text,
        Check::Time,
        "Not in force until then. Absent: in force.",
    ),
    operational(
        "disabled_reason",
        Form::Text,
        Check::Any,
        "Why it is not in force.",
    ),
];
pub(crate) const ROUTE: &[Field] = &[
    required(
        "receivers",
        Form::Texts,
        Check::Name,
        "Names of the receivers that are told.",
    ),
    SEVERITY_MIN,
    AUDIENCES,
    RULES,
    field(
        "priority",
        Form::Number,
        Check::Range(0, 1_000_000),
        "Lower comes first; ties are in order of name. 0 where absent.",
    ),
    MATCHERS,
    field(
        "continues",
        Form::Flag,
        Check::Any,
        "Routes behind it are asked too. Absent: the first that matches has decided.",
    ),
    field(
        "group_by",
        Form::Texts,
        Check::Any,
        "What makes escalations one group: rule, category, severity or fields of the key. Of a \
         group each receiver is told the first, and what is more severe. Absent: no grouping.",
    ),
    field(
        "group_for",
        Form::Text,
        Check::Span,
        "How long after its first escalation a group lasts, such as 10m. Absent: 10m.",
    ),
    field(
        "times",
        Form::Texts,
        Check::Hours,
        "When it is asked: hours of the week such as mon-fri 08:00-18:00 +01:00, of which one is \
         enough. Absent: always.",
    ),
    field(
        "inhibited_by",
        Form::Words,
        Check::Pattern,
        "What must not be open beside it, as in matchers: while an escalation like that is, nobody \
         is told along this route of one that is no more severe. Absent: nothing inhibits it.",
    ),
    field(
        "inhibit_equal",
        Form::Texts,
        Check::Any,
        "Fields that must be the same in both, such as user_id. Absent: none needs be.",
    ),
];
pub(crate) const RECEIVER: &[Field] = &[
    required(
        "url",
        Form::Text,
        Check::Url,
        "Where to post: the whole URL of a webhook, the base URL of any other kind.",
    ),
    field(
        "secret_env",
        Form::Text,
        Check::Any,
        "Environment variable of the notifier with the signing secret.",
    ),
    field(
        "secret_file",
        Form::Text,
        Check::Any,
        "File on the notifier's machine with the signing secret.",
    ),
    field(
        "allow_loopback",
        Form::Flag,
        Check::Any,
        "This host may be called, without TLS too.",
    ),
    field(
        "allow_networks",
        Form::Texts,
        Check::Network,
        "Private networks that may be called, such as 10.0.0.0/8.",
    ),
    SEVERITY_MIN,
    AUDIENCES,
    field(
        "concurrency",
        Form::Number,
        Check::Range(0, 64),
        "Deliveries at a time, 1 to 64. Absent: 1.",
    ),
    field(
        "target",
        Form::Text,
        Check::OneOf(TARGETS),
        "What kind it is, such as pagerduty or splunk. Absent: webhook.",
    ),
    field(
        "settings",
        Form::Words,
        Check::Any,
        "What the kind has of its own, such as index of splunk.",
    ),
    field(
        "max_classification",
        Form::Text,
        Check::OneOf(&["public", "internal", "confidential", "restricted"]),
        "It is shown facts of at most this class. Absent: restricted, which is everything.",
    ),
    field(
        "updates",
        Form::Text,
        Check::OneOf(&["on", "off"]),
        "Whether it is told what becomes of an escalation (CLOSED, AMENDED). Absent: on where the \
         kind keeps one open thing (pagerduty, servicenow, jira, slack_bot, ocsf), else off.",
    ),
    field(
        "rate_per_minute",
        Form::Number,
        Check::Range(1, 100_000),
        "Most calls in a minute. Absent: as many as it takes.",
    ),
    field(
        "feed",
        Form::Flag,
        Check::Any,
        "It gets every event, in batches, instead of escalations. For webhook, splunk, sentinel, \
         elastic and syslog.",
    ),
    field(
        "storm_pages",
        Form::Number,
        Check::Range(1, 10_000),
        "Pages in ten minutes beyond which they are held and summed up. Absent: 30 for what people \
         are woken by (pagerduty, slack, email), no limit for the others.",
    ),
    field(
        "weekly_digest",
        Form::Flag,
        Check::Any,
        "It is told once a week, tenant by tenant, what was of low severity: counts by category, \
         application and user.",
    ),
];
pub(crate) const SILENCE: &[Field] = &[
    RULES,
    field(
        "severity_max",
        Form::Text,
        Check::Severity,
        "More severe escalations are told nevertheless. Absent: none are.",
    ),
    field(
        "starts_at",
        Form::Text,
        Check::Time,
        "From when. Absent: from its creation.",
    ),
    required(
        "ends_at",
        Form::Text,
        Check::Time,
        "Until when. The object stays readable afterwards.",
    ),
    required("reason", Form::Text, Check::Any, "Why nobody is told."),
    MATCHERS,
    field(
        "receivers",
        Form::Texts,
        Check::Name,
        "Only these receivers are not told. Absent: none is.",
    ),
    field(
        "times",
        Form::Texts,
        Check::Hours,
        "When it holds between starts_at and ends_at: hours of the week such as sat,sun \
         00:00-24:00 +01:00, of which one is enough. Absent: all the time.",
    ),
];
pub(crate) const SEVERITY_MAP: &[Field] = &[
    field(
        "source",
        Form::Text,
        Check::Any,
        "The source whose words these are; needed beside words.",
    ),
    field(
        "words",
        Form::Words,
        Check::Severity,
        "From the source's word to low, medium, high or critical.",
    ),
    field(
        "tiers",
        Form::Words,
        Check::Any,
        "From low, medium, high or critical to the SOC's own tier and what is expected of it, as \
         people are told it: P1 (answer within 15 minutes).",
    ),
];
pub(crate) const API_KEY: &[Field] = &[
    required(
        "subject",
        Form::Text,
        Check::Any,
        "Name of the caller, for the audit.",
    ),
    required(
        "scopes",
        Form::Texts,
        Check::OneOf(&["ingest", "read", "operate"]),
        "ingest, read, operate.",
    ),
    required(
        "token_blake3",
        Form::Text,
        Check::Digest,
        "BLAKE3 of the token, 64 hex digits. The token itself is never stored.",
    ),
    field(
        "expires_at",
        Form::Text,
        Check::Time,
        "Until when. Absent: for ever.",
    ),
];
pub(crate) const TENANT: &[Field] = &[
    field("title", Form::Text, Check::Any, "For people."),
    field(
        "deletion_allowed",
        Form::Flag,
        Check::Any,
        "Whether it may be deleted. Absent: it may not.",
    ),
];
