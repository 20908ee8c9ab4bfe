//! `Secret`. Nothing here shows a value.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::map::Map;
use crate::wire::Bytes;

/// The fields of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretBody {
    /// Values by key, base64 on the wire.
    #[serde(default)]
    pub data: Map<Bytes>,
    /// Values by key as plain text, for writing by hand; a key here wins over the same key in `data`.
    #[serde(default)]
    pub string_data: Map<SecretText>,
    /// The type, such as `kubernetes.io/tls`. Absent: `Opaque`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Whether the API server refuses changes.
    pub immutable: Option<bool>,
}

impl SecretBody {
    /// The value of a key as the API server would store it: `stringData` before `data`.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        let text = self.string_data.get(key).map(|text| text.0.as_bytes());
        text.or_else(|| self.data.get(key).map(|bytes| bytes.0.as_slice()))
    }
}

/// A secret value written as text.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
