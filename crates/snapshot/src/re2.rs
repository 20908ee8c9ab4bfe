//! RE2 expressions, as Istio's users write them, for the `regex` crate.
//!
//! Both engines share their ancestry; what differs is rewritten here: RE2 reads a brace that starts no repetition
//! as itself, knows no nested sets or set operations inside `[…]`, and quotes with `\Q…\E`.

use regex::bytes;

/// Longest expression accepted, in bytes; Istio's validation has the same bound.
pub const MAX_PATTERN: usize = 1024;

/// Largest compiled form of one expression, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// Why an expression cannot be used.
pub type PatternError = String;

/// Compiles `pattern` so that it must match the whole of a text.
///
/// # Errors
/// Says why it cannot be compiled.
pub fn whole(pattern: &str) -> Result<bytes::Regex, PatternError> {
    let text = format!("^(?:{})$", translated(pattern)?);
    let built = bytes::RegexBuilder::new(&text).size_limit(MAX_COMPILED).build();
    built.map_err(|error| explained(&error))
}

/// Compiles `pattern` so that it matches anywhere in a text that need not be UTF-8.
///
/// # Errors
/// Says why it cannot be compiled.
pub fn within(pattern: &str) -> Result<bytes::Regex, PatternError> {
    let built = bytes::RegexBuilder::new(&translated(pattern)?).size_limit(MAX_COMPILED).build();
    built.map_err(|error| explained(&error))
}

/// Compiles `pattern` so that it matches anywhere in a text.
///
/// # Errors
/// Says why it cannot be compiled.
pub fn anywhere(pattern: &str) -> Result<regex::Regex, PatternError> {
    let built = regex::RegexBuilder::new(&translated(pattern)?).size_limit(MAX_COMPILED).build();
    built.map_err(|error| explained(&error))
}

/// Whether `pattern` can be read, however large it is when compiled.
///
/// # Errors
/// Says why it cannot.
pub fn syntax(pattern: &str) -> Result<(), PatternError> {
    match regex::RegexBuilder::new(&translated(pattern)?).size_limit(MAX_COMPILED).build() {
        Ok(_) | Err(regex::Error::CompiledTooBig(_)) => Ok(()),
        Err(error) => Err(explained(&error)),
    }
}

/// An RE2 substitution (`\1`, `\\`) in the syntax of the `regex` crate; the greatest group comes with it.
///
/// # Errors
/// Says why it is none.
pub fn substitution(text: &str) -> Result<(String, usize), PatternError> {
    let mut out = String::with_capacity(text.len() + 8);
    let mut greatest = 0;
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '$' => out.push_str("$$"),
            '\\' => match rest.next() {
                Some('\\') => out.push('\\'),
                Some(digit @ '0'..='9') => {
                    greatest = greatest.max(digit as usize - '0' as usize);
                    out.push_str(&format!("${{{digit}}}"));
                }
                _ => {
                    return Err(
                        "a backslash in a substitution must be followed by a digit or a backslash".to_owned()
                    );
                }
            },
            _ => out.push(letter),
        }
    }
    Ok((out, greatest))
}

fn explained(error: &regex::Error) -> PatternError {
    match error {
        regex::Error::CompiledTooBig(_) => "the expression is too large when compiled".to_owned(),
        // The engine's own text draws the expression over several lines; its last line is the reason.
        other => other
            .to_string()
            .lines()
            .last()
            .unwrap_or("syntax error")
            .trim_start_matches("error: ")
            .to_owned(),
    }
}

fn translated(pattern: &str) -> Result<String, PatternError> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("the expression is longer than {MAX_PATTERN} bytes"));
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        rest = match letter {
            '\\' => escape(rest, &mut out),
            '[' => class(rest, &mut out),
            '{' if !is_repetition(rest) => literal(rest, &mut out),
            _ => copy(rest, letter.len_utf8(), &mut out),
        };
    }
    Ok(out)
}

