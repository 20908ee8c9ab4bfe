//! The objects of one kind, sorted, in a form that copies cheaply and stays shared when a copy changes.
//!
//! The compiler, the judge and the status page each hold a state of the objects while the next one is made. With a tree,
//! the first change after a copy would copy all of it; here the entries stand in blocks, and a change copies the one that
//! it is in.

use std::cmp::Ordering;
use std::sync::Arc;

/// Most entries of a block: to copy one takes microseconds, and so does a list of the blocks of a hundred thousand.
const FULL: usize = 128;

/// Namespace and name.
pub(crate) type Key = (String, String);

type Entry<T> = (Key, Arc<T>);

/// An object as it was and as it is, as far as it was and is there.
pub(crate) type Pair<'t, T> = (Option<&'t Arc<T>>, Option<&'t Arc<T>>);

/// The objects of a kind by namespace and name.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// None is empty, and each is sorted.
    blocks: Arc<Vec<Arc<Vec<Entry<T>>>>>,
    len: usize,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { blocks: Arc::clone(&self.blocks), len: self.len }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { blocks: Arc::default(), len: 0 }
    }
}

/// Where an entry is, or belongs.
struct Place {
    block: usize,
    at: usize,
    found: bool,
}

impl<T> Table<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<T>> {
        self.get_key_value(key).map(|(_, object)| object)
    }

    pub(crate) fn get_key_value(&self, key: &Key) -> Option<(&Key, &Arc<T>)> {
        let Place { block, at, found } = self.place(key);
        let (key, object) = self.blocks.get(block)?.get(at).filter(|_| found)?;
        Some((key, object))
    }

    pub(crate) fn contains_key(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// The entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<T>)> {
        self.blocks.iter().flat_map(|block| block.iter()).map(|(key, object)| (key, object))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.iter().map(|(_, object)| object)
    }

    /// The entries of one namespace, in order.
    pub(crate) fn in_namespace<'t, 'n>(
        &'t self,
        namespace: &'n str,
    ) -> impl Iterator<Item = (&'t Key, &'t Arc<T>)> + use<'t, 'n, T> {
        let Place { block, at, .. } = self.place(&(namespace.to_owned(), String::new()));
        let blocks = self.blocks.get(block..).unwrap_or_default();
        let entries = blocks.iter().flat_map(|block| block.iter()).skip(at);
        entries.take_while(move |((held, _), _)| held == namespace).map(|(key, object)| (key, object))
    }

    /// Adds an object; gives back the one whose place it takes.
    pub(crate) fn insert(&mut self, key: Key, object: Arc<T>) -> Option<Arc<T>> {
        let Place { block, at, found } = self.place(&key);
        let blocks = Arc::make_mut(&mut self.blocks);
        if found {
            let entry = &mut Arc::make_mut(&mut blocks[block])[at];
            return Some(std::mem::replace(&mut entry.1, object));
        }
        self.len += 1;
        match blocks.get_mut(block) {
            None => blocks.push(Arc::new(vec![(key, object)])),
            Some(full) if full.len() >= FULL => split(blocks, block, at, (key, object)),
            Some(room) => Arc::make_mut(room).insert(at, (key, object)),
        }
        None
    }

    /// Takes an object out.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<T>> {
        let Place { block, at, .. } = Some(self.place(key)).filter(|place| place.found)?;
        let blocks = Arc::make_mut(&mut self.blocks);
        let (_, object) = Arc::make_mut(&mut blocks[block]).remove(at);
        if blocks[block].is_empty() {
            blocks.remove(block);
        }
        self.len -= 1;
        Some(object)
    }

    fn place(&self, key: &Key) -> Place {
        let after = self.blocks.partition_point(|block| block.first().is_some_and(|(first, _)| first <= key));
        let block = after.saturating_sub(1);
        let Some(entries) = self.blocks.get(block) else { return Place { block, at: 0, found: false } };
        match entries.binary_search_by(|(held, _)| held.cmp(key)) {
            Ok(at) => Place { block, at, found: true },
            Err(at) => Place { block, at, found: false },
        }
    }

    /// The entries that are not the same object in both, in order: as it was and as it is. What both share is not
    /// looked at.
    pub(crate) fn differences<'t>(&'t self, newer: &'t Self) -> Vec<Pair<'t, T>> {
        let (mut old, mut new) = (Walk::new(&self.blocks), Walk::new(&newer.blocks));
        let mut found = Vec::new();
        loop {
            while old.at_same_block(&new) {
                old.skip_block();
                new.skip_block();
            }
            let order = match (old.peek(), new.peek()) {
                (None, None) => return found,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((own, _)), Some((other, _))) => own.cmp(other),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            let same = matches!((before, after), (Some(one), Some(other)) if Arc::ptr_eq(one, other));
            if !same {
                found.push((before, after));
            }
        }
    }
}

