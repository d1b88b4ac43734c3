//! What is known of producers and of those they name.

use super::{field, required};
use crate::field::{Check, Field, Form};

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
        "How long an event without a user waits for a hint, such as 10s, at most 15m. Urgent events \
         never wait longer than 250ms.",
    ),
    field(
        "users_verified",
        Form::Flag,
        Check::Any,
        "It authenticated the users it names.",
    ),
    field(
        "fields",
        Form::Words,
        Check::Any,
        "A field map of the source's own JSON: from a field of the event, or labels.NAME, to where \
         it stands, names joined by dots; a|b is the first that says anything. POST \
         /v1/sources/NAME reads by it.",
    ),
    field(
        "matches",
        Form::Words,
        Check::Any,
        "Paths that say exactly this where a record is of the source. Absent: every record is.",
    ),
    field(
        "defaults",
        Form::Words,
        Check::Any,
        "From a field of the event to what it has where no path says anything.",
    ),
    field(
        "words",
        Form::Words,
        Check::Any,
        "From FIELD.WORD of the source to the event's word: category.blocked to guardrail_block.",
    ),
    field(
        "owners",
        Form::Texts,
        Check::OneOf(OWNED),
        "What belongs to the users it names: api_key, service_principal, agent, or none. What others \
         say of the same one without naming a user counts for that user, within the join horizon. \
         Absent: api_key of kong, azure-apim and cloudtrail, none of any other.",
    ),
];
/// What can belong to a user.
const OWNED: &[&str] = &["api_key", "service_principal", "agent", "none"];
const IDENTITIES: &[&str] = &["user", "agent", "service_principal", "api_key", "session"];
pub(crate) const IDENTITY_ALIAS: &[Field] = &[
    required(
        "identity_kind",
        Form::Text,
        Check::OneOf(IDENTITIES),
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
    field(
        "canonical_kind",
        Form::Text,
        Check::OneOf(IDENTITIES),
        "What kind that is: user, so that an event of a key, workload, agent or session is that \
         user's, or identity_kind itself. Absent: identity_kind.",
    ),
    field(
        "valid_from",
        Form::Text,
        Check::Time,
        "From when on, by the record's own time. Absent: always.",
    ),
    field(
        "valid_until",
        Form::Text,
        Check::Time,
        "Until when. Absent: for ever.",
    ),
    field(
        "attributes",
        Form::Words,
        Check::Any,
        "What else is known of whom it stands for, such as manager or department. Kept; nothing \
         reads it yet.",
    ),
];
