//! A document as a tree that remembers its lines.

use serde_json::Value;

/// Where a value or key starts: line and column from 1, or zeros where there is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) content: Content,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A JSON value that is neither list nor mapping.
    Scalar(Value),
    /// Text of a block scalar: its lines are those after the line of its `|` or `>`.
    Block(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order written. A key may be there twice; that is found later, where the object is known.
    Map(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) mark: Mark,
    pub(super) name: String,
}

impl Node {
    /// A tree without places.
    pub(super) fn from_value(value: Value) -> Self {
        let content = match value {
            Value::Array(items) => Content::List(items.into_iter().map(Self::from_value).collect()),
            Value::Object(entries) => {
                let key = |name| Key { mark: Mark::default(), name };
                Content::Map(
                    entries.into_iter().map(|(name, value)| (key(name), Self::from_value(value))).collect(),
                )
            }
            scalar => Content::Scalar(scalar),
        };
        Self { mark: Mark::default(), content }
    }

    /// The same value without places.
    pub(super) fn into_value(self) -> Value {
        match self.content {
            Content::Scalar(value) => value,
            Content::Block(text) => Value::String(text),
            Content::List(items) => items.into_iter().map(Self::into_value).collect(),
            Content::Map(entries) => {
                entries.into_iter().map(|(key, value)| (key.name, value.into_value())).collect()
            }
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub(super) fn entry(&self, name: &str) -> Option<&Self> {
        self.entries()?.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// Takes the value of a key out, if this is a mapping that has it.
    pub(super) fn take(&mut self, name: &str) -> Option<(Key, Self)> {
        let Content::Map(entries) = &mut self.content else { return None };
        let index = entries.iter().position(|(key, _)| key.name == name)?;
        Some(entries.remove(index))
    }

    /// The entries, if this is a mapping.
    pub(super) fn entries(&self) -> Option<&[(Key, Self)]> {
        if let Content::Map(entries) = &self.content { Some(entries) } else { None }
    }

    /// The items, if this is a list.
    pub(super) fn list(&self) -> Option<&[Self]> {
        if let Content::List(items) = &self.content { Some(items) } else { None }
    }

    /// Gives a mapping that lacks the key this text for it.
    pub(super) fn put_default(&mut self, name: &str, text: &str) {
        let mark = self.mark;
        if self.entry(name).is_some() {
            return;
        }
        if let Content::Map(entries) = &mut self.content {
            let content = Content::Scalar(Value::String(text.to_owned()));
            entries.push((Key { mark, name: name.to_owned() }, Self { mark, content }));
        }
    }

    /// The text, if this is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) | Content::Block(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.content == Content::Scalar(Value::Null)
    }

    /// What kind of value it is, for messages. Never the value itself.
    pub(super) fn describe(&self) -> &'static str {
        match &self.content {
            Content::Scalar(Value::Null) => "null",
            Content::Scalar(Value::Bool(_)) => "a boolean",
            Content::Scalar(Value::Number(number)) if number.is_f64() => "a fractional number",
            Content::Scalar(Value::Number(_)) => "an integer",
            Content::Scalar(_) | Content::Block(_) => "a string",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}
