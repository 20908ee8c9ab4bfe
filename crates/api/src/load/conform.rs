//! Checks a tree against the schema of its kind, so that what is left surely reads as the Rust type.
//!
//! Everything wrong with an object is reported, not only the first thing, each with the line it stands on. No
//! message repeats a value, except a short word where one of a few words is expected: an object may be a Secret.

use serde_json::Value;

use super::node::{Content, Key, Mark, Node};
use super::path::{Path, shorten};
use super::report::{Note, Report};
use super::suggest::{nearest, nearest_field};
use crate::duration::{DURATION_SYNTAX, parse_nanos};
use crate::finding::{Code, Severity};
use crate::schema::{Record, Rule, Shape};
use crate::wire::is_base64;

/// How lenient the reader is that the object would otherwise meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// A custom resource at the API server: `null` only where the schema allows it.
    Custom,
    /// A kind of Kubernetes itself: `null` stands for absent everywhere.
    Native,
    /// Istio's mesh settings: as above, and field names may be in snake case.
    Mesh,
}

/// Checks `node` and gives the JSON value without unknown fields and nulls. What does not fit is reported; the value
/// is then of no use.
pub(super) fn conform(
    node: Node,
    shape: &Shape,
    path: &Path<'_>,
    manner: Manner,
    report: &mut Report,
) -> Value {
    Walk { manner, report }.value(node, shape, path)
}

struct Walk<'r> {
    manner: Manner,
    report: &'r mut Report,
}

impl Walk<'_> {
    fn value(&mut self, node: Node, shape: &Shape, path: &Path<'_>) -> Value {
        let mark = node.mark;
        match (shape, node.content) {
            (Shape::Ruled(shape, rules), content) => self.ruled(Node { mark, content }, shape, rules, path),
            (Shape::Any, content) => Node { mark, content }.into_value(),
            (Shape::List(item), Content::List(items)) => items
                .into_iter()
                .enumerate()
                .map(|(index, node)| self.value(node, item, &path.index(index)))
                .collect(),
            (Shape::Map(value), Content::Map(entries)) => entries
                .into_iter()
                .map(|(key, node)| {
                    let value = self.value(node, value, &path.key(&key.name));
                    (key.name, value)
                })
                .collect(),
            (Shape::Record(record), Content::Map(entries)) => self.record(entries, record, mark, path),
            (shape, content) => self.scalar(Node { mark, content }, shape, path),
        }
    }

    /// Checks the type first; rules are about values that have it, as at the API server.
    fn ruled(&mut self, node: Node, shape: &Shape, rules: &[Rule], path: &Path<'_>) -> Value {
        let (mark, errors) = (node.mark, self.report.errors());
        let value = self.value(node, shape, path);
        if self.report.errors() == errors {
            for (message, remedy) in rules.iter().filter_map(|rule| rule.broken(&value)) {
                self.report.add(Note {
                    code: Code::InvalidValue,
                    mark,
                    field: path.render(),
                    message,
                    remedy,
                });
            }
        }
        value
    }

    fn record(&mut self, entries: Vec<(Key, Node)>, record: &Record, mark: Mark, path: &Path<'_>) -> Value {
        let mut out = serde_json::Map::new();
        for (key, node) in entries {
            let Some((name, field)) = self.lookup(record, &key.name) else {
                if !record.open {
                    self.unknown(&key, record, path);
                }
                continue;
            };
            if node.is_null() && (field.nullable || self.manner != Manner::Custom) {
                continue;
            }
            let value = self.value(node, &field.shape, &path.key(name));
            out.insert(name.to_owned(), value);
        }
        for (name, _) in
            record.fields.iter().filter(|(name, field)| field.required && !out.contains_key(*name))
        {
            self.report.add(Note {
                code: Code::MissingField,
                mark,
                field: path.key(name).render(),
                message: format!("the required field {name} is missing"),
                remedy: String::new(),
            });
        }
        Value::Object(out)
    }

    fn lookup<'s>(&self, record: &'s Record, name: &str) -> Option<(&'s str, &'s crate::schema::Field)> {
        let found = record.fields.get_key_value(name).or_else(|| {
            let snake = self.manner == Manner::Mesh && name.contains('_');
            snake.then(|| record.fields.get_key_value(&camel_case(name))).flatten()
        });
        found.map(|(name, field)| (name.as_str(), field))
    }

    fn unknown(&mut self, key: &Key, record: &Record, path: &Path<'_>) {
        let known = record.fields.keys().map(String::as_str);
        let remedy = match nearest_field(&key.name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "remove it; it has no effect".to_owned(),
        };
        // Istio's mesh settings are not the API server's business, and istiod reads them without such a field.
        let severity = if self.manner == Manner::Mesh { Severity::Warning } else { Severity::Error };
        self.report.add_as(
            severity,
            Note {
                code: Code::UnknownField,
                mark: key.mark,
                field: path.key(&key.name).render(),
                message: format!("there is no field {:?} here", shorten(&key.name)),
                remedy,
            },
        );
    }

    fn scalar(&mut self, node: Node, shape: &Shape, path: &Path<'_>) -> Value {
        let mark = node.mark;
        if let Err((message, remedy)) = fits(&node, shape) {
            self.report.add(Note { code: Code::WrongType, mark, field: path.render(), message, remedy });
        }
        node.into_value()
    }
}

