//! An ordered list of header fields, as they travel.
//!
//! A flat list beats a hash map here: messages carry some ten to twenty fields, each is looked at a
//! few times, and their order is kept on the way through. All names and values stand in one piece of memory, which a
//! parsed head is copied into at once and what is added is written behind, each field as the line that HTTP/1 makes of
//! it: a field is a few numbers, neither reading nor adding, replacing or dropping one counts references or asks the
//! allocator, and what goes on as it came is written in one piece.
//!
//! Names are always lower case; how a peer wrote them can be kept beside them.

use std::borrow::Cow;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use bytes::Bytes;

/// One field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Lower-case field name (RFC 9110 §5.1); never a pseudo-header.
    pub name: &'a [u8],
    /// Field value without surrounding white space; may hold bytes above 0x7f (obs-text).
    pub value: &'a [u8],
}

/// Where a field stands in the text of its list: start and end of its name and of its value, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Of the name, which is in lower case.
    pub name: (u32, u32),
    /// Of the value.
    pub value: (u32, u32),
}

/// The fields of one message, in order of arrival.
///
/// The text of fields that were replaced or removed stays until the list goes, which bounds a list to what a message
/// brings and a route adds. Past 4 GiB of it, nothing is taken any more.
#[derive(Clone, Default)]
pub struct Headers {
    text: Vec<u8>,
    places: Vec<Place>,
    /// A bit for each length that a name has or had, modulo 64: most questions are for what is not there.
    lengths: u64,
    /// Names as the peer wrote them. It outlives the fields: one that is set again is written so too.
    spellings: Option<Box<[Bytes]>>,
}

/// Room for the text of a field that has not been seen yet, in bytes.
const USUAL_FIELD: usize = 32;

