//! Path normalisation: one canonical form that routing, policies and the upstream all see.
//!
//! What `BASE` does follows the behaviour recorded from Istio's gateway: dot segments are resolved
//! (also written `%2e`), `\` is read as `/`, escaped unreserved characters are decoded, and
//! characters that RFC 3986 §3.3 does not allow in a path are escaped. `%2F` and `%5C` stay.

use std::borrow::Cow;

use crate::settings::{EscapedSlashes, PathNormalization, Settings};

/// Why a path has no normal form; the request is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// It does not start with `/`.
    NotAbsolute,
    /// It holds an escaped NUL, which no path may carry.
    EscapedNul,
    /// It holds a byte outside printable ASCII.
    BadByte,
    /// It holds an escaped slash or backslash, and none is taken.
    EscapedSlash,
}

/// A path as the settings want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared<'p> {
    /// To be routed by.
    Path(Cow<'p, str>),
    /// To send the client to.
    Redirect(Cow<'p, str>),
}

/// What `settings` make of `path` (no query, no fragment): escaped slashes first, then the normal form, as in Envoy.
///
/// # Errors
/// See [`PathError`].
pub fn prepare<'p>(path: &'p str, settings: &Settings) -> Result<Prepared<'p>, PathError> {
    let rule = settings.escaped_slashes;
    let escaped = rule != EscapedSlashes::Keep && has_escaped_slash(path);
    if escaped && rule == EscapedSlashes::Reject {
        return Err(PathError::EscapedSlash);
    }
    let mut plain = if escaped { decode_slashes(path) } else { Cow::Borrowed(path) };
    if settings.merge_slashes_alone && plain.contains("//") {
        plain = Cow::Owned(merge_slashes(&plain).into_owned());
    }
    let level = settings.path_normalization;
    let normal = match plain {
        Cow::Borrowed(plain) => normalize(plain, level)?,
        Cow::Owned(plain) => Cow::Owned(normalize(&plain, level)?.into_owned()),
    };
    let redirects = escaped && rule == EscapedSlashes::Redirect;
    Ok(if redirects { Prepared::Redirect(normal) } else { Prepared::Path(normal) })
}

/// Splits a request target in origin form into path and query; a fragment is dropped.
#[must_use]
pub fn split(target: &str) -> (&str, Option<&str>) {
    let target = match memchr::memchr(b'#', target.as_bytes()) {
        Some(hash) => &target[..hash],
        None => target,
    };
    match memchr::memchr(b'?', target.as_bytes()) {
        Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
        None => (target, None),
    }
}

/// The normal form of `path` (no query, no fragment) at the given level.
///
/// # Errors
/// See [`PathError`]. At [`PathNormalization::None`] only the first byte is checked.
pub fn normalize(path: &str, level: PathNormalization) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if level == PathNormalization::None || is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let path = match level {
        PathNormalization::DecodeAndMergeSlashes => decode_slashes(path),
        _ => Cow::Borrowed(path),
    };
    let mut normal = canonical(path.as_bytes())?;
    if level >= PathNormalization::MergeSlashes {
        let several = normal.len() > 1;
        normal.dedup_by(|next, kept| *next == b'/' && *kept == b'/');
        if several && normal == b"/" {
            // As `merge_slashes` says.
            normal.push(b'/');
        }
    }
    String::from_utf8(normal).map(Cow::Owned).map_err(|_| PathError::BadByte)
}

/// Whether `path` has an escaped slash or backslash in it.
fn has_escaped_slash(path: &str) -> bool {
    let bytes = path.as_bytes();
    memchr::memchr_iter(b'%', bytes)
        .any(|at| matches!(bytes.get(at + 1..at + 3), Some([b'2', b'f' | b'F'] | [b'5', b'c' | b'C'])))
}

/// `path` with neighbouring slashes made one, and nothing else done to it. As in Envoy, which puts the first and the
/// last slash around what stands between them, of nothing but slashes two remain.
fn merge_slashes(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut merged = path.to_owned();
    while merged.contains("//") {
        merged = merged.replace("//", "/");
    }
    if merged == "/" {
        merged.push('/');
    }
    Cow::Owned(merged)
}

/// `path` with escaped slashes and backslashes written out.
fn decode_slashes(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut out = path.to_owned();
    for (escaped, plain) in [("%2f", "/"), ("%2F", "/"), ("%5c", "\\"), ("%5C", "\\")] {
        out = out.replace(escaped, plain);
    }
    Cow::Owned(out)
}

