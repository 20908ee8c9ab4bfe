//! An ordered list of header fields, as they travel.
//!
//! A flat list beats a hash map here: messages carry some ten to twenty fields, each is looked at a
//! few times, and their order is kept on the way through. Names are always lower case; how a peer wrote them can be
//! kept beside them.

use bytes::Bytes;

/// One field line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Lower-case field name (RFC 9110 §5.1); never a pseudo-header.
    pub name: Bytes,
    /// Field value without surrounding white space; may hold bytes above 0x7f (obs-text).
    pub value: Bytes,
}

/// The fields of one message, in order of arrival.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<Header>,
    /// Names as the peer wrote them. It outlives the fields: one that is set again is written so too.
    spellings: Option<Box<[Bytes]>>,
}

impl Headers {
    /// An empty list with room for `capacity` fields.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { fields: Vec::with_capacity(capacity), spellings: None }
    }

    /// Number of field lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.fields.iter()
    }

    /// First value of the field called `name` (lower case).
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&Bytes> {
        self.fields.iter().find(|field| field.name == name.as_bytes()).map(|field| &field.value)
    }

    /// First value as text, if it is UTF-8.
    #[must_use]
    pub fn first_str(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of the field called `name` (lower case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> + 'a {
        self.fields.iter().filter(move |field| field.name == name.as_bytes()).map(|field| &field.value)
    }

    /// Whether a field called `name` is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// All values of `name` joined with `,` (RFC 9110 §5.3), or `None` when absent.
    #[must_use]
    pub fn joined(&self, name: &str) -> Option<Bytes> {
        let mut values = self.all(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(first.clone()) };
        let mut joined = Vec::with_capacity(first.len() + second.len() + 16);
        joined.extend_from_slice(first);
        for value in std::iter::once(second).chain(values) {
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        Some(joined.into())
    }

    /// Adds a field line at the end. `name` must be lower case.
    pub fn append(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.fields.push(Header { name: name.into(), value: value.into() });
    }

    /// Replaces every line called `name` by one, at the place of the first, or appends it.
    pub fn set(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (name, value) = (name.into(), value.into());
        let Some(first) = self.fields.iter().position(|field| field.name == name) else {
            self.fields.push(Header { name, value });
            return;
        };
        self.fields[first].value = value;
        let mut index = 0;
        self.fields.retain(|field| {
            index += 1;
            index - 1 <= first || field.name != name
        });
    }

    /// Removes every line called `name`; tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.fields.len();
        self.fields.retain(|field| field.name != name.as_bytes());
        before != self.fields.len()
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&Header) -> bool) {
        self.fields.retain(keep);
    }

    /// Has names written as in `spellings` from now on, wherever case means something (HTTP/1).
    pub fn spell_as(&mut self, spellings: Vec<Bytes>) {
        self.spellings = (!spellings.is_empty()).then(|| spellings.into());
    }

    /// How `name` (lower case) is written: as in the first spelling of it, else as it is.
    #[must_use]
    pub fn spelled<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        let Some(spellings) = &self.spellings else { return name };
        spellings
            .iter()
            .find(|spelling| spelling.eq_ignore_ascii_case(name))
            .map_or(name, |spelling| spelling)
    }

    /// Forgets every field, keeping the memory.
    pub fn clear(&mut self) {
        self.fields.clear();
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;
    fn into_iter(self) -> Self::IntoIter {
        self.fields.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.append(*name, *value);
        }
        headers
    }

    #[test]
    fn set_replaces_all_lines_at_the_first_place() {
        let mut list = headers(&[("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")]);
        list.set("a", "x");
        assert_eq!(list, headers(&[("a", "x"), ("b", "2"), ("c", "4")]));
        list.set("d", "5");
        assert_eq!(list.first("d").map(|value| &value[..]), Some(&b"5"[..]));
    }

    #[test]
    fn values_join_in_order() {
        let list = headers(&[("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(list.joined("a").as_deref(), Some(&b"1,3"[..]));
        assert_eq!(list.joined("b").as_deref(), Some(&b"2"[..]));
        assert_eq!(list.joined("z"), None);
    }

    #[test]
    fn remove_tells_whether_something_was_there() {
        let mut list = headers(&[("a", "1"), ("a", "2")]);
        assert!(list.remove("a"));
        assert!(!list.remove("a"));
        assert!(list.is_empty());
    }
}
