//! What a field of a spec is, and what its text must be.

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
    /// An address with a host: http, https; tcp or tls for syslog; smtp or smtps for e-mail.
    Url,
    /// 64 hex digits, lower case.
    Digest,
    /// Names of objects.
    Name,
    /// A network, CIDR.
    Network,
    /// What a matcher asks for.
    Pattern,
    /// Hours of the week: mon-fri 08:00-18:00 +01:00.
    Hours,
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