/// Whether this character never stands in a normalised path as itself: `Base` and the levels above it read it as
/// another one, escape it, or refuse the path.
#[must_use]
pub fn is_changed_by_normalization(letter: char) -> bool {
    match u8::try_from(letter) {
        // A stray percent sign stays.
        Ok(b'%') => false,
        Ok(byte) => byte == b'\\' || class(byte) == Class::Escape,
        Err(_) => true,
    }
}

/// Whether the path has nothing in it that any level would change: the common case, one pass.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|&byte| {
        let after_slash = previous == b'/';
        previous = byte;
        match byte {
            b'.' | b'/' => !after_slash,
            b'%' => false,
            _ => class(byte) != Class::Escape,
        }
    })
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Class {
    /// Stays as it is; its escaped form stays escaped.
    Keep,
    /// Stays as it is; its escaped form is decoded.
    Decode,
    /// Is escaped; its escaped form stays.
    Escape,
}

fn class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => Class::Decode,
        b'!' | b'$' | b'&'..=b',' | b'/' | b':' | b';' | b'=' | b'@' | b'[' | b']' => Class::Keep,
        _ => Class::Escape,
    }
}

fn canonical(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len() + 8);
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        if matches!(byte, b'/' | b'\\') {
            out.push(b'/');
            rest = tail;
            while let Some((segment, after)) = dot_segment(rest) {
                if segment == Dots::Two {
                    pop_segment(&mut out);
                }
                rest = after;
            }
            continue;
        }
        let (escaped, after) = match unescape(rest) {
            Some((value, after)) => (Some(value), after),
            None => (None, tail),
        };
        match escaped {
            Some(0) => return Err(PathError::EscapedNul),
            Some(value) if class(value) == Class::Decode => out.push(value),
            Some(_) => out.extend_from_slice(&rest[..3]),
            None if byte == b'%' => out.push(b'%'),
            None if !(0x20..0x7f).contains(&byte) => return Err(PathError::BadByte),
            None if class(byte) == Class::Escape => escape(byte, &mut out),
            None => out.push(byte),
        }
        rest = after;
    }
    Ok(out)
}

#[derive(PartialEq, Eq)]
enum Dots {
    One,
    Two,
}

/// Reads `.` or `..` (each dot plain or `%2e`) up to and including the slash that ends it.
fn dot_segment(rest: &[u8]) -> Option<(Dots, &[u8])> {
    let first = dot(rest)?;
    let (dots, after) = match dot(first) {
        Some(second) => (Dots::Two, second),
        None => (Dots::One, first),
    };
    match after.first() {
        None => Some((dots, after)),
        Some(b'/' | b'\\') => Some((dots, &after[1..])),
        Some(_) => None,
    }
}

fn dot(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'.', tail @ ..] | [b'%', b'2', b'e' | b'E', tail @ ..] => Some(tail),
        _ => None,
    }
}

/// Removes the last segment of `out`, which ends in `/`, and leaves the slash before it.
fn pop_segment(out: &mut Vec<u8>) {
    out.pop();
    let keep = memchr::memrchr(b'/', out).map_or(0, |slash| slash + 1);
    out.truncate(keep);
    if out.is_empty() {
        out.push(b'/');
    }
}

