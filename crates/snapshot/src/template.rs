//! Header values that are put together per request: literal text and `%OPERATOR%`s.
//!
//! The operators are those Envoy documents for custom request and response headers. `compile`
//! parses a value once; the data plane asks a [`Context`] for each operator.

mod operator;
mod parse;
mod plain;
mod span;
mod time;

use bytes::Bytes;

use crate::expression::{Expression, ExpressionError};

pub use operator::{GrpcForm, MetadataOf, Moment, Operator, Which};
pub use plain::PlainOperator;
pub use span::{Point, Unit};
pub use time::TimeFormat;

/// A parsed header value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// Plain text: the common case costs nothing per request.
    Literal(Bytes),
    /// Text and operators in order.
    Parts(Vec<Part>),
}

/// One piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Literal(Bytes),
    /// A value of the request; an unset one is the empty text.
    Operator(Operator),
}

/// Why a value cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// A `%` has no partner; a literal percent sign is written `%%`.
    Unterminated,
    /// The text between percent signs is no operator.
    Unknown(String),
    /// The operator's expression in CEL is none.
    Expression(String, ExpressionError),
    /// The operator's argument is missing or malformed.
    BadArgument(String),
}

/// Gives the values of operators; unset ones write nothing.
pub trait Context {
    /// Appends the value of `operator` to `out`.
    fn write(&self, operator: &Operator, out: &mut Vec<u8>);
}

impl Template {
    /// Parses the text of a header value.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(percent) = rest.find('%') {
            literal.push_str(&rest[..percent]);
            rest = &rest[percent + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let end = parse::operator_end(rest).ok_or(TemplateError::Unterminated)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Operator(parse::operator(&rest[..end])?));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if parts.is_empty() {
            return Ok(Self::Literal(literal.into()));
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self::Parts(parts))
    }

    /// Whether requests have to be counted or timed on their way for it.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        let Self::Parts(parts) = self else { return false };
        parts.iter().any(|part| matches!(part, Part::Operator(operator) if operator.is_measured()))
    }

    /// The expressions in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let parts: &[Part] = if let Self::Parts(parts) = self { parts } else { &[] };
        parts.iter().filter_map(|part| match part {
            Part::Operator(Operator::Expression { expression, .. }) => Some(&**expression),
            _ => None,
        })
    }

    /// The value for one request.
    #[must_use]
    pub fn render(&self, context: &impl Context) -> Bytes {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Parts(parts) => {
                let mut out = Vec::new();
                for part in parts {
                    match part {
                        Part::Literal(text) => out.extend_from_slice(text),
                        Part::Operator(operator) => context.write(operator, &mut out),
                    }
                }
                out.into()
            }
        }
    }
}

#[cfg(test)]
mod tests;
