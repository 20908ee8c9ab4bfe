//! The mesh settings inside Istio's ConfigMap: a YAML text in a YAML text.

use super::node::{Content, Node};
use super::object::read_mesh;
use super::parse::parse;
use super::path::Path;
use super::report::{Note, Report};
use super::split::Chunk;
use crate::meta::{Meta, Origin};
use crate::object::{Kind, Object};

/// The ConfigMap's name; a revision of the control plane appends `-` and its own.
const CONFIG_MAP: &str = "istio";

/// The ConfigMap's key.
const KEY: &str = "mesh";

/// The mesh settings as text, and how many lines come before it.
pub(super) struct MeshText {
    text: String,
    lines_before: u32,
}

/// The mesh settings of this object, if it is Istio's ConfigMap and has some.
pub(super) fn text_of(object: &Node, kind: &str) -> Option<MeshText> {
    if kind != Kind::ConfigMap.name() {
        return None;
    }
    let name = object.entry("metadata")?.entry("name")?.text()?;
    let revision = name.strip_prefix(CONFIG_MAP)?;
    if !revision.is_empty() && !revision.starts_with('-') {
        return None;
    }
    let (key, value) = object.entry("data")?.entries()?.iter().find(|(key, _)| key.name == KEY)?;
    // The lines of a block scalar follow the line of its key; in any other style the text starts where it stands.
    let lines_before = match value.content {
        Content::Block(_) => key.mark.line,
        _ => value.mark.line.saturating_sub(1),
    };
    Some(MeshText { text: value.text()?.to_owned(), lines_before })
}

impl MeshText {
    /// Reads the settings; they take name, namespace and age from the ConfigMap.
    pub(super) fn read(self, config_map: &Object, report: &mut Report) -> Option<Object> {
        let Object::ConfigMap(config_map) = config_map else { return None };
        let (data, origin) = (Path::ROOT.key("data"), &config_map.origin);
        let path = data.key(KEY);
        let chunk = Chunk { text: &self.text, lines_before: self.lines_before };
        let node = match parse(chunk).into_iter().next()? {
            Ok(node) if node.is_null() => return None,
            Ok(node) => node,
            Err(failure) => {
                report.add(Note {
                    code: failure.code,
                    mark: failure.mark,
                    field: path.render(),
                    message: failure.message,
                    remedy: "the mesh settings in it are not used".into(),
                });
                return None;
            }
        };
        let origin = Origin { line: node.mark.line, ..origin.clone() };
        read_mesh(node, &path, Meta::clone(&config_map.meta), origin, report)
    }
}