fn unescape(rest: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, tail @ ..] = rest else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let value = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    Some((value, tail))
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escaped_slashes_by_setting() {
        let with = |escaped_slashes, path_normalization, merge_slashes_alone| Settings {
            escaped_slashes,
            path_normalization,
            merge_slashes_alone,
            ..Settings::default()
        };
        let (base, none) = (PathNormalization::Base, PathNormalization::None);
        let routed = |path: &'static str| Ok(Prepared::Path(path.into()));
        for (settings, expected) in [
            (with(EscapedSlashes::Keep, base, false), routed("/a%2F..//b")),
            (with(EscapedSlashes::Decode, base, false), routed("//b")),
            (with(EscapedSlashes::Decode, none, true), routed("/a/../b")),
            (with(EscapedSlashes::Redirect, base, false), Ok(Prepared::Redirect("//b".into()))),
            (with(EscapedSlashes::Reject, base, false), Err(PathError::EscapedSlash)),
        ] {
            assert_eq!(prepare("/a%2F..//b", &settings), expected, "{settings:?}");
            assert_eq!(prepare("/a", &settings), routed("/a"));
        }
    }

    #[test]
    fn slashes_by_themselves() {
        for (path, escaped, decoded) in
            [("/a%2Fb%5c", true, "/a/b\\"), ("/a%2", false, "/a%2"), ("/a%2e", false, "/a%2e")]
        {
            assert_eq!(has_escaped_slash(path), escaped, "{path}");
            assert_eq!(decode_slashes(path), decoded);
        }
        assert_eq!(merge_slashes("//a///b/%2F"), "/a/b/%2F");
        assert_eq!([merge_slashes("///"), merge_slashes("//"), merge_slashes("/")], ["//", "//", "/"]);
    }

    #[test]
    fn base_is_what_the_reference_does() {
        for (path, expected) in [
            ("/admin/x", "/admin/x"),
            ("//admin", "//admin"),
            ("/a//b", "/a//b"),
            ("/a/./b", "/a/b"),
            ("/a/../admin", "/admin"),
            ("/../admin", "/admin"),
            ("/a/b/../../admin/c", "/admin/c"),
            ("/%2e%2e/admin", "/admin"),
            ("/a/.%2E/admin", "/admin"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2f..%2fadmin", "/a%2f..%2fadmin"),
            ("/x%2f../admin", "/x%2f../admin"),
            ("/a\\..\\admin", "/admin"),
            ("/a%5C..%5Cadmin", "/a%5C..%5Cadmin"),
            ("/%61dmin", "/admin"),
            ("/a%3A%3a", "/a%3A%3a"),
            ("/a%20b", "/a%20b"),
            ("/a%25b", "/a%25b"),
            ("/%252e%252e/admin", "/%252e%252e/admin"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/..", "/"),
            ("/.../a", "/.../a"),
            ("/a;/../admin", "/admin"),
            ("/~user", "/~user"),
            ("/%7Euser", "/~user"),
            ("/a%zz", "/a%zz"),
            ("/a%2", "/a%2"),
            ("/a|b", "/a%7Cb"),
            ("/a\"b", "/a%22b"),
            ("/a<b>", "/a%3Cb%3E"),
            ("/a{b}", "/a%7Bb%7D"),
            ("/a^b`", "/a%5Eb%60"),
            ("/", "/"),
        ] {
            assert_eq!(normalize(path, PathNormalization::Base).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn refused() {
        for (path, error) in [
            ("*", PathError::NotAbsolute),
            ("\\admin", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
            ("/a%00b", PathError::EscapedNul),
            ("/caf\u{e9}", PathError::BadByte),
        ] {
            assert_eq!(normalize(path, PathNormalization::Base), Err(error), "{path}");
        }
    }

    #[test]
    fn levels_add_up() {
        use PathNormalization::{DecodeAndMergeSlashes, MergeSlashes, None};
        for (path, level, expected) in [
            ("/a/../b", None, "/a/../b"),
            ("/a///b", MergeSlashes, "/a/b"),
            ("//admin", MergeSlashes, "/admin"),
            ("//", MergeSlashes, "//"),
            ("/%2F/", DecodeAndMergeSlashes, "//"),
            ("/a/..", MergeSlashes, "/"),
            ("/a%2Fb", MergeSlashes, "/a%2Fb"),
            ("/a%2f..%2Fadmin", DecodeAndMergeSlashes, "/admin"),
            ("/a%5cadmin", DecodeAndMergeSlashes, "/a/admin"),
        ] {
            assert_eq!(normalize(path, level).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn target_is_cut() {
        assert_eq!(split("/a?b?c#d"), ("/a", Some("b?c")));
        assert_eq!(split("/a#/../admin?x"), ("/a", None));
        assert_eq!(split("/a?"), ("/a", Some("")));
    }

    proptest! {
        #[test]
        fn normal_form_is_stable(path in "/([a-c./%\\\\25eEfF{|]{0,24})") {
            for level in [PathNormalization::Base, PathNormalization::MergeSlashes] {
                if let Ok(once) = normalize(&path, level) {
                    prop_assert!(once.starts_with('/'));
                    let twice = normalize(&once, level);
                    // Decoding `%2%65` style leftovers may need a second pass; a dot segment may not survive one.
                    prop_assert!(twice.is_ok());
                    prop_assert!(!once.split('/').any(|segment| segment == "." || segment == ".."), "{once}");
                }
            }
        }
    }
}
