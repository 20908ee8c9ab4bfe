//! Text to objects.
//!
//! YAML or JSON, one document or many, lists flattened. What cannot be read is left out and reported; the rest is
//! given out: a syntax error costs its document, a wrong type its object, an unknown field nothing but a warning.
//! Scalars mean what they mean to `kubectl` (booleans are also `yes`, `no`, `on`, `off`, `y` and `n`), so that a
//! file says here what it says in a cluster. The function never panics and never takes more time than its text is
//! long, within the bounds [`MAX_SOURCE_BYTES`], [`MAX_DEPTH`], [`MAX_EXPANSION`] and [`MAX_FINDINGS`].

mod conform;
mod duplicate;
mod identify;
mod mesh;
mod metadata;
mod node;
mod object;
mod parse;
mod path;
mod quick;
mod report;
mod route_test;
mod scalar;
mod split;
mod suggest;

use std::sync::Arc;

use serde_json::Value;

pub use parse::{MAX_DEPTH, MAX_EXPANSION};
pub use report::MAX_FINDINGS;
pub use route_test::route_tests;

use crate::finding::{Code, Finding};
use crate::meta::Origin;
use crate::object::Object;
use node::{Content, Mark, Node};
use report::{Note, Report};
use split::Chunk;

/// The longest text that is read, in bytes. Ten thousand VirtualServices in one file are a tenth of it.
pub const MAX_SOURCE_BYTES: usize = 64 << 20;

/// What a text holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The objects that could be read, in the order written.
    pub objects: Vec<Object>,
    /// What there is to say, in the order found.
    pub findings: Vec<Finding>,
}

/// Reads a text of YAML or JSON documents. `source` is what the text is called in findings and origins: a path.
pub fn load(source: &str, text: &str) -> Loaded {
    let mut loader = Loader::new(source.into());
    if text.len() > MAX_SOURCE_BYTES {
        loader.report.add(Note {
            code: Code::TooLarge,
            mark: Mark::default(),
            field: String::new(),
            message: format!("the text is {} bytes long, more than {MAX_SOURCE_BYTES}", text.len()),
            remedy: "spread it over several files".into(),
        });
        return loader.finish();
    }
    for chunk in split::split(text) {
        loader.chunk(chunk);
    }
    loader.finish()
}

/// Reads one object that is JSON already, as a watch of the API server gives it. Findings have no lines.
pub fn from_json_value(source: &str, value: Value) -> Loaded {
    let mut loader = Loader::new(source.into());
    loader.document(Node::from_value(value));
    loader.finish()
}

/// Which object it is, and nothing else: for kinds of which only the metadata are asked for.
pub fn identity_of(source: &str, value: Value) -> Option<Object> {
    let origin = Origin { source: source.into(), document: 0, line: 0 };
    object::identity(Node::from_value(value), origin, &Report::new(source.into()))
}

/// Reads a text that is a value and no object: that of an annotation.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    let mut documents = parse::parse(Chunk { text, lines_before: 0 });
    match (documents.pop(), documents.pop()) {
        (None, _) => Err("is empty".to_owned()),
        (Some(Ok(node)), None) => Ok(node.into_value()),
        (Some(Err(failure)), _) => Err(failure.message),
        (Some(Ok(_)), Some(_)) => Err("is more than one document".to_owned()),
    }
}

struct Loader {
    report: Report,
    objects: Vec<Object>,
    documents: u32,
}

impl Loader {
    fn new(source: Arc<str>) -> Self {
        Self { report: Report::new(source), objects: Vec::new(), documents: 0 }
    }

    fn finish(self) -> Loaded {
        Loaded { objects: self.objects, findings: self.report.finish() }
    }

    fn chunk(&mut self, chunk: Chunk<'_>) {
        for outcome in parse::parse(chunk) {
            match outcome {
                Ok(node) => self.document(node),
                Err(failure) => {
                    self.report.object = None;
                    self.documents += 1;
                    self.report.add(Note {
                        code: failure.code,
                        mark: failure.mark,
                        field: String::new(),
                        message: failure.message,
                        remedy: "nothing of this document is used".into(),
                    });
                }
            }
        }
    }

    /// One document: nothing, an object, or a list of objects.
    fn document(&mut self, node: Node) {
        let index = self.documents;
        self.documents += 1;
        if !node.is_null() {
            self.flatten(node, index);
        }
    }

    fn flatten(&mut self, mut node: Node, document: u32) {
        self.report.object = None;
        if route_test::is_one(&node) {
            return;
        }
        let Some(kind) = node.entry("kind").and_then(Node::text).map(str::to_owned) else {
            return self.no_object(&node);
        };
        if kind.ends_with("List") && node.entry("items").is_some_and(|items| items.list().is_some()) {
            return self.list(&mut node, &kind, document);
        }
        let mesh = mesh::text_of(&node, &kind);
        let Some(object) = object::read(node, document, &mut self.report) else { return };
        let mesh = mesh.and_then(|text| text.read(&object, &mut self.report));
        self.objects.push(object);
        self.objects.extend(mesh);
    }

    /// The items of a list. Those of a typed list (`VirtualServiceList`) may leave out what the list says already.
    fn list(&mut self, node: &mut Node, kind: &str, document: u32) {
        let api_version = node.entry("apiVersion").and_then(Node::text).unwrap_or_default().to_owned();
        let item_kind = kind.strip_suffix("List").unwrap_or_default();
        let Some((_, Node { content: Content::List(items), .. })) = node.take("items") else { return };
        for mut item in items {
            if !item_kind.is_empty() {
                item.put_default("kind", item_kind);
                item.put_default("apiVersion", &api_version);
            }
            self.flatten(item, document);
        }
    }

    fn no_object(&mut self, node: &Node) {
        let (message, remedy) = match &node.content {
            Content::Map(_) => ("the mapping has no kind", "an object needs apiVersion, kind and metadata"),
            _ => ("this is no object", "a document must be a mapping with apiVersion, kind and metadata"),
        };
        self.report.add(Note {
            code: Code::NotAnObject,
            mark: node.mark,
            field: String::new(),
            message: format!("{message}: found {}", node.describe()),
            remedy: remedy.into(),
        });
    }
}

#[cfg(test)]
mod tests;
