//! What the loader has to say about a text.

use std::fmt;
use std::sync::Arc;

use crate::meta::ObjectRef;

/// Something worth saying about a text, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub code: Code,
    /// The source's name as given to the loader.
    pub source: Arc<str>,
    /// The line, from 1; 0 where lines mean nothing.
    pub line: u32,
    /// The column in characters, from 1; 0 where unknown.
    pub column: u32,
    /// The object, where it is known.
    pub object: Option<ObjectRef>,
    /// The field's path, such as `spec.servers[0].tls.mode`; empty for the whole object or text.
    pub field: String,
    /// What was found, one sentence.
    pub message: String,
    /// What to do about it, one sentence; empty where there is nothing to add.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is wrong.
    Info,
    /// The object is used, yet probably not as was meant.
    Warning,
    /// The object, or the document, is not used, or an API server would refuse it.
    Error,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The text is not YAML.
    SyntaxError,
    /// A bound on size, depth or number was reached.
    TooLarge,
    /// A mapping has the same key twice.
    DuplicateKey,
    /// The document is not an object: no mapping, or without `kind` or `apiVersion`.
    NotAnObject,
    /// `metadata.name` is missing.
    MissingName,
    /// A known kind in an API version that does not exist or is not served.
    WrongVersion,
    /// A kind that is not read.
    UnsupportedKind,
    /// A value of the wrong type, or one that cannot be read as its type.
    WrongType,
    /// A required field is missing.
    MissingField,
    /// A field that the kind does not have.
    UnknownField,
    /// A value of the right type that breaks a rule of the schema.
    InvalidValue,
}

impl Code {
    /// The code's name, stable: it appears in output and may be filtered on.
    pub fn name(self) -> &'static str {
        match self {
            Self::SyntaxError => "SyntaxError",
            Self::TooLarge => "TooLarge",
            Self::DuplicateKey => "DuplicateKey",
            Self::NotAnObject => "NotAnObject",
            Self::MissingName => "MissingName",
            Self::WrongVersion => "WrongVersion",
            Self::UnsupportedKind => "UnsupportedKind",
            Self::WrongType => "WrongType",
            Self::MissingField => "MissingField",
            Self::UnknownField => "UnknownField",
            Self::InvalidValue => "InvalidValue",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Finding {
    /// `source:line:column: severity: object: field: message; remedy`, leaving out what is unknown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        write!(f, ": {}: ", self.severity)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}