fn copy<'a>(rest: &'a str, length: usize, out: &mut String) -> &'a str {
    out.push_str(&rest[..length]);
    &rest[length..]
}

/// Takes one ASCII character as itself.
fn literal<'a>(rest: &'a str, out: &mut String) -> &'a str {
    out.push('\\');
    copy(rest, 1, out)
}

/// A backslash and what belongs to it.
fn escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    if let Some(quoted) = rest.strip_prefix("\\Q") {
        let end = quoted.find("\\E").unwrap_or(quoted.len());
        out.push_str(&regex::escape(&quoted[..end]));
        return quoted[end..].strip_prefix("\\E").unwrap_or("");
    }
    let braced = ["\\p{", "\\P{", "\\x{"].iter().any(|start| rest.starts_with(start));
    if let Some(end) = rest.find('}').filter(|_| braced) {
        return copy(rest, end + 1, out);
    }
    let second = rest[1..].chars().next().map_or(0, char::len_utf8);
    copy(rest, 1 + second, out)
}

/// A bracketed class up to and including its `]`.
fn class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let mut rest = copy(rest, 1, out);
    if rest.starts_with('^') {
        rest = copy(rest, 1, out);
    }
    let mut first = true;
    while let Some(letter) = rest.chars().next() {
        rest = match letter {
            ']' if !first => return copy(rest, 1, out),
            ']' => literal(rest, out),
            '\\' => escape(rest, out),
            '[' => match rest.strip_prefix("[:").and_then(|named| named.find(":]")) {
                Some(end) => copy(rest, end + 4, out),
                None => literal(rest, out),
            },
            '&' | '~' => literal(rest, out),
            // `--` is a set difference to the `regex` crate and a range to RE2.
            '-' if rest.starts_with("--") => literal(rest, out),
            _ => copy(rest, letter.len_utf8(), out),
        };
        first = false;
    }
    rest
}

/// Whether the brace at the start of `rest` begins `{n}`, `{n,}` or `{n,m}`.
fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest[1..].split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn matches_what_re2_matches() {
        for (pattern, text, expected) in [
            ("/r[0-9]+/(a|b)", "/r12/a", true),
            ("/r[0-9]+/(a|b)", "/r12/ab", false),
            ("a|b", "ab", false),
            ("/{id}", "/{id}", true),
            ("a{2}", "aa", true),
            ("a{2", "a{2", true),
            ("a{,2}", "a{,2}", true),
            ("[[]", "[", true),
            ("[a&&b]", "&", true),
            ("[]a]+", "]a", true),
            ("[^]a]", "b", true),
            ("[[:alpha:]]+", "ab", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b", "a.b", true),
            (r"\/a\.b", "/a.b", true),
            ("(?i)/AAA", "/aaa", true),
            (r"\d+", "12", true),
            (r"\p{Lu}\x{41}", "AA", true),
            ("", "", true),
        ] {
            let compiled = whole(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(compiled.is_match(text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn refused() {
        for pattern in ["(", "(?=a)", "[a", r"\", "[z-a]", r"\8"] {
            assert!(whole(pattern).is_err(), "{pattern}");
        }
        assert!(whole(&"a".repeat(MAX_PATTERN + 1)).is_err());
        assert!(whole("((a{100}){100}){100}").is_err());
    }

    #[test]
    fn substitutions() {
        assert_eq!(substitution(r"\2/instance/\1"), Ok(("${2}/instance/${1}".to_owned(), 2)));
        assert_eq!(substitution(r"a$1\\"), Ok((r"a$$1\".to_owned(), 0)));
        assert!(substitution(r"\x").is_err());
        assert!(substitution("\\").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(pattern in ".{0,30}", replacement in ".{0,20}") {
            let _ = whole(&pattern);
            let _ = anywhere(&pattern);
            let _ = substitution(&replacement);
        }
    }
}
