//! A radix trie from byte prefixes to lists of route ordinals.

use smallvec::SmallVec;

/// Ordinals kept at one place of the index, ascending.
pub type Ordinals = SmallVec<[u32; 4]>;

/// Finds every stored prefix of a path in one walk along the path.
#[derive(Debug, Clone, Default)]
pub struct PrefixTrie {
    root: Node,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Bytes on the edge that leads here.
    label: Box<[u8]>,
    /// Sorted by the first byte of their label; no two share it.
    children: Vec<Node>,
    ordinals: Ordinals,
}

impl PrefixTrie {
    /// Stores `ordinal` under `prefix`. Ordinals must come in ascending order.
    pub fn insert(&mut self, prefix: &[u8], ordinal: u32) {
        self.root.insert(prefix, ordinal);
    }

    /// Calls `visit` with the ordinals of each stored prefix of `path`, shortest prefix first.
    pub fn visit<'a>(&'a self, path: &[u8], mut visit: impl FnMut(&'a Ordinals)) {
        let mut node = &self.root;
        let mut rest = path;
        loop {
            if !node.ordinals.is_empty() {
                visit(&node.ordinals);
            }
            let Some(&byte) = rest.first() else { return };
            let Ok(child) = node.children.binary_search_by_key(&byte, |child| child.label[0]) else { return };
            node = &node.children[child];
            let Some(after) = rest.strip_prefix(&*node.label) else { return };
            rest = after;
        }
    }
}

impl Node {
    fn insert(&mut self, rest: &[u8], ordinal: u32) {
        let Some(&byte) = rest.first() else {
            self.ordinals.push(ordinal);
            return;
        };
        match self.children.binary_search_by_key(&byte, |child| child.label[0]) {
            Err(place) => {
                let leaf = Node {
                    label: rest.into(),
                    children: Vec::new(),
                    ordinals: Ordinals::from_slice(&[ordinal]),
                };
                self.children.insert(place, leaf);
            }
            Ok(place) => {
                let child = &mut self.children[place];
                let shared = child.label.iter().zip(rest).take_while(|(left, right)| left == right).count();
                if shared < child.label.len() {
                    child.split(shared);
                }
                child.insert(&rest[shared..], ordinal);
            }
        }
    }

    /// Cuts the edge after `at` bytes: this node keeps the front, a new child takes the back.
    fn split(&mut self, at: usize) {
        let back = Node {
            label: self.label[at..].into(),
            children: std::mem::take(&mut self.children),
            ordinals: std::mem::take(&mut self.ordinals),
        };
        self.label = self.label[..at].into();
        self.children = vec![back];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(trie: &PrefixTrie, path: &str) -> Vec<u32> {
        let mut all = Vec::new();
        trie.visit(path.as_bytes(), |ordinals| all.extend_from_slice(ordinals));
        all.sort_unstable();
        all
    }

    #[test]
    fn empty_prefix_matches_everything() {
        let mut trie = PrefixTrie::default();
        trie.insert(b"", 0);
        trie.insert(b"/a", 1);
        assert_eq!(found(&trie, ""), [0]);
        assert_eq!(found(&trie, "/ab"), [0, 1]);
    }

    proptest! {
        #[test]
        fn finds_what_a_list_walk_finds(
            prefixes in proptest::collection::vec("[/ab]{0,6}", 0..40),
            path in "[/ab]{0,10}",
        ) {
            let mut trie = PrefixTrie::default();
            for (ordinal, prefix) in prefixes.iter().enumerate() {
                trie.insert(prefix.as_bytes(), ordinal as u32);
            }
            let naive: Vec<u32> = (0u32..).zip(&prefixes).filter(|(_, prefix)| path.starts_with(prefix.as_str()))
                .map(|(ordinal, _)| ordinal).collect();
            prop_assert_eq!(found(&trie, &path), naive);
        }
    }
}
