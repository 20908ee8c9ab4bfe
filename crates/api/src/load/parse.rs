//! YAML text to trees: the parser's events are gathered into nodes, with anchors, merge keys and bounds.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::Value;

use super::node::{Content, Key, Mark, Node};
use super::quick;
use super::scalar;
use super::split::Chunk;
use crate::finding::Code;

/// The deepest nesting of lists and mappings. Istio's own resources need less than 20.
pub const MAX_DEPTH: usize = 64;

/// What aliases and merge keys may add to one document, in nodes plus bytes of text. A chart that repeats itself
/// needs thousands; the "billion laughs" need billions.
pub const MAX_EXPANSION: usize = 4 << 20;

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) mark: Mark,
    pub(super) message: String,
}

/// The documents of a chunk that could be read, each with its failure or tree. After a failure nothing more comes.
pub(super) fn parse(chunk: Chunk<'_>) -> Vec<Result<Node, Failure>> {
    match quick::read(chunk) {
        Some(node) => vec![Ok(node)],
        None => parse_all(chunk),
    }
}

/// The same by the parser of all of YAML.
pub(super) fn parse_all(chunk: Chunk<'_>) -> Vec<Result<Node, Failure>> {
    let mut builder = Builder { lines_before: chunk.lines_before, ..Builder::default() };
    for item in Parser::new_from_str(chunk.text) {
        let outcome = match item {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(syntax(builder.mark(*error.marker()), error.info())),
        };
        if let Err(failure) = outcome {
            builder.done.push(Err(failure));
            break;
        }
    }
    builder.done
}

#[derive(Default)]
struct Builder {
    lines_before: u32,
    open: Vec<Frame>,
    anchors: HashMap<usize, Rc<Node>>,
    expansion: usize,
    done: Vec<Result<Node, Failure>>,
}

/// A list or mapping that has begun and not ended.
struct Frame {
    mark: Mark,
    anchor: usize,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, pending: Pending, merges: Vec<Node> },
}

/// What the next node of a mapping is.
enum Pending {
    Key,
    ValueOf(Key),
    /// What stands behind a merge key `<<`.
    Merge,
}

