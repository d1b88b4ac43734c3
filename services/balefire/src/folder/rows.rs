//! Many identity aliases in one file: rows of a CSV table, or a JSON array of objects. The columns
//! are the fields of the kind; further ones are kept as attributes.

use std::collections::BTreeMap;

use balefire_control::{Kind, Spec, Value, check_name};

/// Most rows of a file: as many objects as a kind may have.
const ROWS_MAX: usize = 10_000;
/// Digits of a name that is made of what a row says.
const NAME_DIGITS: usize = 16;

type Row = BTreeMap<String, String>;

/// Objects of a CSV table with a head, by name.
///
/// # Errors
/// What is wrong, with its line.
pub fn csv(text: &str) -> Result<BTreeMap<String, Spec>, String> {
    let mut records = records(text.trim_start_matches('\u{feff}'))?.into_iter();
    let (_, head) = records
        .next()
        .ok_or("is empty; the first line names the columns")?;
    let head: Vec<String> = head.iter().map(|name| name.trim().to_owned()).collect();
    let mut rows = Vec::new();
    for (line, fields) in records {
        if fields.len() != head.len() {
            let (found, wanted) = (fields.len(), head.len());
            return Err(format!(
                "line {line}: {found} fields, the head has {wanted}"
            ));
        }
        rows.push((
            format!("line {line}"),
            head.iter().cloned().zip(fields).collect(),
        ));
    }
    objects(rows)
}

/// Objects of a JSON array, by name.
///
/// # Errors
/// What is wrong, with its place.
pub fn json(text: &str) -> Result<BTreeMap<String, Spec>, String> {
    let array: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(text).map_err(|e| format!("takes an array of objects: {e}"))?;
    let mut rows = Vec::new();
    for (number, object) in (1..).zip(array) {
        let mut row = Row::new();
        for (field, value) in object {
            let text = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::String(text) => text,
                serde_json::Value::Number(number) => number.to_string(),
                serde_json::Value::Bool(flag) => flag.to_string(),
                // Entitlements are a list as a rule; what is kept is text.
                list @ (serde_json::Value::Array(_) | serde_json::Value::Object(_)) => {
                    list.to_string()
                }
            };
            row.insert(field, text);
        }
        rows.push((format!("object {number}"), row));
    }
    objects(rows)
}

fn objects(rows: Vec<(String, Row)>) -> Result<BTreeMap<String, Spec>, String> {
    if rows.len() > ROWS_MAX {
        return Err(format!("holds {} rows, at most {ROWS_MAX}", rows.len()));
    }
    let mut objects = BTreeMap::new();
    for (place, row) in rows {
        let (name, spec) = object(row).map_err(|fault| format!("{place}: {fault}"))?;
        if objects.insert(name.clone(), spec).is_some() {
            return Err(format!("{place}: {name} stands twice"));
        }
    }
    Ok(objects)
}

fn object(mut row: Row) -> Result<(String, Spec), String> {
    let name = row.remove("name").filter(|name| !name.trim().is_empty());
    let (mut spec, mut attributes) = (Spec::new(), BTreeMap::new());
    for (field, text) in row {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        if field != "attributes" && Kind::IdentityAlias.field(&field).is_some() {
            spec.insert(field, Value::Text(text.to_owned()));
        } else {
            attributes.insert(field, text.to_owned());
        }
    }
    if !attributes.is_empty() {
        spec.insert("attributes".to_owned(), Value::Words(attributes));
    }
    let name = name.map_or_else(|| named(&spec), |name| name.trim().to_owned());
    match check_name(&name) {
        Some(fault) => Err(fault.message),
        None => Ok((name, spec)),
    }
}

/// The same row has the same name in every import: kind, alias and from when on.
fn named(spec: &Spec) -> String {
    let text = |field: &str| match spec.get(field) {
        Some(Value::Text(text)) => text.as_str(),
        Some(Value::Number(_) | Value::Flag(_) | Value::Texts(_) | Value::Words(_)) | None => "",
    };
    let alias = balefire_event::identity::canonical(text("alias"));
    let digest = balefire_event::digest::FieldHasher::new("balefire alias name v1")
        .field(text("identity_kind").as_bytes())
        .field(alias.as_bytes())
        .field(text("valid_from").as_bytes())
        .digest();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("a-{}", hex.get(..NAME_DIGITS).unwrap_or(&hex))
}

