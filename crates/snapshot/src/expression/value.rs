//! Values of expressions.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::attribute::{Group, Message};
use super::time;

/// A value, parts of which may be borrowed from the expression or the request.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that cannot be negative.
    Uint(u64),
    /// Any other number.
    Double(f64),
    /// A text; what peers send need not be UTF-8.
    Text(Cow<'a, [u8]>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A length of time, in nanoseconds.
    Duration(i128),
    /// A moment, in nanoseconds since 1970.
    Time(i128),
    /// What a value is.
    Type(Kind),
    /// Several.
    List(Vec<Value<'a>>),
    /// Several under keys.
    Map(Vec<[Value<'a>; 2]>),
    /// `request` and its like.
    Group(Group),
    /// Header fields of a message.
    Headers(Message),
    /// Envoy's metadata: a message with one member that matters, the map by filters.
    Metadata(Box<Value<'a>>),
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null_type`
    Null,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `uint`
    Uint,
    /// `double`
    Double,
    /// `string`
    Text,
    /// `bytes`
    Bytes,
    /// Of lengths of time; it has no name in expressions.
    Duration,
    /// Of moments; it has no name in expressions.
    Time,
    /// `type`
    Type,
    /// `list`
    List,
    /// `map`
    Map,
    /// Of messages; it has no name in expressions.
    Metadata,
}

impl Kind {
    /// The type of this name.
    pub(super) fn named(text: &str) -> Option<Self> {
        Some(match text {
            "null_type" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::Text,
            "bytes" => Self::Bytes,
            "type" => Self::Type,
            "list" => Self::List,
            "map" => Self::Map,
            _ => return None,
        })
    }
}

impl<'a> Value<'a> {
    /// A text.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text.as_bytes()))
    }

    /// The same value, borrowed; for literals, which hold no other.
    pub(super) fn borrowed(&'a self) -> Self {
        match self {
            Self::Text(text) => Self::Text(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Self::Bytes(Cow::Borrowed(bytes)),
            other => other.clone(),
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Uint(_) => Kind::Uint,
            Self::Double(_) => Kind::Double,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
            Self::Duration(_) => Kind::Duration,
            Self::Time(_) => Kind::Time,
            Self::Type(_) => Kind::Type,
            Self::List(_) => Kind::List,
            Self::Map(_) | Self::Group(_) | Self::Headers(_) => Kind::Map,
            Self::Metadata(_) => Kind::Metadata,
        }
    }

    /// Appends the value as Envoy writes it; of what has parts it writes only what it is.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) | Self::Bytes(text) => out.extend_from_slice(text),
            other => {
                let mut text = String::new();
                other.write_text(&mut text);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn write_text(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Text(text) | Self::Bytes(text) => write!(out, "{}", String::from_utf8_lossy(text)),
            Self::Null => write!(out, "NULL"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Uint(value) => write!(out, "{value}"),
            Self::Double(value) => write!(out, "{}", six_digits(*value)),
            Self::Duration(nanos) => write!(out, "{}", time::duration_text(*nanos)),
            Self::Time(nanos) => write!(out, "{}", time::time_text(*nanos)),
            Self::Type(_) => write!(out, "CelType value"),
            Self::List(_) => write!(out, "CelList value"),
            Self::Map(_) | Self::Group(_) | Self::Headers(_) => write!(out, "CelMap value"),
            Self::Metadata(map) => {
                let start = out.len();
                entries(
                    map,
                    "filter_metadata",
                    &|value, out| {
                        out.push_str("value { ");
                        fields(value, out);
                        out.push_str("} ");
                    },
                    out,
                );
                // What ends in a blank is no header value (RFC 9110 §5.5).
                out.truncate(start + out[start..].trim_end().len());
                Ok(())
            }
        };
    }
}

/// The text of protobuf for a map: a field for each entry.
fn entries(map: &Value<'_>, field: &str, value: &dyn Fn(&Value<'_>, &mut String), out: &mut String) {
    let Value::Map(entries) = map else { return };
    for [key, entry] in entries {
        out.push_str(field);
        out.push_str(" { key: ");
        quoted(key, out);
        out.push(' ');
        value(entry, out);
        out.push_str("} ");
    }
}

/// A `Struct` of protobuf.
fn fields(map: &Value<'_>, out: &mut String) {
    let value = |value: &Value<'_>, out: &mut String| {
        out.push_str("value { ");
        any(value, out);
        out.push_str("} ");
    };
    entries(map, "fields", &value, out);
}

/// A `Value` of protobuf.
fn any(value: &Value<'_>, out: &mut String) {
    match value {
        Value::Bool(value) => {
            out.push_str(if *value { "bool_value: true " } else { "bool_value: false " });
        }
        Value::List(values) => {
            out.push_str("list_value { ");
            for value in values {
                out.push_str("values { ");
                any(value, out);
                out.push_str("} ");
            }
            out.push_str("} ");
        }
        Value::Map(_) => {
            out.push_str("struct_value { ");
            fields(value, out);
            out.push_str("} ");
        }
        other => {
            out.push_str("string_value: ");
            quoted(other, out);
            out.push(' ');
        }
    }
}

fn quoted(value: &Value<'_>, out: &mut String) {
    let mut text = String::new();
    value.write_text(&mut text);
    // Names of the API have nothing in them that would be escaped in another way.
    let _ = write!(out, "{text:?}");
}

/// As C's `%g`: six digits that count, without zeros at the end.
fn six_digits(value: f64) -> String {
    const DIGITS: i32 = 6;
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:.5e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        let places = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        return trimmed(&format!("{value:.places$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_the_reference_writes_them() {
        for (value, expected) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (1e20, "1e+20"),
            (1e-7, "1e-07"),
            (1e-4, "0.0001"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (999_999.5, "1e+06"),
            (123_456.7, "123457"),
            (1_234_567.8, "1.23457e+06"),
            (1.0 / 3.0, "0.333333"),
            (-0.0, "-0"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(six_digits(value), expected);
        }
    }
}