type Outcome = Result<(), Failure>;

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Outcome {
        let mark = self.mark(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.begins_merge(&text, style, tag.is_some()) {
                    return Ok(());
                }
                let content = meaning(text.into_owned(), style, tag.as_deref(), mark)?;
                self.finish(Node { mark, content }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                self.begin(Frame { mark, anchor, body: Body::List(Vec::new()) })
            }
            Event::MappingStart(anchor, _) => {
                let body = Body::Map { entries: Vec::new(), pending: Pending::Key, merges: Vec::new() };
                self.begin(Frame { mark, anchor, body })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, mark),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.expansion = 0;
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    /// Whether this scalar is a merge key; only an unquoted `<<` in the place of a key is.
    fn begins_merge(&mut self, text: &str, style: ScalarStyle, tagged: bool) -> bool {
        match self.open.last_mut() {
            Some(Frame { body: Body::Map { pending: pending @ Pending::Key, .. }, .. })
                if text == "<<" && style == ScalarStyle::Plain && !tagged =>
            {
                *pending = Pending::Merge;
                true
            }
            _ => false,
        }
    }

    fn begin(&mut self, frame: Frame) -> Outcome {
        if let Some(Frame { body: Body::Map { pending: Pending::Key, .. }, .. }) = self.open.last() {
            return Err(syntax(frame.mark, "a list or mapping cannot be a key"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(too_large(
                frame.mark,
                format!("lists and mappings are nested deeper than {MAX_DEPTH}"),
            ));
        }
        self.open.push(frame);
        Ok(())
    }

    fn end(&mut self) -> Outcome {
        let Some(Frame { mark, anchor, body }) = self.open.pop() else { return Ok(()) };
        let content = match body {
            Body::List(items) => Content::List(items),
            Body::Map { entries, merges, .. } if merges.is_empty() => Content::Map(entries),
            Body::Map { entries, merges, .. } => Content::Map(merge(entries, merges)?),
        };
        self.finish(Node { mark, content }, anchor)
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Outcome {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(syntax(mark, "the alias stands inside what it refers to"));
        };
        self.spend(&node, mark)?;
        self.add(Node::clone(&node))
    }

    /// Takes a complete node, keeping a copy of an anchored one for later aliases.
    fn finish(&mut self, node: Node, anchor: usize) -> Outcome {
        if anchor > 0 {
            self.spend(&node, node.mark)?;
            self.anchors.insert(anchor, Rc::new(node.clone()));
        }
        self.add(node)
    }

    fn spend(&mut self, node: &Node, mark: Mark) -> Outcome {
        self.expansion = self.expansion.saturating_add(cost(node));
        if self.expansion > MAX_EXPANSION {
            return Err(too_large(mark, format!("anchors and aliases expand beyond {MAX_EXPANSION}")));
        }
        Ok(())
    }

    /// Puts a complete node where it belongs: into the open list, the open mapping, or among the documents.
    fn add(&mut self, node: Node) -> Outcome {
        match self.open.last_mut().map(|frame| &mut frame.body) {
            None => self.done.push(Ok(node)),
            Some(Body::List(items)) => items.push(node),
            Some(Body::Map { entries, pending, merges }) => {
                *pending = match std::mem::replace(pending, Pending::Key) {
                    Pending::Key => Pending::ValueOf(key(node)?),
                    Pending::ValueOf(key) => {
                        entries.push((key, node));
                        Pending::Key
                    }
                    Pending::Merge => {
                        merges.push(node);
                        Pending::Key
                    }
                };
            }
        }
        Ok(())
    }

    fn mark(&self, marker: Marker) -> Mark {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Mark { line: small(marker.line()).saturating_add(self.lines_before), column: small(marker.col() + 1) }
    }
}

/// What a scalar's text means, by its style and tag.
fn meaning(text: String, style: ScalarStyle, tag: Option<&Tag>, mark: Mark) -> Result<Content, Failure> {
    let value = match (style, tag) {
        (ScalarStyle::Literal | ScalarStyle::Folded, None) => return Ok(Content::Block(text)),
        (ScalarStyle::Plain, None) => scalar::plain(&text)
            .ok_or_else(|| syntax(mark, "infinity and not-a-number cannot be written in JSON"))?,
        (_, Some(tag)) if tag.is_yaml_core_schema() => scalar::tagged(&tag.suffix, &text)
            .ok_or_else(|| syntax(mark, &format!("the value is not of its tag's type !!{}", tag.suffix)))?,
        _ => Value::String(text),
    };
    Ok(Content::Scalar(value))
}

/// A key as JSON has it: text. Numbers and booleans are written out, as `kubectl` does.
pub(super) fn key(node: Node) -> Result<Key, Failure> {
    let name = match node.content {
        Content::Scalar(Value::String(text)) | Content::Block(text) => text,
        Content::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => return Err(syntax(node.mark, "a key must be text")),
    };
    Ok(Key { mark: node.mark, name })
}

/// Adds what merge keys bring: an entry written out wins, then the earlier of the merged mappings.
fn merge(mut entries: Vec<(Key, Node)>, merges: Vec<Node>) -> Result<Vec<(Key, Node)>, Failure> {
    let mut names: HashSet<String> = entries.iter().map(|(key, _)| key.name.clone()).collect();
    let sources = merges.into_iter().flat_map(|node| match node.content {
        Content::List(items) => items,
        _ => vec![node],
    });
    for source in sources {
        let Content::Map(merged) = source.content else {
            return Err(syntax(source.mark, "only mappings can be merged by <<"));
        };
        entries.extend(merged.into_iter().filter(|(key, _)| names.insert(key.name.clone())));
    }
    Ok(entries)
}

/// What a copy of a node costs, in nodes and bytes of text.
fn cost(node: &Node) -> usize {
    1 + match &node.content {
        Content::Scalar(Value::String(text)) | Content::Block(text) => text.len(),
        Content::Scalar(_) => 0,
        Content::List(items) => items.iter().map(cost).sum(),
        Content::Map(entries) => entries.iter().map(|(key, value)| key.name.len() + cost(value)).sum(),
    }
}

fn syntax(mark: Mark, message: &str) -> Failure {
    Failure { code: Code::SyntaxError, mark, message: message.to_owned() }
}

fn too_large(mark: Mark, message: String) -> Failure {
    Failure { code: Code::TooLarge, mark, message }
}

#[cfg(test)]
mod tests;
