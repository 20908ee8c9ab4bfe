//! Queries as header values tell them.

use std::borrow::Cow;

/// The first value of a parameter whose name, decoded, is `name`; decoded, too.
pub(super) fn parameter<'a>(target: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    portcullis_snapshot::path::split(target).1?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*decoded(key) == *name.as_bytes()).then(|| decoded(value))
    })
}

/// `%41` as `A`. What no header may hold stays as it is written, and so does what is no escape.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, behind)) = rest.split_first() {
        let escaped = match (first, behind) {
            (b'%', [high, low, ..]) => escaped(*high, *low),
            _ => None,
        };
        let escaped = escaped.filter(|byte| !byte.is_ascii_control());
        out.push(escaped.unwrap_or(first));
        rest = &behind[if escaped.is_some() { 2 } else { 0 }..];
    }
    Cow::Owned(out)
}

/// The byte that two hexadecimal digits stand for.
fn escaped(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// A query decoded as far as Envoy does it here: what is printable ASCII and needs no escape in any URL. What looks like
/// an escape and is none loses its percent sign.
pub(super) fn printable(query: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let (b'%', [high, low, ..]) = (first, behind) else {
            out.push(first);
            continue;
        };
        let Some(byte) = escaped(*high, *low) else { continue };
        if byte.is_ascii_graphic() && !b"\"<>\\^{|}".contains(&byte) {
            out.push(byte);
            rest = &behind[2..];
        } else {
            out.push(first);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        for (query, expected) in [
            ("a=%41%20b", Some("A b")),
            ("a=x+y", Some("x+y")),
            ("a=%2B%26%3D", Some("+&=")),
            ("a=%zz", Some("%zz")),
            ("a=%4", Some("%4")),
            ("a=%0d%0ax%00", Some("%0d%0ax%00")),
            ("%61=1&a=2", Some("1")),
            ("a", Some("")),
            ("b=1", None),
        ] {
            let target = format!("/p?{query}");
            let value = parameter(&target, "a");
            assert_eq!(value.as_deref(), expected.map(str::as_bytes), "{query}");
        }
    }

    /// As recorded.
    #[test]
    fn what_is_printable_is_decoded() {
        for (query, expected) in [
            ("a=%41%20b&c=%26d", "a=A%20b&c=&d"),
            ("%0d%0a%00%7f%C3%A9", "%0d%0a%00%7f%C3%A9"),
            ("%21%22%23%24%25%26%27%2f", "!%22#$%&'/"),
            ("%3c%3d%3e%5b%5c%5d%5e%5f%60%7b%7c%7d%7e", "%3c=%3e[%5c]%5e_`%7b%7c%7d~"),
            ("%zz", "zz"),
            ("%%41", "A"),
            ("%%%", "%%"),
            ("a%4", "a%4"),
            ("%2541", "%41"),
            ("%4%41", "4A"),
        ] {
            assert_eq!(String::from_utf8_lossy(&printable(query)), expected, "{query}");
        }
    }
}