/// Makes two blocks of a full one and one entry more. What is added at the end, as in a first reading, leaves full
/// blocks behind.
fn split<T>(blocks: &mut Vec<Arc<Vec<Entry<T>>>>, block: usize, at: usize, entry: Entry<T>) {
    let full = Arc::make_mut(&mut blocks[block]);
    let middle = if at == full.len() { at } else { full.len() / 2 };
    let mut back = full.split_off(middle);
    full.shrink_to_fit();
    if at <= middle && middle < FULL {
        full.insert(at, entry);
    } else {
        back.insert(at - middle, entry);
    }
    blocks.insert(block + 1, Arc::new(back));
}

/// A way along the entries that can leave out whole blocks.
struct Walk<'t, T> {
    blocks: &'t [Arc<Vec<Entry<T>>>],
    at: usize,
}

impl<'t, T> Walk<'t, T> {
    fn new(blocks: &'t [Arc<Vec<Entry<T>>>]) -> Self {
        Self { blocks, at: 0 }
    }

    fn at_same_block(&self, other: &Self) -> bool {
        let both = self.blocks.first().zip(other.blocks.first());
        self.at == 0 && other.at == 0 && both.is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }

    fn skip_block(&mut self) {
        (self.blocks, self.at) = (self.blocks.get(1..).unwrap_or_default(), 0);
    }

    fn peek(&self) -> Option<&'t Entry<T>> {
        self.blocks.first()?.get(self.at)
    }

    fn next(&mut self) -> Option<&'t Arc<T>> {
        let (_, object) = self.peek()?;
        self.at += 1;
        if self.blocks.first().is_some_and(|block| block.len() == self.at) {
            self.skip_block();
        }
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u16) -> Key {
        (format!("n{}", number % 3), format!("{number}"))
    }

    proptest! {
        #[test]
        fn it_is_what_a_tree_is(
            steps in proptest::collection::vec((0_u16..600, 0_u8..4, any::<bool>()), 0..900),
            copied in 0_usize..900,
        ) {
            let (mut table, mut tree) = (Table::default(), BTreeMap::new());
            let mut before = (table.clone(), tree.clone());
            for (at, (number, value, insert)) in steps.into_iter().enumerate() {
                if at == copied {
                    before = (table.clone(), tree.clone());
                }
                let key = key(number);
                if insert {
                    let value = Arc::new(value);
                    prop_assert_eq!(table.insert(key.clone(), Arc::clone(&value)), tree.insert(key, value));
                } else {
                    prop_assert_eq!(table.remove(&key), tree.remove(&key));
                }
            }
            prop_assert!(table.iter().eq(&tree) && before.0.iter().eq(&before.1));
            prop_assert_eq!(table.len(), tree.len());
            for number in 0..600 {
                prop_assert_eq!(table.get(&key(number)), tree.get(&key(number)));
            }
            let of_namespace = tree.iter().filter(|((namespace, _), _)| namespace == "n1");
            prop_assert!(table.in_namespace("n1").eq(of_namespace));
            let differences = before.0.differences(&table);
            let keys = before.1.keys().chain(tree.keys().filter(|key| !before.1.contains_key(*key)));
            let mut keys: Vec<&Key> = keys.collect();
            keys.sort();
            let pairs = keys.into_iter().map(|key| (before.1.get(key), tree.get(key)));
            let same = |(one, other): &Pair<'_, u8>| {
                matches!((one, other), (Some(one), Some(other)) if Arc::ptr_eq(one, other))
            };
            prop_assert_eq!(differences, pairs.filter(|pair| !same(pair)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_copy_shares_what_does_not_change() {
        let mut table = Table::default();
        for number in 0..10_000_u16 {
            table.insert((String::new(), format!("{number:05}")), Arc::new(number));
        }
        let copy = table.clone();
        table.insert((String::new(), "05000".to_owned()), Arc::new(0));
        let pairs = table.blocks.iter().zip(copy.blocks.iter());
        assert_eq!(pairs.filter(|(one, other)| !Arc::ptr_eq(one, other)).count(), 1);
        // What was read in order fills its blocks.
        assert_eq!(table.blocks.len(), 10_000_usize.div_ceil(FULL));
    }
}