/// Records of RFC 4180 with the line each begins on: fields in quotes may hold commas, line ends and
/// doubled quotes.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let (mut records, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begun, mut quoted, mut was_quoted) = (1, 1, false, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        line += usize::from(character == '\n');
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() && !was_quoted => (quoted, was_quoted) = (true, true),
            '"' => return Err(format!("line {line}: a quote within a field; double it")),
            _ if quoted => field.push(character),
            ',' => {
                fields.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            '\n' => {
                end(&mut records, begun, &mut fields, &mut field, was_quoted);
                (begun, was_quoted) = (line, false);
            }
            '\r' if characters.peek() == Some(&'\n') => {}
            other => field.push(other),
        }
    }
    if quoted {
        return Err(format!("line {begun}: a quote is not closed"));
    }
    end(&mut records, begun, &mut fields, &mut field, was_quoted);
    Ok(records)
}

/// Ends a record; an empty line is none.
fn end(
    records: &mut Vec<(usize, Vec<String>)>,
    line: usize,
    fields: &mut Vec<String>,
    field: &mut String,
    was_quoted: bool,
) {
    if fields.is_empty() && field.is_empty() && !was_quoted {
        return;
    }
    fields.push(std::mem::take(field));
    records.push((line, std::mem::take(fields)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(spec: &Spec, field: &str) -> String {
        match spec.get(field) {
            Some(Value::Text(text)) => text.clone(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_table_and_an_array_that_say_the_same_are_the_same_objects() {
        let table = "identity_kind,alias,canonical,canonical_kind,manager,entitlements\r\n\
             api_key,k1,ada@example.com,user,\"Lovelace, Lady \"\"A\"\"\",\"a\nb\"\r\n\r\n\
             user,ADA@old.example,ada@example.com,,,\n";
        let array = r#"[
            {"identity_kind": "api_key", "alias": "k1", "canonical": "ada@example.com", "canonical_kind": "user",
             "manager": "Lovelace, Lady \"A\"", "entitlements": "a\nb"},
            {"identity_kind": "user", "alias": "ada@OLD.example", "canonical": "ada@example.com", "manager": null}
        ]"#;
        let (one, other) = (csv(table).unwrap(), json(array).unwrap());
        assert_eq!(
            one.keys().collect::<Vec<_>>(),
            other.keys().collect::<Vec<_>>()
        );
        assert_eq!(one.len(), 2);
        let key = one
            .values()
            .find(|spec| text(spec, "identity_kind") == "api_key");
        let key = key.unwrap();
        assert!(other.values().any(|spec| spec == key));
        let Some(Value::Words(attributes)) = key.get("attributes") else {
            panic!("no attributes: {key:?}");
        };
        assert_eq!(attributes["manager"], "Lovelace, Lady \"A\"");
        assert_eq!(attributes["entitlements"], "a\nb");
    }

    #[test]
    fn a_name_is_the_rows_own_or_made_of_what_it_says() {
        let head = "name,identity_kind,alias,canonical,valid_from\n";
        let made = |row: &str| csv(&format!("{head}{row}")).unwrap().into_keys().next();
        assert_eq!(made("ada,user,a,b,\n").as_deref(), Some("ada"));
        let own = made(",user,a,b,").unwrap();
        assert_eq!(made(",user,a,c,"), Some(own.clone()));
        assert_ne!(made(",user,a,b,2026-01-01T00:00:00Z"), Some(own));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (table, part) in [
            ("", "is empty"),
            ("alias,canonical\na\n", "line 2: 1 fields"),
            ("alias\na\"b\n", "line 2: a quote within"),
            ("alias\n\"a\n", "line 2: a quote is not closed"),
            ("identity_kind,alias\nuser,a\nuser,a\n", "line 3"),
            ("name,alias\nAda,x\n", "line 2"),
        ] {
            let told = csv(table).unwrap_err();
            assert!(told.contains(part), "{table:?}: {told}");
        }
        assert!(json("{}").unwrap_err().contains("array"));
    }
}
