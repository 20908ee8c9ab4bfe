//! Where one YAML document ends and the next begins, found without parsing either.
//!
//! A line that starts with `---` in its first column separates documents wherever it stands: YAML 1.2 §9.1.2 forbids
//! such a line inside any scalar, however it is quoted. So a document with a syntax error costs only itself.

/// A piece of the text that holds one document (or several, where `...` ends one of them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub(super) text: &'a str,
    /// How many lines of the whole text come before it.
    pub(super) lines_before: u32,
}

/// The documents of a text. Pieces with nothing but blanks and comments are left out.
pub(super) fn split(text: &str) -> Vec<Chunk<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut chunks = Vec::new();
    let (mut start, mut first_line) = (0, 0_u32);
    let (mut offset, mut line_number) = (0, 0_u32);
    let mut content = Content::Nothing;
    for line in text.split_inclusive('\n') {
        // Directives belong to the document whose separator follows them.
        if is_separator(line) && content != Content::Directives {
            if content == Content::Document {
                chunks.push(Chunk { text: &text[start..offset], lines_before: first_line });
            }
            (start, first_line, content) = (offset, line_number, Content::Nothing);
        }
        content = content.with(line);
        offset += line.len();
        line_number = line_number.saturating_add(1);
    }
    if content != Content::Nothing {
        chunks.push(Chunk { text: &text[start..], lines_before: first_line });
    }
    chunks
}

/// What has been seen of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    Directives,
    Document,
}

impl Content {
    fn with(self, line: &str) -> Self {
        let rest = if is_separator(line) { &line[3..] } else { line };
        let blank = rest.trim().is_empty() || rest.trim_start().starts_with('#');
        match self {
            Self::Document => Self::Document,
            _ if blank && is_separator(line) => Self::Nothing,
            _ if blank => self,
            Self::Nothing if line.starts_with('%') => Self::Directives,
            Self::Directives if line.starts_with('%') => Self::Directives,
            _ => Self::Document,
        }
    }
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, u32)]) {
        let found: Vec<_> = split(text).iter().map(|chunk| (chunk.text, chunk.lines_before)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn separators_part_documents() {
        check("a: 1\n---\nb: 2\n", &[("a: 1\n", 0), ("---\nb: 2\n", 1)]);
        check("---\na: 1\n---\nb: 2", &[("---\na: 1\n", 0), ("---\nb: 2", 2)]);
        check("a: 1\r\n---\r\nb: 2\r\n", &[("a: 1\r\n", 0), ("---\r\nb: 2\r\n", 1)]);
        check("--- {a: 1}\n--- # two\nb: 2", &[("--- {a: 1}\n", 0), ("--- # two\nb: 2", 1)]);
    }

    #[test]
    fn nothing_is_no_document() {
        for text in [
            "",
            "\n",
            "---\n",
            "---\n---\n",
            "# only a remark\n---\n# another\n",
            "\u{feff}\n",
            "--- # x\n\n",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn only_a_line_of_its_own_separates() {
        check("a: |\n  ---\n  x\n", &[("a: |\n  ---\n  x\n", 0)]);
        check("---a\n", &[("---a\n", 0)]);
    }

    #[test]
    fn directives_stay_with_their_document() {
        check("%YAML 1.2\n---\na: 1\n", &[("%YAML 1.2\n---\na: 1\n", 0)]);
    }

    #[test]
    fn a_byte_order_mark_is_no_content() {
        check("\u{feff}a: 1\n", &[("a: 1\n", 0)]);
    }
}