impl Headers {
    /// An empty list with room for `capacity` fields.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let text = Vec::with_capacity(capacity * USUAL_FIELD);
        Self { text, places: Vec::with_capacity(capacity), lengths: 0, spellings: None }
    }

    /// The fields at `places` of `text`. A place outside of it is an empty text.
    #[must_use]
    pub fn over(text: Vec<u8>, places: Vec<Place>) -> Self {
        let lengths = places.iter().fold(0, |lengths, place| lengths | bit(place.name_len()));
        Self { text, places, lengths, spellings: None }
    }

    /// Number of field lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no field at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The fields in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { text: &self.text, places: self.places.iter() }
    }

    /// The fields in order, with values that outlive the list: all share one copy of it.
    pub fn shared(&self) -> impl Iterator<Item = (&[u8], Bytes)> {
        let text = Bytes::copy_from_slice(&self.text);
        self.places.iter().map(move |place| {
            let (start, end) = (place.value.0 as usize, place.value.1 as usize);
            let value = if start <= end && end <= text.len() { text.slice(start..end) } else { Bytes::new() };
            (at(&self.text, place.name), value)
        })
    }

    /// First value of the field called `name` (lower case).
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.find(name.as_bytes()).map(|place| at(&self.text, place.value))
    }

    /// Where the first value of the field called `name` (lower case) stands in the text that the list was made over.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        let place = self.find(name.as_bytes())?;
        Some(place.value.0 as usize..place.value.1 as usize)
    }

    /// First value as text, if it is UTF-8.
    #[must_use]
    pub fn first_str(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// First value, in memory of its own.
    #[must_use]
    pub fn first_owned(&self, name: &str) -> Option<Bytes> {
        self.first(name).map(Bytes::copy_from_slice)
    }

    /// Every value of the field called `name` (lower case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let places = if self.may_hold(name.len()) { &self.places[..] } else { &[] };
        let named = move |place: &&Place| place.is_named(&self.text, name.as_bytes());
        places.iter().filter(named).map(|place| at(&self.text, place.value))
    }

    /// Whether a field called `name` is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.find(name.as_bytes()).is_some()
    }

    /// All values of `name` joined with `,` (RFC 9110 §5.3), or `None` when absent.
    #[must_use]
    pub fn joined<'a>(&'a self, name: &'a str) -> Option<Cow<'a, [u8]>> {
        let mut values = self.all(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
        let mut joined = Vec::with_capacity(first.len() + second.len() + 16);
        joined.extend_from_slice(first);
        for value in std::iter::once(second).chain(values) {
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        Some(Cow::Owned(joined))
    }

    /// As [`joined`](Self::joined), in memory of its own.
    #[must_use]
    pub fn joined_owned(&self, name: &str) -> Option<Bytes> {
        self.joined(name).map(|values| values.into_owned().into())
    }

    /// Adds a field line at the end. `name` must be lower case.
    pub fn append(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        if let Some(place) = self.write(name.as_ref(), value.as_ref()) {
            self.places.push(place);
        }
    }

    /// Replaces every line called `name` by one, at the place of the first, or appends it.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let name = name.as_ref();
        let held = self.may_hold(name.len());
        let first = self.places.iter().position(|place| held && place.is_named(&self.text, name));
        let Some(first) = first else { return self.append(name, value) };
        let Some(place) = self.write(name, value.as_ref()) else { return };
        self.places[first] = place;
        let (mut index, text) = (0, &self.text);
        self.places.retain(|place| {
            index += 1;
            index - 1 <= first || !place.is_named(text, name)
        });
    }

    /// Removes every line called `name`; tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let (before, text) = (self.len(), &self.text);
        if self.may_hold(name.len()) {
            self.places.retain(|place| !place.is_named(text, name.as_bytes()));
        }
        before != self.len()
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Header<'_>) -> bool) {
        let text = &self.text;
        self.places.retain(|place| keep(read(text, place)));
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

    /// Bytes of all names and values, and of `beside` more for each field: what a line has besides, or a limit counts.
    #[must_use]
    pub fn size(&self, beside: usize) -> usize {
        self.iter().map(|field| field.name.len() + field.value.len() + beside).sum()
    }

    /// Bytes of the lines, those that have gone included: never less than [`lines`](Self::lines) gives.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The fields as lines of HTTP/1, in order, each ended by CRLF: in as few pieces as they stand in.
    pub fn lines(&self, mut put: impl FnMut(&[u8])) {
        let mut run = (0, 0);
        for place in &self.places {
            let line = place.line();
            if self.spellings.is_none() && place.is_line(&self.text) {
                if run.1 == line.0 {
                    run.1 = line.1;
                } else {
                    put(at(&self.text, std::mem::replace(&mut run, line)));
                }
                continue;
            }
            put(at(&self.text, std::mem::take(&mut run)));
            let Header { name, value } = read(&self.text, place);
            [self.spelled(name), b": ", value, b"\r\n"].into_iter().for_each(&mut put);
        }
        put(at(&self.text, run));
    }

    /// Whether a name of this length may be there.
    fn may_hold(&self, length: usize) -> bool {
        self.lengths & bit(length) != 0
    }

    fn find(&self, name: &[u8]) -> Option<&Place> {
        if !self.may_hold(name.len()) {
            return None;
        }
        self.places.iter().find(|place| place.is_named(&self.text, name))
    }

    /// Writes a line behind the text; `None` when that would be too long.
    fn write(&mut self, name: &[u8], value: &[u8]) -> Option<Place> {
        let start = u32::try_from(self.text.len()).ok()?;
        let colon = start.checked_add(u32::try_from(name.len()).ok()?)?;
        let value_start = colon.checked_add(2)?;
        let end = value_start.checked_add(u32::try_from(value.len()).ok()?)?;
        self.text.reserve(name.len() + value.len() + 4);
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(value);
        self.text.extend_from_slice(b"\r\n");
        self.lengths |= bit(name.len());
        Some(Place { name: (start, colon), value: (value_start, end) })
    }
}

impl Place {
    fn name_len(&self) -> usize {
        self.name.1.wrapping_sub(self.name.0) as usize
    }

    fn is_named(&self, text: &[u8], name: &[u8]) -> bool {
        self.name_len() == name.len() && at(text, self.name) == name
    }

    /// Start and end of the line, if it is one.
    fn line(&self) -> (u32, u32) {
        (self.name.0, self.value.1.saturating_add(2))
    }

    /// Whether name and value stand in the text as HTTP/1 writes them.
    fn is_line(&self, text: &[u8]) -> bool {
        self.value.0 == self.name.1.wrapping_add(2)
            && at(text, (self.name.1, self.value.0)) == b": "
            && at(text, (self.value.1, self.value.1.saturating_add(2))) == b"\r\n"
    }
}

fn bit(length: usize) -> u64 {
    1 << (length % 64)
}

#[inline]
fn at(text: &[u8], (start, end): (u32, u32)) -> &[u8] {
    text.get(start as usize..end as usize).unwrap_or_default()
}

#[inline]
fn read<'a>(text: &'a [u8], place: &Place) -> Header<'a> {
    Header { name: at(text, place.name), value: at(text, place.value) }
}

