//! Terraform's values: MessagePack (or JSON) objects, where a value can be unknown.

use std::collections::BTreeMap;

use balefire_control::{Form, Value as Own};
use rmpv::Value;

use crate::tfplugin6::DynamicValue;

/// An object by attribute.
pub type Fields = BTreeMap<String, Value>;

/// Not known before apply.
#[must_use]
pub fn unknown() -> Value {
    Value::Ext(0, vec![0])
}

/// Whether a value is not known before apply, or holds something that is not.
#[must_use]
pub fn is_unknown(value: &Value) -> bool {
    match value {
        Value::Ext(..) => true,
        Value::Array(members) => members.iter().any(is_unknown),
        Value::Map(members) => members.iter().any(|(_, value)| is_unknown(value)),
        Value::Nil
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::String(_)
        | Value::Binary(_) => false,
    }
}

/// The object that Terraform sent; `None` for null, and for what is no object.
#[must_use]
pub fn read(value: Option<&DynamicValue>) -> Option<Fields> {
    let value = value?;
    if !value.json.is_empty() {
        return read_json(&value.json);
    }
    let read = rmpv::decode::read_value(&mut value.msgpack.as_slice());
    let Ok(Value::Map(members)) = read else {
        return None;
    };
    let named = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value)));
    Some(named.collect())
}

/// The object of a JSON text.
#[must_use]
pub fn read_json(json: &[u8]) -> Option<Fields> {
    let read: serde_json::Value = serde_json::from_slice(json).ok()?;
    let members = read.as_object()?.iter();
    Some(members.map(|(k, v)| (k.clone(), of_json(v))).collect())
}

fn of_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => number.as_i64().map_or_else(
            || Value::from(number.as_f64().unwrap_or_default()),
            Value::from,
        ),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(members) => Value::Array(members.iter().map(of_json).collect()),
        serde_json::Value::Object(members) => Value::Map(
            members
                .iter()
                .map(|(k, v)| (Value::from(k.as_str()), of_json(v)))
                .collect(),
        ),
    }
}

/// An object for Terraform; `None` is null.
#[must_use]
pub fn write(fields: Option<Fields>) -> Option<DynamicValue> {
    let value = fields.map_or(Value::Nil, |fields| {
        Value::Map(
            fields
                .into_iter()
                .map(|(name, value)| (Value::from(name), value))
                .collect(),
        )
    });
    let mut msgpack = Vec::new();
    // Writing to memory does not fail.
    let _written = rmpv::encode::write_value(&mut msgpack, &value);
    Some(DynamicValue {
        msgpack,
        json: Vec::new(),
    })
}

/// The text of a value.
#[must_use]
pub fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().map(str::to_owned)
}

/// Text by text.
#[must_use]
pub fn words(value: Option<&Value>) -> BTreeMap<String, String> {
    let members = value.and_then(Value::as_map).into_iter().flatten();
    members
        .filter_map(|(k, v)| Some((k.as_str()?.to_owned(), v.as_str()?.to_owned())))
        .collect()
}

/// A value as the control plane knows it; `None` for null, unknown, and another form.
#[must_use]
pub fn to_own(form: Form, value: &Value) -> Option<Own> {
    if is_unknown(value) {
        return None;
    }
    Some(match form {
        Form::Text => Own::Text(value.as_str()?.to_owned()),
        Form::Number => Own::Number(number(value)?),
        Form::Flag => Own::Flag(value.as_bool()?),
        Form::Texts => {
            let members = value.as_array()?.iter();
            let texts: Option<Vec<String>> = members
                .map(|text| text.as_str().map(str::to_owned))
                .collect();
            Own::Texts(texts?)
        }
        Form::Words => {
            value.as_map()?;
            Own::Words(words(Some(value)))
        }
    })
}

/// Whole numbers come as integers, as floats without a fraction, or as digits.
#[must_use]
pub fn number(value: &Value) -> Option<i64> {
    let digits = |text: &str| text.parse().ok();
    value
        .as_i64()
        .or_else(|| value.as_f64().and_then(|float| digits(&float.to_string())))
        .or_else(|| value.as_str().and_then(digits))
}

/// A value for Terraform.
#[must_use]
pub fn of_own(value: &Own) -> Value {
    match value {
        Own::Text(text) => Value::from(text.as_str()),
        Own::Number(number) => Value::from(*number),
        Own::Flag(flag) => Value::from(*flag),
        Own::Texts(texts) => Value::Array(
            texts
                .iter()
                .map(|text| Value::from(text.as_str()))
                .collect(),
        ),
        Own::Words(words) => of_words(words),
    }
}

/// Text by text, for Terraform.
#[must_use]
pub fn of_words(words: &BTreeMap<String, String>) -> Value {
    let members = words.iter();
    Value::Map(
        members
            .map(|(k, v)| (Value::from(k.as_str()), Value::from(v.as_str())))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_unknown_stays_unknown() {
        let fields: Fields = [
            ("a".to_owned(), Value::from("x")),
            ("b".to_owned(), unknown()),
            ("c".to_owned(), Value::Nil),
        ]
        .into();
        let read = read(write(Some(fields.clone())).as_ref()).unwrap();
        assert_eq!(read, fields);
        assert!(is_unknown(&read["b"]) && !is_unknown(&read["a"]));
        assert_eq!(super::read(write(None).as_ref()), None);
        assert_eq!(number(&Value::from(3.0)), Some(3));
        assert_eq!(number(&Value::from("7")), Some(7));
        assert_eq!(number(&Value::from(1.5)), None);
    }
}
