//! Bytes of peers made harmless for a line.
//!
//! Envoy broke here twice: bytes that are not UTF-8 crashed the JSON formatter (CVE-2024-34363) and
//! a server name could write log lines of its own (CVE-2024-45808). So: control characters, quotes
//! and backslashes are escaped everywhere, and a byte that is not UTF-8 becomes the four characters
//! `\xNN`.

use super::MAX_VALUE;

/// Appends `value` as the inside of a JSON string (RFC 8259 §7).
pub fn json(value: &[u8], out: &mut Vec<u8>) {
    escape(value, out, &JSON, |byte, out| match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        // The backslash before `x` is escaped itself: readers of the string see `\xNN`.
        0x80.. => hex(b"\\\\x", byte, out),
        _ => hex(b"\\u00", byte, out),
    });
}

/// Appends `value` for a column in double quotes.
pub fn quoted(value: &[u8], out: &mut Vec<u8>) {
    escape(value, out, &JSON, text_escape);
}

/// Appends `value` for a column without quotes, which may not hold a space either.
pub fn bare(value: &[u8], out: &mut Vec<u8>) {
    escape(value, out, &BARE, text_escape);
}

fn text_escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        _ => hex(b"\\x", byte, out),
    }
}

fn hex(prefix: &[u8], byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(prefix);
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

/// Which bytes of an ASCII text have to be looked at.
type Special = [bool; 256];

const JSON: Special = special(false);
const BARE: Special = special(true);

const fn special(space: bool) -> Special {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20 || byte >= 0x7f || byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    table[b' ' as usize] = space;
    table
}

fn escape(value: &[u8], out: &mut Vec<u8>, special: &Special, replace: impl Fn(u8, &mut Vec<u8>)) {
    let value = &value[..value.len().min(MAX_VALUE)];
    // Nearly every value is clean: one pass, one copy.
    let Some(first) = value.iter().position(|&byte| special[usize::from(byte)]) else {
        out.extend_from_slice(value);
        return;
    };
    let (clean, rest) = value.split_at(first);
    out.extend_from_slice(clean);
    for chunk in rest.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            // Parts of a valid UTF-8 sequence go through.
            if byte < 0x80 && special[usize::from(byte)] {
                replace(byte, out);
            } else {
                out.push(byte);
            }
        }
        chunk.invalid().iter().for_each(|&byte| replace(byte, out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(write: fn(&[u8], &mut Vec<u8>), value: &[u8]) -> String {
        let mut out = Vec::new();
        write(value, &mut out);
        String::from_utf8(out).expect("always UTF-8")
    }

    #[test]
    fn each_kind_of_byte() {
        for (value, in_json, in_quotes, in_bare) in [
            (&b"plain/text?x=1"[..], "plain/text?x=1", "plain/text?x=1", "plain/text?x=1"),
            (b"a b", "a b", "a b", "a\\x20b"),
            (b"a\"b\\c", "a\\\"b\\\\c", "a\\\"b\\\\c", "a\\\"b\\\\c"),
            (b"a\r\n\tb", "a\\r\\n\\tb", "a\\x0d\\x0a\\x09b", "a\\x0d\\x0a\\x09b"),
            (b"\x00\x7f", "\\u0000\\u007f", "\\x00\\x7f", "\\x00\\x7f"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n", "gr\u{fc}n", "gr\u{fc}n"),
            (b"a\xff\xc3b", "a\\\\xff\\\\xc3b", "a\\xff\\xc3b", "a\\xff\\xc3b"),
        ] {
            assert_eq!(with(json, value), in_json);
            assert_eq!(with(quoted, value), in_quotes);
            assert_eq!(with(bare, value), in_bare);
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(with(json, &vec![b'a'; MAX_VALUE + 1]).len(), MAX_VALUE);
    }
}
