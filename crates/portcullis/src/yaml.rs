//! Values as YAML in block style, for people and `kubectl`.

use std::fmt::Write as _;

use serde_json::Value;

/// One document, ending in a line feed.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(_) | Value::Array(_) if !is_empty(value) => block(value, 0, &mut out),
        scalar => {
            out.push_str(&inline(scalar));
            out.push('\n');
        }
    }
    out
}

/// Writes a collection that is not empty, each entry on lines of its own.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let _ = write!(out, "{:indent$}{}:", "", text(key));
                nested(value, indent + 2, out);
            }
        }
        Value::Array(entries) => {
            for value in entries {
                let mut entry = String::new();
                match value {
                    // The first key stands behind the dash, the others below it.
                    Value::Object(_) if !is_empty(value) => {
                        block(value, indent + 2, &mut entry);
                        let _ = write!(out, "{:indent$}- {}", "", entry.trim_start());
                    }
                    _ => {
                        let _ = write!(out, "{:indent$}-", "");
                        nested(value, indent + 2, out);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Writes what stands behind a key or a dash.
fn nested(value: &Value, indent: usize, out: &mut String) {
    if matches!(value, Value::Object(_) | Value::Array(_)) && !is_empty(value) {
        out.push('\n');
        block(value, indent, out);
    } else {
        let _ = writeln!(out, " {}", inline(value));
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(entries) => entries.is_empty(),
        Value::Array(entries) => entries.is_empty(),
        _ => false,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        // Numbers, booleans, null, `{}` and `[]` are written as in JSON.
        other => other.to_string(),
    }
}

/// A string, quoted as JSON does unless it is plainly a string.
fn text(string: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let begins = string.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    // Words that some YAML parsers read as booleans or null.
    let word = matches!(
        string.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
    );
    match begins && !word && string.bytes().all(plain) {
        true => string.to_owned(),
        false => Value::from(string).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn block_style() {
        let value = json!({
            "kind": "A", "version": "1", "none": {}, "flag": true,
            "list": [{"a": 1, "b": [2, "x y"]}, "on", [3]],
        });
        let expected = "flag: true\nkind: A\nlist:\n  - a: 1\n    b:\n      - 2\n      - \"x y\"\n  - \"on\"\n  -\n    - 3\n\
                        none: {}\nversion: \"1\"\n";
        assert_eq!(document(&value), expected);
        assert_eq!(document(&json!("a: b")), "\"a: b\"\n");
    }
}
