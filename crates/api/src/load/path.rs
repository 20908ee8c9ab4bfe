//! The path of a field, kept as steps while walking and written out only for a finding.

use std::fmt::Write as _;

/// A step from a value into it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// A path as a chain on the stack of the walk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Option<Step<'a>>,
}

/// The longest key that is written out whole in a path.
const MAX_SHOWN_KEY: usize = 80;

impl<'a> Path<'a> {
    /// The whole object.
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: None };

    pub(super) fn key(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Some(Step::Key(name)) }
    }

    pub(super) fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Some(Step::Index(index)) }
    }

    /// Such as `spec.http[0].match[1].headers["x.y"]`.
    pub(super) fn render(&self) -> String {
        let mut out = self.parent.map(Self::render).unwrap_or_default();
        match self.step {
            None => {}
            Some(Step::Index(index)) => {
                let _ = write!(out, "[{index}]");
            }
            Some(Step::Key(name)) if is_plain(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Some(Step::Key(name)) => {
                let _ = write!(out, "[{:?}]", shorten(name));
            }
        }
        out
    }
}

/// A key short enough for a message.
pub(super) fn shorten(name: &str) -> &str {
    name.char_indices().nth(MAX_SHOWN_KEY).map_or(name, |(end, _)| &name[..end])
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_SHOWN_KEY
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
