//! Every part of the contract says what it means.

use prost_types::{DescriptorProto, FileDescriptorProto};

/// Numbers of descriptor.proto: which part of a descriptor a path leads through.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const ENUM_VALUE: i32 = 2;
const SERVICE_METHOD: i32 = 2;

/// Findings about one `.proto` file: its path below `proto/` and its text.
#[must_use]
pub fn check(path: &str, text: &str) -> Vec<String> {
    match protox::file::File::from_source(path, text) {
        Ok(file) => uncommented(path, file.file_descriptor_proto()),
        Err(error) => vec![format!("{path}: {error}")],
    }
}

fn uncommented(path: &str, file: &FileDescriptorProto) -> Vec<String> {
    let mut parts = Vec::new();
    for (at, message) in numbered(&file.message_type) {
        walk(&mut parts, &[FILE_MESSAGE, at], message);
    }
    for (at, one) in numbered(&file.enum_type) {
        enumeration(&mut parts, &[FILE_ENUM, at], one);
    }
    for (at, service) in numbered(&file.service) {
        let here = [FILE_SERVICE, at];
        parts.push((here.to_vec(), service.name().to_owned()));
        for (index, method) in numbered(&service.method) {
            let name = format!("{}.{}", service.name(), method.name());
            parts.push(([&here[..], &[SERVICE_METHOD, index]].concat(), name));
        }
    }
    parts
        .into_iter()
        .filter(|(place, _)| !commented(file, place))
        .map(|(_, name)| {
            format!("{path}: {name} has no comment (unit, who sets it, what absence means)")
        })
        .collect()
}

type Part = (Vec<i32>, String);

fn walk(parts: &mut Vec<Part>, place: &[i32], message: &DescriptorProto) {
    if message.options.as_ref().is_some_and(|o| o.map_entry()) {
        return;
    }
    parts.push((place.to_vec(), message.name().to_owned()));
    for (index, field) in numbered(&message.field) {
        let name = format!("{}.{}", message.name(), field.name());
        parts.push(([place, &[MESSAGE_FIELD, index]].concat(), name));
    }
    for (index, nested) in numbered(&message.nested_type) {
        walk(parts, &[place, &[MESSAGE_NESTED, index]].concat(), nested);
    }
    for (index, one) in numbered(&message.enum_type) {
        enumeration(parts, &[place, &[MESSAGE_ENUM, index]].concat(), one);
    }
}

fn enumeration(parts: &mut Vec<Part>, place: &[i32], one: &prost_types::EnumDescriptorProto) {
    parts.push((place.to_vec(), one.name().to_owned()));
    for (index, value) in numbered(&one.value) {
        let name = format!("{}.{}", one.name(), value.name());
        parts.push(([place, &[ENUM_VALUE, index]].concat(), name));
    }
}

fn numbered<T>(items: &[T]) -> impl Iterator<Item = (i32, &T)> {
    (0..).zip(items)
}

fn commented(file: &FileDescriptorProto, place: &[i32]) -> bool {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations
        .filter(|location| location.path == place)
        .any(|location| {
            let said = |text: &str| !text.trim().is_empty();
            said(location.leading_comments()) || said(location.trailing_comments())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "syntax = \"proto3\";\npackage a.v1;\n\
        // One.\nmessage M {\n  // Name.\n  string name = 1;\n  // Labels.\n  map<string, string> labels = 2;\n}\n\
        // Kinds.\nenum K {\n  // Not said.\n  K_UNSPECIFIED = 0;\n}\n\
        // Asks.\nservice S {\n  // Gets.\n  rpc Get(M) returns (M);\n}\n";

    #[test]
    fn a_commented_contract_passes() {
        assert_eq!(check("a.proto", GOOD), [""; 0]);
    }

    #[test]
    fn each_part_without_a_comment_is_named() {
        for (comment, name) in [
            ("// One.\n", "M has"),
            ("  // Name.\n", "M.name has"),
            ("  // Labels.\n", "M.labels has"),
            ("// Kinds.\n", "K has"),
            ("  // Not said.\n", "K.K_UNSPECIFIED has"),
            ("// Asks.\n", "S has"),
            ("  // Gets.\n", "S.Get has"),
        ] {
            let found = check("a.proto", &GOOD.replace(comment, "\n"));
            assert!(
                found.len() == 1 && found.concat().contains(name),
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn what_does_not_parse_is_a_finding() {
        assert_eq!(check("a.proto", "syntax = \"proto3\"; message {").len(), 1);
    }
}
