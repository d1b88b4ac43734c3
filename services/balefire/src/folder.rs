//! Control objects as files: `KIND/NAME.toml` with the fields of the spec and a table `[labels]`;
//! of a rule `rule/NAME.yml` is its YAML, and `rule/NAME.toml` is there only for labels. A file
//! `identity_alias/ANY.csv` or `.json` holds many aliases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use balefire_control::{Form, Kind, Spec, Value, check_name, check_spec};

use crate::Failure;

mod rows;

/// Largest file of one object, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Largest file of many, bytes.
const ROWS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a folder says of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What it says.
    pub spec: Spec,
    /// Words for people.
    pub labels: BTreeMap<String, String>,
}

impl Wanted {
    /// Of the TOML of one object.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(kind: Kind, text: &str) -> Result<Self, String> {
        let mut wanted = Self::default();
        fields(kind, text, &mut wanted)?;
        let faults = check_spec(kind, &wanted.spec);
        let faults: Vec<String> = faults
            .into_iter()
            .map(|fault| format!("{}: {}", fault.path, fault.message))
            .collect();
        if faults.is_empty() {
            Ok(wanted)
        } else {
            Err(faults.join("\n  "))
        }
    }
}

/// What a folder says, by kind and name.
pub type Folder = BTreeMap<(Kind, String), Wanted>;

fn failed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

/// Reads every file of a folder and checks what can be checked here.
///
/// # Errors
/// Every fault, with its file.
pub fn read(dir: &Path) -> Result<Folder, Failure> {
    let mut folder = Folder::new();
    let mut faults = Vec::new();
    for kind in Kind::ALL {
        let of_kind = dir.join(kind.as_str());
        if !of_kind.is_dir() {
            continue;
        }
        for path in entries(&of_kind)? {
            if let Err(fault) = one(kind, &path, &mut folder) {
                faults.push(format!("{}: {fault}", path.display()));
            }
        }
    }
    for path in entries(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let hidden = name.is_some_and(|name| name.starts_with('.'));
        if path.is_dir() && !hidden && name.and_then(Kind::parse).is_none() {
            faults.push(format!("{}: is the folder of no kind", path.display()));
        }
    }
    for ((kind, name), wanted) in &folder {
        for fault in check_spec(*kind, &wanted.spec) {
            faults.push(format!("{kind}/{name}: {}: {}", fault.path, fault.message));
        }
    }
    if !faults.is_empty() {
        return Err(Failure::Failed(faults.join("\n")));
    }
    if folder.is_empty() {
        let kinds = Kind::ALL.map(Kind::as_str).join("/, ");
        return Err(Failure::Failed(format!(
            "{}: holds no object; objects lie in {kinds}/ as NAME.toml, rules as rule/NAME.yml",
            dir.display()
        )));
    }
    Ok(folder)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = std::fs::read_dir(dir).map_err(|e| failed(dir, &e))?;
    let paths: Result<Vec<PathBuf>, std::io::Error> =
        read.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|e| failed(dir, &e))?;
    paths.sort();
    Ok(paths)
}

fn one(kind: Kind, path: &Path, folder: &mut Folder) -> Result<(), String> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let name = path.file_stem().and_then(|name| name.to_str());
    let name = name.unwrap_or_default().to_owned();
    let yaml = match ending {
        Some("yml" | "yaml") if kind == Kind::Rule => true,
        Some("toml") => false,
        Some("csv") if kind == Kind::IdentityAlias => return many(path, rows::csv, folder),
        Some("json") if kind == Kind::IdentityAlias => return many(path, rows::json, folder),
        _ => return Ok(()),
    };
    if let Some(fault) = check_name(&name) {
        return Err(fault.message);
    }
    let text = text(path, FILE_BYTES_MAX)?;
    let wanted = folder.entry((kind, name)).or_default();
    if yaml {
        wanted.spec.insert("yaml".into(), Value::Text(text));
        return Ok(());
    }
    fields(kind, &text, wanted)
}

/// What the TOML of one object says.
fn fields(kind: Kind, text: &str, wanted: &mut Wanted) -> Result<(), String> {
    let table: toml::Table = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    for (field, value) in table {
        if field == "labels" {
            wanted.labels = words(&value).ok_or("labels takes text by text")?;
            continue;
        }
        let known = kind.field(&field).ok_or_else(|| {
            let fields: Vec<&str> = kind.fields().iter().map(|field| field.name).collect();
            format!("a {kind} has no {field}; it has {}", fields.join(", "))
        })?;
        let value = of_toml(known.form, &value)
            .ok_or_else(|| format!("{field} takes {}", takes(known.form)))?;
        if !value.is_empty() {
            wanted.spec.insert(field, value);
        }
    }
    Ok(())
}

