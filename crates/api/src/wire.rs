//! Values with a spelling of their own on the wire: durations, bytes, percentages, string matchers.
//!
//! Istio's resources are protobuf messages in their JSON mapping. Most of that mapping is what serde does
//! anyway; the types here are the rest. They keep what was written and judge only whether it can be read.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};

use crate::duration::{DURATION_SYNTAX, parse_nanos};
use crate::schema::constraints;

/// A length of time as Istio writes it: Go's duration syntax, such as `5s`, `1.5s`, `100ms` or `1h30m`.
///
/// The text is kept for messages. Negative lengths can be written and therefore read; what they mean is for
/// the reader of the field to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Duration {
    text: Box<str>,
    nanos: i64,
}

impl Duration {
    /// Reads a duration; `None` if the text does not follow Go's syntax or does not fit 64 bits of nanoseconds.
    pub fn parse(text: &str) -> Option<Self> {
        parse_nanos(text).map(|nanos| Self { text: text.into(), nanos })
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The length in nanoseconds, negative if it was written so.
    pub fn nanos(&self) -> i64 {
        self.nanos
    }

    /// The length as the standard library's type; `None` if it is negative.
    pub fn to_std(&self) -> Option<std::time::Duration> {
        u64::try_from(self.nanos).ok().map(std::time::Duration::from_nanos)
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &DURATION_SYNTAX))
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-portcullis-type": "duration" })
    }
}

/// Bytes, base64 on the wire (RFC 4648 §4, padding required as Kubernetes requires it).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is base64 on the wire is often a key: say how long it is, never what it is.
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        // The message must not repeat the text: it may be a private key in the wrong place.
        decode(&text).map(Self).ok_or_else(|| D::Error::custom("expected base64 with padding"))
    }
}

/// Whether the text is base64 as [`Bytes`] reads it.
pub(crate) fn is_base64(text: &str) -> bool {
    decode(text).is_some()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    // Line breaks are common in hand-made Secrets; Go's decoder skips exactly these two characters.
    let compact: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    STANDARD.decode(compact).ok()
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "byte" })
    }
}

/// A port given by number or by name (Kubernetes `IntOrString`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A name.
    String(String),
}

impl JsonSchema for IntOrString {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}

/// A share of all requests.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Percent {
    /// The share in percent, 0.0 to 100.0.
    pub value: Option<f64>,
}

/// A port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortSelector {
    /// The port number as the service declares it.
    pub number: Option<u32>,
}

/// How a string is matched: at most one of the three kinds should be set.
///
/// A matcher that is present but empty (`{}`) has a meaning of its own in Istio (the header or parameter is
/// present); it is a value of this type for which [`StringMatch::is_empty`] holds, while a matcher that was not
/// written at all is the `None` or the missing key of whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::string_match)]
pub struct StringMatch {
    /// The whole string is equal to this one.
    pub exact: Option<Box<str>>,
    /// The string starts with this one.
    pub prefix: Option<Box<str>>,
    /// The whole string matches this RE2 expression.
    pub regex: Option<Box<str>>,
}

impl StringMatch {
    /// Whether no kind of match is set: `{}` on the wire.
    pub fn is_empty(&self) -> bool {
        self.exact.is_none() && self.prefix.is_none() && self.regex.is_none()
    }
}
