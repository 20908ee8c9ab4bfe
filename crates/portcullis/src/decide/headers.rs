//! Changes to headers, in words and for comparison.

use std::fmt::{self, Display, Formatter};

use portcullis_snapshot::action::HeaderOps;
use portcullis_snapshot::template::{Part, Template};
use serde::{Serialize, Serializer};

/// One change to the headers of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderChange {
    pub(crate) side: Side,
    pub(crate) operation: Operation,
    /// In lower case; `host` for the authority.
    pub(crate) name: String,
    /// As written, with its `%…%` operators; empty where the header is removed.
    pub(crate) value: String,
}

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Set,
    Add,
    Remove,
}

impl Display for HeaderChange {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Request => "request",
            Side::Response => "response",
        };
        let Self { name, value, .. } = self;
        match self.operation {
            Operation::Set => write!(out, "{side}: set {name}: {value}"),
            Operation::Add => write!(out, "{side}: add {name}: {value}"),
            Operation::Remove => write!(out, "{side}: remove {name}"),
        }
    }
}

impl Serialize for HeaderChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The changes of one rule or destination to one side.
pub(super) fn changes(side: Side, operations: &HeaderOps) -> Vec<HeaderChange> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let change = |operation, name: String, value: String| HeaderChange { side, operation, name, value };
    let mut changes: Vec<_> = operations
        .remove
        .iter()
        .map(|name| change(Operation::Remove, name.to_string(), String::new()))
        .collect();
    for (operation, list) in [(Operation::Set, &operations.set), (Operation::Add, &operations.add)] {
        changes.extend(list.iter().map(|(name, value)| change(operation, text(name), written(value))));
    }
    let authority = operations.authority.iter();
    changes.extend(authority.map(|value| change(Operation::Set, "host".to_owned(), written(value))));
    changes
}

/// A value as it was written.
fn written(template: &Template) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match template {
        Template::Literal(literal) => text(literal),
        Template::Parts(parts) => parts
            .iter()
            .map(|part| match part {
                Part::Literal(literal) => text(literal),
                Part::Operator(operator) => operator.to_string(),
            })
            .collect(),
    }
}
