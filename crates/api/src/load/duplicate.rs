//! Finds keys that a mapping has twice. YAML forbids it (1.2 §3.2.1.3), and which one was meant is anybody's guess.

use super::node::{Content, Key, Node};
use super::path::Path;
use super::report::{Note, Report};
use crate::finding::Code;

/// Reports every second key, anywhere below `node`.
pub(super) fn report_duplicates(node: &Node, path: &Path<'_>, report: &mut Report) {
    match &node.content {
        Content::Scalar(_) | Content::Block(_) => {}
        Content::List(items) => {
            for (index, item) in items.iter().enumerate() {
                report_duplicates(item, &path.index(index), report);
            }
        }
        Content::Map(entries) => {
            for key in repeated(entries) {
                report.add(Note {
                    code: Code::DuplicateKey,
                    mark: key.mark,
                    field: path.key(&key.name).render(),
                    message: "the field is written twice".into(),
                    remedy: "keep one of them".into(),
                });
            }
            for (key, value) in entries {
                report_duplicates(value, &path.key(&key.name), report);
            }
        }
    }
}

/// The keys that an earlier key equals.
fn repeated(entries: &[(Key, Node)]) -> impl Iterator<Item = &Key> {
    let mut keys: Vec<&Key> = entries.iter().map(|(key, _)| key).collect();
    // Stable, so that of equal keys the later one comes second.
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    (1..keys.len())
        .filter(|&at| keys[at].name == keys[at - 1].name)
        .map(|at| keys[at])
        .collect::<Vec<_>>()
        .into_iter()
}
