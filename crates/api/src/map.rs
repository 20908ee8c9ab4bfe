//! Maps from text, as resources have them: for labels, annotations, headers.
//!
//! There are tens of thousands of them and most hold an entry or two. A tree takes some 600 bytes for one; this is a
//! sorted list, which takes what its entries take.

use std::borrow::{Borrow, Cow};
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A map from text, sorted. It is made once and read often: adding an entry copies it.
#[derive(Clone, PartialEq, Eq)]
pub struct Map<V> {
    /// Sorted by key, each there once.
    entries: Box<[(String, V)]>,
}

impl<V> Map<V> {
    /// The value of a key.
    pub fn get<K: Borrow<str> + ?Sized>(&self, key: &K) -> Option<&V> {
        let key = key.borrow();
        let at = self.entries.binary_search_by(|(held, _)| held.as_str().cmp(key)).ok()?;
        Some(&self.entries[at].1)
    }

    /// Whether the key is there.
    pub fn contains_key<K: Borrow<str> + ?Sized>(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> Iter<'_, V> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Adds an entry, or replaces the one of its key.
    pub fn insert(&mut self, key: String, value: V) {
        self.extend([(key, value)]);
    }
}

/// The entries of a [`Map`].
pub type Iter<'m, V> =
    std::iter::Map<std::slice::Iter<'m, (String, V)>, fn(&'m (String, V)) -> (&'m String, &'m V)>;

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self { entries: Box::default() }
    }
}

impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

impl<V> FromIterator<(String, V)> for Map<V> {
    /// Of two entries with one key the later one counts.
    fn from_iter<I: IntoIterator<Item = (String, V)>>(entries: I) -> Self {
        let mut all: Vec<(String, V)> = entries.into_iter().collect();
        let sorted = all.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !sorted {
            all.reverse();
            // Stable: of equal keys the one that was last is first now, and stays.
            all.sort_by(|one, other| one.0.cmp(&other.0));
            all.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        Self { entries: all.into() }
    }
}

impl<V> Extend<(String, V)> for Map<V> {
    fn extend<I: IntoIterator<Item = (String, V)>>(&mut self, entries: I) {
        let held = std::mem::take(&mut self.entries);
        *self = held.into_iter().chain(entries).collect();
    }
}

impl<V, const N: usize> From<[(String, V); N]> for Map<V> {
    fn from(entries: [(String, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<V> IntoIterator for Map<V> {
    type Item = (String, V);
    type IntoIter = std::vec::IntoIter<(String, V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_vec().into_iter()
    }
}

impl<'m, V> IntoIterator for &'m Map<V> {
    type Item = (&'m String, &'m V);
    type IntoIter = Iter<'m, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(std::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> serde::de::Visitor<'de> for Entries<V> {
            type Value = Map<V>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Map<V>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<V: JsonSchema> JsonSchema for Map<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Map_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <std::collections::BTreeMap<String, V>>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_tree_is(
            entries in proptest::collection::vec(("[a-d]{0,2}", 0_u8..4), 0..8),
            more in proptest::collection::vec(("[a-d]{0,2}", 0_u8..4), 0..4),
        ) {
            let mut map: Map<u8> = entries.iter().cloned().collect();
            let mut tree: BTreeMap<String, u8> = entries.into_iter().collect();
            prop_assert!(map.iter().eq(&tree));
            map.extend(more.iter().cloned());
            tree.extend(more);
            prop_assert!(map.iter().eq(&tree));
            for key in ["", "a", "bb", "cd"] {
                prop_assert_eq!(map.get(key), tree.get(key));
            }
            prop_assert_eq!(format!("{map:?}"), format!("{tree:?}"));
            let text = serde_json::to_string(&map).expect("it is text");
            prop_assert_eq!(&text, &serde_json::to_string(&tree).expect("it is text"));
            prop_assert_eq!(serde_json::from_str::<Map<u8>>(&text).expect("as written"), map);
        }
    }
}
