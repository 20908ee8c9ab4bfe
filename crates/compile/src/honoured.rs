//! Which fields have an effect: the source of the table users read, checked against the schema.

mod table;

use std::collections::HashMap;
use std::sync::LazyLock;

use portcullis_api::Kind;

use table::TABLES;

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honoured {
    /// It does what Istio's gateway does with it.
    Yes,
    /// It is accepted without effect yet; an object that has it earns a diagnostic.
    No,
    /// It has no effect at a gateway by Istio's own design, for the reason given.
    Ignored(&'static str),
}

/// Every field of every kind that is read, in the order of the schema. Paths are those of
/// [`portcullis_api::schema::fields`].
#[must_use]
pub fn honoured_fields() -> &'static [(Kind, &'static str, Honoured)] {
    static FIELDS: LazyLock<Vec<(Kind, &'static str, Honoured)>> = LazyLock::new(|| {
        let kinds = Kind::ALL.into_iter();
        kinds
            .flat_map(|kind| of_kind(kind).into_iter().map(move |(path, state)| (kind, path, state)))
            .collect()
    });
    &FIELDS
}

fn of_kind(kind: Kind) -> Vec<(&'static str, Honoured)> {
    let written = Written::of(kind);
    let fields = portcullis_api::schema::fields(kind).iter();
    // A test proves that every field is written down; one that were not has no effect for sure.
    fields.map(|field| (field.path.as_str(), written.state(&field.path).unwrap_or(Honoured::No))).collect()
}

/// The table of one kind, patterns written out.
struct Written {
    exact: HashMap<String, Honoured>,
    /// Fields that stand for everything below them, too.
    trees: HashMap<String, Honoured>,
}

impl Written {
    fn of(kind: Kind) -> Self {
        let mut written = Self { exact: HashMap::new(), trees: HashMap::new() };
        for table in TABLES.iter().filter(|table| table.kind == kind) {
            for pattern in table.paths {
                for path in expanded(pattern) {
                    match path.strip_suffix(".**") {
                        Some(root) => written.trees.insert(root.to_owned(), table.state),
                        None => written.exact.insert(path, table.state),
                    };
                }
            }
        }
        written
    }

    fn state(&self, path: &str) -> Option<Honoured> {
        if let Some(state) = self.exact.get(path) {
            return Some(*state);
        }
        let above = path.match_indices(['.', '[']).map(|(at, _)| &path[..at]);
        above.chain([path]).find_map(|root| self.trees.get(root).copied())
    }
}

/// A pattern with its `{a,b}` alternatives written out; they may not stand inside one another.
fn expanded(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else { return vec![pattern.to_owned()] };
    let Some((inside, after)) = rest.split_once('}') else { return vec![pattern.to_owned()] };
    let tails = expanded(after);
    let heads = inside.split(',').map(|alternative| format!("{before}{alternative}"));
    heads.flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn alternatives() {
        assert_eq!(expanded("a.{b,c}{,.d}"), ["a.b", "a.b.d", "a.c", "a.c.d"]);
        assert_eq!(expanded("a"), ["a"]);
    }

    #[test]
    fn every_field_of_the_schema_is_in_the_table() {
        for kind in Kind::ALL {
            let written = Written::of(kind);
            let fields = portcullis_api::schema::fields(kind).iter().map(|field| field.path.as_str());
            let missing: Vec<&str> = fields.filter(|path| written.state(path).is_none()).collect();
            assert!(missing.is_empty(), "{}: {missing:#?}", kind.name());
        }
    }

    #[test]
    fn every_entry_of_the_table_is_a_field_and_is_there_once() {
        for kind in Kind::ALL {
            let known: HashSet<&str> =
                portcullis_api::schema::fields(kind).iter().map(|field| field.path.as_str()).collect();
            let mut seen = HashSet::new();
            for table in TABLES.iter().filter(|table| table.kind == kind) {
                for path in table.paths.iter().flat_map(|pattern| expanded(pattern)) {
                    let root = path.strip_suffix(".**").unwrap_or(&path);
                    assert!(known.contains(root), "{} has no field {root}", kind.name());
                    assert!(seen.insert(root.to_owned()), "{} {root} is there twice", kind.name());
                    // What has an effect is named one by one, so that a new field does not slip in.
                    assert!(root == path || table.state != Honoured::Yes, "{} {path}", kind.name());
                }
            }
        }
    }
}