fn text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > bytes_max {
        return Err(format!("over {bytes_max} bytes"));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

/// Objects that lie in one file.
fn many(
    path: &Path,
    read: fn(&str) -> Result<BTreeMap<String, Spec>, String>,
    folder: &mut Folder,
) -> Result<(), String> {
    for (name, spec) in read(&text(path, ROWS_BYTES_MAX)?)? {
        let wanted = folder.entry((Kind::IdentityAlias, name.clone()));
        if matches!(wanted, std::collections::btree_map::Entry::Occupied(_)) {
            return Err(format!("{name} stands in another file too"));
        }
        wanted.or_default().spec = spec;
    }
    Ok(())
}

const fn takes(form: Form) -> &'static str {
    match form {
        Form::Text => "text",
        Form::Number => "a whole number",
        Form::Flag => "true or false",
        Form::Texts => "a list of texts",
        Form::Words => "a table of texts",
    }
}

fn words(value: &toml::Value) -> Option<BTreeMap<String, String>> {
    let table = value.as_table()?.iter();
    table
        .map(|(word, meaning)| Some((word.clone(), meaning.as_str()?.to_owned())))
        .collect()
}

fn of_toml(form: Form, value: &toml::Value) -> Option<Value> {
    Some(match form {
        // A bare TOML time is text here.
        Form::Text => Value::Text(match value.as_datetime() {
            Some(time) => time.to_string(),
            None => value.as_str()?.to_owned(),
        }),
        Form::Number => Value::Number(value.as_integer()?),
        Form::Flag => Value::Flag(value.as_bool()?),
        Form::Texts => {
            let texts = value.as_array()?.iter();
            let texts: Option<Vec<String>> =
                texts.map(|text| text.as_str().map(str::to_owned)).collect();
            Value::Texts(texts?)
        }
        Form::Words => Value::Words(words(value)?),
    })
}

fn to_toml(value: &Value) -> toml::Value {
    let table = |words: &BTreeMap<String, String>| {
        let words = words.iter();
        toml::Value::Table(words.map(|(k, v)| (k.clone(), v.clone().into())).collect())
    };
    match value {
        Value::Text(text) => text.clone().into(),
        Value::Number(number) => (*number).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::Texts(texts) => texts.clone().into(),
        Value::Words(words) => table(words),
    }
}

/// The files of one object: names below the folder, and contents.
///
/// # Errors
/// Where TOML cannot say it.
pub fn files(kind: Kind, name: &str, wanted: &Wanted) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut files = Vec::new();
    let mut table = toml::Table::new();
    let base = Path::new(kind.as_str());
    for (field, value) in &wanted.spec {
        match (kind, field.as_str(), value) {
            (Kind::Rule, "yaml", Value::Text(yaml)) => {
                files.push((base.join(format!("{name}.yml")), yaml.clone()));
            }
            _ => {
                table.insert(field.clone(), to_toml(value));
            }
        }
    }
    if !wanted.labels.is_empty() {
        table.insert(
            "labels".into(),
            to_toml(&Value::Words(wanted.labels.clone())),
        );
    }
    if !table.is_empty() || kind != Kind::Rule {
        let text = toml::to_string(&table);
        let text = text.map_err(|e| Failure::Failed(format!("write {kind} {name}: {e}")))?;
        files.push((base.join(format!("{name}.toml")), text));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::new();
        let text = |text: &str| Value::Text(text.into());
        for (kind, fields) in [
            (Kind::Rule, vec![("yaml", text("title: x\n"))]),
            (Kind::Tenant, vec![]),
            (
                Kind::Receiver,
                vec![
                    ("url", text("https://soc.example/hook")),
                    ("allow_loopback", Value::Flag(true)),
                    ("concurrency", Value::Number(3)),
                    ("audiences", Value::Texts(vec!["soc".into(), "ai".into()])),
                ],
            ),
            (
                Kind::SeverityMap,
                vec![
                    ("source", text("gw")),
                    (
                        "words",
                        Value::Words([("sev 1".to_owned(), "high".to_owned())].into()),
                    ),
                ],
            ),
        ] {
            let wanted = Wanted {
                spec: fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
                labels: [("team".to_owned(), "a \"b\"".to_owned())].into(),
            };
            for (path, text) in files(kind, "one", &wanted).unwrap() {
                let path = dir.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            folder.insert((kind, "one".to_owned()), wanted);
        }
        assert_eq!(read(dir.path()).unwrap(), folder);
    }

    #[test]
    fn every_fault_is_named_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("receiver/Loud.toml", "url = \"https://a.example\"");
        write("receiver/a.toml", "colour = \"red\"");
        write("route/b.toml", "receivers = \"soc\"");
        write("silence/c.toml", "ends_at = \"soon\"\nreason = \"r\"");
        write("rules/d.yml", "title: x");
        let Err(Failure::Failed(told)) = read(dir.path()) else {
            panic!("no fault was found");
        };
        for part in [
            "Loud",
            "has no colour",
            "a list of texts",
            "spec.ends_at",
            "rules: is the folder of no kind",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
