//! What a spec of each kind can hold: the one table that checks, files, commands and the Terraform
//! provider are made of. `proto/balefire/control/v1` says the same in protobuf.

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// A whole number.
    Number,
    /// True or false; false where absent.
    Flag,
    /// A list of texts.
    Texts,
    /// Text by text.
    Words,
}

/// What a field's text must be, beyond its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Anything.
    Any,
    /// low, medium, high or critical.
    Severity,
    /// A span of time: 250ms, 10s, 5m, 1h, 2d.
    Span,
    /// A time, RFC 3339.
    Time,
    /// An http or https address.
    Url,
    /// 64 hex digits, lower case.
    Digest,
    /// Names of objects.
    Name,
    /// A network, CIDR.
    Network,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// From, to.
    Range(i64, i64),
}

/// A field of a spec.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name, in every interface.
    pub name: &'static str,
    /// What it holds.
    pub form: Form,
    /// Whether it must be there.
    pub required: bool,
    /// What it must be.
    pub check: Check,
    /// Set by operators in between, never by tools that own the object.
    pub operational: bool,
    /// What it means.
    pub doc: &'static str,
}

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
const RULES: Field = field(
    "rules",
    Form::Texts,
    Check::Name,
    "Only escalations of these rules. Absent: any.",
);

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
];
pub(crate) const RECEIVER: &[Field] = &[
    required(
        "url",
        Form::Text,
        Check::Url,
        "Where to post, http or https.",
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
];
pub(crate) const SOURCE: &[Field] = &[
    field(
        "lateness",
        Form::Text,
        Check::Span,
        "How late its events may come and still count in windows, such as 1h.",
    ),
    field(
        "clock_untrusted",
        Form::Flag,
        Check::Any,
        "Its clock is not trusted: the time of arrival counts.",
    ),
    field(
        "authority",
        Form::Number,
        Check::Range(0, 100),
        "Which of two identities is shown: the higher.",
    ),
    field(
        "join_horizon",
        Form::Text,
        Check::Span,
        "How far apart in arrival an event and a hint of it may lie, such as 15m.",
    ),
    field(
        "hold",
        Form::Text,
        Check::Span,
        "How long an event waits for a hint, such as 2s.",
    ),
];
pub(crate) const SEVERITY_MAP: &[Field] = &[
    required("source", Form::Text, Check::Any, "The source."),
    required(
        "words",
        Form::Words,
        Check::Severity,
        "From the source's word to low, medium, high or critical.",
    ),
];
pub(crate) const IDENTITY_ALIAS: &[Field] = &[
    required(
        "identity_kind",
        Form::Text,
        Check::OneOf(&["user", "agent", "service_principal", "api_key", "session"]),
        "user, agent, service_principal, api_key or session.",
    ),
    required(
        "alias",
        Form::Text,
        Check::Any,
        "The value that records carry.",
    ),
    required(
        "canonical",
        Form::Text,
        Check::Any,
        "The value it stands for.",
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
