//! Expressions over a request, in the Common Expression Language as Envoy evaluates it: `%CEL(…)%` in header values.
//!
//! `compile` parses a text once; the data plane evaluates what came of it against [`Attributes`], which are asked only
//! for what the expression names. Envoy's dialect is a small one: what it was built without (comprehensions, the joining
//! of texts and lists, `string()`, the extended functions for texts) is an error here as it is there. Whatever goes wrong
//! on the way to a value leaves none, except that `&&` and `||` pass over what does not matter to them.
//!
//! An expression comes from configuration, and what it is about from peers: so its length and depth are bounded when it is
//! parsed, it is evaluated in one walk without a loop, and what it puts together has a greatest length.

mod arithmetic;
mod attribute;
mod call;
mod evaluate;
mod parse;
mod time;
mod token;
mod value;

use std::fmt;
use std::sync::Arc;

pub use attribute::{Attribute, Attributes, Message};
use call::Call;
pub use value::{Kind, Value};

/// Longest expression accepted, in bytes.
pub const MAX_LENGTH: usize = 8 * 1024;

/// How deep an expression may be nested, brackets and operators alike.
pub const MAX_DEPTH: usize = 64;

/// Longest text that an expression may put together, in bytes.
pub const MAX_MADE: usize = 64 * 1024;

/// A parsed expression.
#[derive(Clone)]
pub struct Expression {
    text: Box<str>,
    root: Arc<Node>,
    measured: bool,
    unset: Box<[Box<str>]>,
}

/// Why a text is no expression, and where: a position in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// From the start of the expression.
    pub at: usize,
    /// What is wrong there.
    pub why: String,
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// Where it breaks the grammar, names a function there is none of, or is too long or too deep.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let parsed = parse::parse(text)?;
        Ok(Self {
            text: text.into(),
            root: Arc::new(parsed.root),
            measured: parsed.measured,
            unset: parsed.unset.into(),
        })
    }

    /// Its value for one request; `None` where there is none.
    #[must_use]
    pub fn evaluate<'a>(&'a self, attributes: &'a dyn Attributes) -> Option<Value<'a>> {
        evaluate::value(&self.root, attributes)
    }

    /// Whether requests have to be counted or timed on their way for it.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.measured
    }

    /// Names in it that never have a value: there is nothing of that name, or nothing this gateway knows.
    #[must_use]
    pub fn unset(&self) -> &[Box<str>] {
        &self.unset
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Expression({:?})", self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl fmt::Display for ExpressionError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} (at byte {})", self.why, self.at + 1)
    }
}

/// A piece of an expression, with those it is made of.
#[derive(Debug)]
enum Node {
    /// A literal, or the name of a type.
    Literal(Value<'static>),
    /// `request.path` and its like.
    Attribute(Attribute),
    /// `request` and its like, other than before a member.
    Group(attribute::Group),
    /// A name of nothing.
    Unset,
    /// `a.b`
    Member(Box<Node>, Box<str>),
    /// `has(a.b)`
    Has(Box<Node>, Box<str>),
    /// `a[b]`
    Index(Box<[Node; 2]>),
    List(Vec<Node>),
    Map(Vec<[Node; 2]>),
    Not(Box<Node>),
    Minus(Box<Node>),
    /// `a && b && …`
    All(Vec<Node>),
    /// `a || b || …`
    Any(Vec<Node>),
    /// `a + b`, `a < b`, `a in b`
    Pair(arithmetic::Operator, Box<[Node; 2]>),
    /// `a ? b : c`
    Choice(Box<[Node; 3]>),
    Call(Box<Call>, Vec<Node>),
}

#[cfg(test)]
mod tests;
