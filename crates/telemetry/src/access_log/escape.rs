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
    if !special[usize::from(b' ')] && is_plain(value) {
        out.extend_from_slice(value);
        return;
    }
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

/// Whether no byte has to be looked at for [`JSON`]; eight bytes in one step.
fn is_plain(value: &[u8]) -> bool {
    let Some(last) = value.last_chunk() else {
        return value.iter().all(|&byte| !JSON[usize::from(byte)]);
    };
    let (words, _) = value.as_chunks();
    // The last word may overlap the one before it.
    words.iter().chain([last]).fold(0, |found, word| found | specials(u64::from_le_bytes(*word))) == 0
}

/// Not 0 if a byte of `word` is below 0x20, above 0x7e, a quote or a backslash: the highest bit of each byte in
/// which the subtraction had to borrow (Hacker's Delight §6-1).
fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES * 0x80;
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (word | below(word, 0x20) | equal(b'"') | equal(b'\\') | equal(0x7f)) & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_is_what_has_no_special_byte(value in proptest::collection::vec(0x1eu8..0x84, 0..40)) {
            prop_assert_eq!(is_plain(&value), value.iter().all(|&byte| !JSON[usize::from(byte)]));
        }
    }

    #[test]
    fn each_byte_in_each_place() {
        for byte in 0..=255 {
            for place in 0..11 {
                let mut value = *b"plain text.";
                value[place] = byte;
                assert_eq!(is_plain(&value), !JSON[usize::from(byte)], "{byte} at {place}");
            }
        }
    }

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
