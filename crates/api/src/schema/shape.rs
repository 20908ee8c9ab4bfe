//! A schema as a tree that is quick to walk beside an object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{FieldInfo, Rule};

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// Anything.
    Any,
    /// Text.
    Text,
    /// One of these words.
    Enum(Vec<String>),
    /// Text in Go's duration syntax.
    Duration,
    /// Text in base64.
    Bytes,
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Int { min: i128, max: i128 },
    /// A number.
    Float,
    /// A number of 32 bits, or text.
    IntOrString,
    /// A list.
    List(Box<Self>),
    /// A map from any key.
    Map(Box<Self>),
    /// A mapping with fields of its own.
    Record(Record),
    /// One of the above that must keep rules besides.
    Ruled(Box<Self>, Vec<Rule>),
}

/// A mapping with fields of its own.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Record {
    pub(crate) fields: BTreeMap<String, Field>,
    /// Whether unknown fields are nobody's business.
    pub(crate) open: bool,
}

/// One field of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) shape: Shape,
    pub(crate) required: bool,
    /// Whether `null` may stand for absent even where the API server is strict.
    pub(crate) nullable: bool,
    pub(crate) doc: String,
}

impl Shape {
    /// Reads a normalized schema.
    pub(crate) fn of(schema: &Value) -> Self {
        let shape = Self::without_rules(schema);
        match Rule::of(schema) {
            rules if rules.is_empty() => shape,
            rules => Self::Ruled(Box::new(shape), rules),
        }
    }

    fn without_rules(schema: &Value) -> Self {
        let word = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        if schema.get("x-kubernetes-int-or-string").is_some() {
            return Self::IntOrString;
        }
        match word("type") {
            "string" if word("x-portcullis-type") == "duration" => Self::Duration,
            "string" if word("format") == "byte" => Self::Bytes,
            "string" => match schema.get("enum") {
                Some(Value::Array(names)) => {
                    Self::Enum(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                }
                _ => Self::Text,
            },
            "boolean" => Self::Bool,
            "number" => Self::Float,
            "integer" => integer(schema),
            "array" => Self::List(Box::new(schema.get("items").map_or(Self::Any, Self::of))),
            "object" => object(schema),
            _ => Self::Any,
        }
    }

    /// What a value may be, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Any => "any".into(),
            Self::Text => "string".into(),
            Self::Enum(names) => format!("one of {}", names.join(", ")),
            Self::Duration => "duration".into(),
            Self::Bytes => "base64".into(),
            Self::Bool => "boolean".into(),
            Self::Int { .. } => "integer".into(),
            Self::Float => "number".into(),
            Self::IntOrString => "integer or string".into(),
            Self::List(item) => format!("list of {}", item.describe()),
            Self::Map(value) => format!("map of {}", value.describe()),
            Self::Record(_) => "object".into(),
            Self::Ruled(shape, _) => shape.describe(),
        }
    }

    /// Appends every field below this one, depth first, siblings by name.
    pub(super) fn list_fields(&self, path: &str, out: &mut Vec<FieldInfo>) {
        match self {
            Self::List(item) => item.list_fields(&format!("{path}[]"), out),
            Self::Map(value) => value.list_fields(&format!("{path}.*"), out),
            Self::Ruled(shape, _) => shape.list_fields(path, out),
            Self::Record(record) => {
                for (name, field) in &record.fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    out.push(FieldInfo {
                        path: path.clone(),
                        type_name: field.shape.describe(),
                        doc: field.doc.clone(),
                        required: field.required,
                    });
                    field.shape.list_fields(&path, out);
                }
            }
            _ => {}
        }
    }
}

fn integer(schema: &Value) -> Shape {
    let bound = |key: &str| schema.get(key).and_then(Value::as_i64).map(i128::from);
    match schema.get("format").and_then(Value::as_str) {
        Some("int32") => Shape::Int { min: i32::MIN.into(), max: i32::MAX.into() },
        Some("int64") => Shape::Int { min: i64::MIN.into(), max: i64::MAX.into() },
        _ => Shape::Int {
            min: bound("minimum").unwrap_or(i64::MIN.into()),
            max: bound("maximum").unwrap_or(u64::MAX.into()),
        },
    }
}

fn object(schema: &Value) -> Shape {
    if let Some(values) = schema.get("additionalProperties") {
        return Shape::Map(Box::new(Shape::of(values)));
    }
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required: Vec<&str> = match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let fields = properties.iter().map(|(name, schema)| {
        let field = Field {
            shape: Shape::of(schema),
            required: required.contains(&name.as_str()),
            nullable: schema.get("nullable") == Some(&Value::Bool(true)),
            doc: schema.get("description").and_then(Value::as_str).map(one_line).unwrap_or_default(),
        };
        (name.clone(), field)
    });
    let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    Shape::Record(Record { fields: fields.collect(), open })
}

/// A doc comment is wrapped where its line ended; a table or message wants it whole.
fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
