//! Looks into a vendor's JSON without trusting its shape.

use serde_json::Value;

use crate::json;

static NULL: Value = Value::Null;

/// The value at a path of names joined by dots; null where there is none.
#[must_use]
pub fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.')
        .fold(value, |inner, name| inner.get(name).unwrap_or(&NULL))
}

/// The first of some paths that is there.
#[must_use]
pub fn first<'v>(value: &'v Value, paths: &[&str]) -> &'v Value {
    let found = paths.iter().map(|path| at(value, path));
    found
        .into_iter()
        .find(|found| !absent(found))
        .unwrap_or(&NULL)
}

/// Null, empty text, and the dash that access logs write for nothing.
fn absent(value: &Value) -> bool {
    value.is_null()
        || value
            .as_str()
            .is_some_and(|said| matches!(said.trim(), "" | "-"))
}

/// Text, or a number in its own digits. `None` where nothing is said.
#[must_use]
pub fn text(value: &Value) -> Option<String> {
    if absent(value) {
        return None;
    }
    match value {
        Value::String(said) => Some(said.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text at the first of some paths that is there.
#[must_use]
pub fn said(value: &Value, paths: &[&str]) -> Option<String> {
    text(first(value, paths))
}

/// A whole number from 0, also as text.
#[must_use]
pub fn whole(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|said| said.trim().parse().ok()))
}

/// Whether it is true.
#[must_use]
pub fn yes(value: &Value) -> bool {
    value.as_bool() == Some(true)
}

/// The elements of an array; of anything else none.
#[must_use]
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The members of an object; of anything else none.
pub fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.as_str(), value))
}

/// A value that some send as itself and some as JSON text. Text that is no JSON stays text.
#[must_use]
pub fn opened(value: &Value) -> Value {
    let parsed = value.as_str().and_then(|said| parse(said.as_bytes()));
    parsed.unwrap_or_else(|| value.clone())
}

/// An object or array, at most [`balefire_event::limits::NESTING_MAX`] deep.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    if !text.trim_start().starts_with(['{', '[']) || json::too_deep(text) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// A header by name, whatever its letter case.
#[must_use]
pub fn header(headers: &Value, name: &str) -> Option<String> {
    let found = members(headers).find(|(header, _)| header.eq_ignore_ascii_case(name));
    found.and_then(|(_, value)| text(value.get(0).unwrap_or(value)))
}

/// The trace id of a W3C traceparent.
#[must_use]
pub fn trace_of(traceparent: &str) -> Option<String> {
    let id = traceparent.split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && id.bytes().any(|byte| byte != b'0')).then(|| id.to_ascii_lowercase())
}

/// An address, and not a masked one; of a list of proxies the first.
#[must_use]
pub fn address(said: Option<String>) -> Option<String> {
    let said = said?;
    let one = said.split(',').next()?.trim();
    let host = one
        .parse::<std::net::SocketAddr>()
        .map(|socket| socket.ip());
    let ip = host.or_else(|_| one.parse::<std::net::IpAddr>()).ok()?;
    Some(ip.to_string())
}

/// A copy without some paths.
#[must_use]
pub fn without(value: &Value, paths: &[&str]) -> Value {
    let mut copy = value.clone();
    for path in paths {
        let (outer, name) = path.rsplit_once('.').unwrap_or(("", path));
        let mut inner = Some(&mut copy);
        for step in outer.split('.').filter(|step| !step.is_empty()) {
            inner = inner.and_then(|inner| inner.get_mut(step));
        }
        if let Some(object) = inner.and_then(Value::as_object_mut) {
            object.remove(name);
        }
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_dashes_and_numbers_are_read() {
        let record = json!({"a": {"b": " x "}, "n": 7, "dash": "-", "l": [1]});
        assert_eq!(said(&record, &["dash", "a.b"]).as_deref(), Some("x"));
        assert_eq!(said(&record, &["n"]).as_deref(), Some("7"));
        assert_eq!(said(&record, &["l", "a"]), None);
        assert_eq!(
            without(&record, &["a.b", "l", "x.y"]),
            json!({"a": {}, "n": 7, "dash": "-"})
        );
    }

    #[test]
    fn an_address_is_one_whole_address() {
        let read = |said: &str| address(Some(said.to_owned()));
        assert_eq!(read("192.0.2.1, 10.0.0.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(read("192.0.2.1:80").as_deref(), Some("192.0.2.1"));
        assert_eq!(read("192.0.2.***"), None);
    }

    #[test]
    fn a_trace_id_is_one_that_names_a_trace() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(
            trace_of(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(),
            Some(id)
        );
        assert_eq!(
            trace_of(&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))),
            None
        );
    }
}