/// Whether a scalar fits; if not, what is wrong and what to do about it.
fn fits(node: &Node, shape: &Shape) -> Result<(), (String, String)> {
    let value = match &node.content {
        Content::Scalar(value) => Some(value),
        _ => None,
    };
    let fits = match shape {
        Shape::Any => true,
        Shape::Text => node.text().is_some(),
        Shape::Duration => node.text().is_some_and(|text| parse_nanos(text).is_some()),
        Shape::Bytes => node.text().is_some_and(is_base64),
        Shape::Enum(names) => node.text().is_some_and(|text| names.iter().any(|name| name == text)),
        Shape::Bool => value.is_some_and(Value::is_boolean),
        Shape::Float => value.is_some_and(Value::is_number),
        Shape::Int { min, max } => {
            value.and_then(whole).is_some_and(|number| (*min..=*max).contains(&number))
        }
        Shape::IntOrString => {
            node.text().is_some() || value.and_then(whole).is_some_and(|number| i32::try_from(number).is_ok())
        }
        Shape::Ruled(shape, _) => return fits(node, shape),
        Shape::List(_) | Shape::Map(_) | Shape::Record(_) => false,
    };
    if fits { Ok(()) } else { Err((complaint(node, shape), cure(node, shape))) }
}

fn whole(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

fn complaint(node: &Node, shape: &Shape) -> String {
    let expected = match shape {
        Shape::Text => "a string".to_owned(),
        Shape::Duration => DURATION_SYNTAX.to_owned(),
        Shape::Bytes => "base64 text".to_owned(),
        Shape::Bool => "true or false".to_owned(),
        Shape::Int { min, max } => format!("an integer from {min} to {max}"),
        Shape::Float => "a number".to_owned(),
        Shape::IntOrString => "an integer or a string".to_owned(),
        Shape::List(item) => format!("a list of {}", item.describe()),
        Shape::Map(_) | Shape::Record(_) => "a mapping".to_owned(),
        Shape::Any | Shape::Enum(_) | Shape::Ruled(..) => shape.describe(),
    };
    let found = match (shape, node.text()) {
        (Shape::Enum(_), Some(word)) => format!("{:?}", shorten(word)),
        (Shape::Bytes | Shape::Duration, Some(_)) => "other text".to_owned(),
        _ => node.describe().to_owned(),
    };
    format!("expected {expected}, found {found}")
}

fn cure(node: &Node, shape: &Shape) -> String {
    match (shape, &node.content) {
        (Shape::Text | Shape::Enum(_), Content::Scalar(Value::Bool(_))) => {
            "put it in quotes: yes, no, on, off, y and n are booleans without them".to_owned()
        }
        (Shape::Text | Shape::Duration, Content::Scalar(Value::Number(_))) => "put it in quotes".to_owned(),
        (Shape::Int { .. } | Shape::Float | Shape::Bool, Content::Scalar(Value::String(_))) => {
            "write it without quotes".to_owned()
        }
        (Shape::Enum(names), Content::Scalar(Value::String(word))) => {
            let near = nearest(word, names.iter().map(String::as_str));
            near.map(|near| format!("did you mean {near}?")).unwrap_or_default()
        }
        (Shape::List(_), Content::Map(_) | Content::Scalar(Value::String(_))) => {
            "write it as a list item, after a dash".to_owned()
        }
        (_, Content::Scalar(Value::Null)) => "leave the field out or give it a value".to_owned(),
        _ => String::new(),
    }
}

/// `num_trusted_proxies` as `numTrustedProxies`, as protobuf's JSON mapping has it.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}