/// The fields of a list, in order.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    text: &'a [u8],
    places: std::slice::Iter<'a, Place>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Header<'a>> {
        self.places.next().map(|place| read(self.text, place))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Headers {
    type Item = Header<'a>;
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    /// Names must be lower case.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut headers = Self::default();
        fields.into_iter().for_each(|(name, value)| headers.append(name, value));
        headers
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other) && self.spellings == other.spellings
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.iter().map(|field| (field.name.escape_ascii(), field.value.escape_ascii()));
        out.debug_map().entries(fields.map(|(name, value)| (name.to_string(), value.to_string()))).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn set_replaces_all_lines_at_the_first_place() {
        let mut list = Headers::from_iter([("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")]);
        list.set("a", "x");
        assert_eq!(list, Headers::from_iter([("a", "x"), ("b", "2"), ("c", "4")]));
        list.set("d", "5");
        assert_eq!(list.first("d"), Some(&b"5"[..]));
    }

    #[test]
    fn lines_are_written_as_they_stand_or_made_anew() {
        let text = b"a: 1\r\nb:  2 \r\nc: 3\r\nd: 4\r\n".to_vec();
        let place = |name: u32, value: u32| Place { name: (name, name + 1), value: (value, value + 1) };
        let mut list = Headers::over(text, vec![place(0, 3), place(6, 10), place(14, 17), place(20, 23)]);
        let lines = |list: &Headers| {
            let (mut out, mut pieces) = (Vec::new(), 0);
            list.lines(|piece| {
                out.extend_from_slice(piece);
                pieces += usize::from(!piece.is_empty());
            });
            (String::from_utf8(out).expect("text"), pieces)
        };
        assert_eq!(lines(&list), ("a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n".to_owned(), 6));
        list.set("b", "x");
        list.append("e", "y");
        list.remove("d");
        assert_eq!(lines(&list), ("a: 1\r\nb: x\r\nc: 3\r\ne: y\r\n".to_owned(), 4));
        list.spell_as(vec!["C".into()]);
        assert_eq!(lines(&list).0, "a: 1\r\nb: x\r\nC: 3\r\ne: y\r\n");
    }

    proptest! {
        /// Whatever is done to it, a list is what a plain list of pairs would be.
        #[test]
        fn it_is_a_list_of_pairs(steps in proptest::collection::vec((0u8..4, 0usize..6, "[a-z]{0,4}"), 0..40)) {
            let names = ["a", "b", "cc", "dd", "host", "x-long-name"];
            let (mut list, mut pairs) = (Headers::default(), Vec::<(String, String)>::new());
            for (step, name, value) in steps {
                let name = names[name];
                match step {
                    0 => {
                        list.append(name, &value);
                        pairs.push((name.to_owned(), value));
                    }
                    1 => {
                        list.set(name, &value);
                        match pairs.iter().position(|pair| pair.0 == name) {
                            None => pairs.push((name.to_owned(), value)),
                            Some(first) => {
                                pairs[first].1 = value;
                                let kept = pairs.split_off(first + 1);
                                pairs.extend(kept.into_iter().filter(|pair| pair.0 != name));
                            }
                        }
                    }
                    2 => {
                        let there = pairs.iter().any(|pair| pair.0 == name);
                        prop_assert_eq!(list.remove(name), there);
                        pairs.retain(|pair| pair.0 != name);
                    }
                    _ => {
                        let mut values = pairs.iter().filter(|pair| pair.0 == name).map(|pair| pair.1.as_bytes());
                        prop_assert!(list.all(name).eq(values.clone()));
                        prop_assert_eq!(list.first(name), values.next());
                        prop_assert_eq!(list.contains(name), list.first(name).is_some());
                    }
                }
            }
            let expected: String = pairs.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let mut lines = Vec::new();
            list.lines(|piece| lines.extend_from_slice(piece));
            prop_assert_eq!(lines, expected.as_bytes());
            let shared: Vec<_> = list.shared().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let plain: Vec<_> = pairs.into_iter().map(|(n, v)| (n.into_bytes(), v.into_bytes())).collect();
            prop_assert_eq!(shared, plain);
        }
    }

    #[test]
    fn values_join_in_order() {
        let list = Headers::from_iter([("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(list.joined("a").as_deref(), Some(&b"1,3"[..]));
        assert_eq!(list.joined("b").as_deref(), Some(&b"2"[..]));
        assert_eq!(list.joined("z"), None);
    }

    #[test]
    fn remove_tells_whether_something_was_there() {
        let mut list = Headers::from_iter([("a", "1"), ("a", "2")]);
        assert!(list.remove("a"));
        assert!(!list.remove("a"));
        assert!(list.is_empty());
    }
}
