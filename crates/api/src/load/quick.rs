//! The YAML that most files are written in, read at once.
//!
//! Ten thousand files take the parser of all of YAML a second. What people write is a small part of the language: block
//! mappings and lists, flow collections on one line, plain and quoted scalars on one line. This reads that part and
//! nothing else: at the first thing beyond it gives up, and the parser reads the document from its beginning. It finds
//! no mistakes, for what is wrong is beyond it, too. Where it does not give up, the tree is the one the parser gives
//! (`as_the_parser_reads_it`).

use serde_json::Value;

use super::node::{Content, Key, Mark, Node};
use super::parse::key;
use super::scalar;
use super::split::Chunk;

/// Deepest nesting; the parser goes somewhat deeper, and tells who goes too far.
const DEEPEST: usize = 48;

/// Longest key. YAML has a limit, too (1.2 §7.4.2), and the parser knows it.
const LONGEST_KEY: usize = 512;

/// The only document of `chunk`; `None` where the parser has to read it.
pub(super) fn read(chunk: Chunk<'_>) -> Option<Node> {
    let mut reader = Reader { lines: lines(chunk)?, at: 0 };
    let first = *reader.lines.first()?;
    let node = if reader.lines.len() == 1 && first.text.starts_with('{') {
        reader.at = 1;
        value(first, 0)?
    } else {
        reader.block(first.indent, 0)?
    };
    (reader.at == reader.lines.len()).then_some(node)
}

/// A line that says something.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: u32,
    /// Where `text` begins.
    indent: usize,
    /// Without blanks around.
    text: &'a str,
}

impl Line<'_> {
    fn mark(self) -> Mark {
        Mark { line: self.number, column: column(self.indent) }
    }
}

fn column(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX).saturating_add(1)
}

/// The lines of a chunk, without blank ones and those of remarks.
fn lines(chunk: Chunk<'_>) -> Option<Vec<Line<'_>>> {
    let mut lines = Vec::with_capacity(16);
    for (number, line) in (1_u32..).zip(chunk.text.split('\n')) {
        if line.bytes().any(|byte| !matches!(byte, b' '..=b'~')) {
            return None;
        }
        let text = line.trim_ascii();
        if text.is_empty() || text.starts_with('#') || number == 1 && line == "---" {
            continue;
        }
        if line.starts_with("---") || line.starts_with("...") || line.starts_with('%') {
            return None;
        }
        let indent = line.len() - line.trim_ascii_start().len();
        lines.push(Line { number: chunk.lines_before.checked_add(number)?, indent, text });
    }
    Some(lines)
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next line, if it belongs to a block that is indented like this or further.
    fn next(&self, indent: usize) -> Option<Line<'a>> {
        self.lines.get(self.at).copied().filter(|line| line.indent >= indent)
    }

    /// The mapping or list that begins with the next line.
    fn block(&mut self, indent: usize, depth: usize) -> Option<Node> {
        let line = self.lines.get(self.at).filter(|line| line.indent == indent && depth < DEEPEST)?;
        if is_item(line.text) { self.list(indent, depth, false) } else { self.map(indent, depth) }
    }

    fn list(&mut self, indent: usize, depth: usize, within_key: bool) -> Option<Node> {
        let mut mark = self.lines.get(self.at)?.mark();
        let mut items = Vec::new();
        while let Some(line) = self.next(indent) {
            if line.indent > indent {
                return None;
            }
            if !is_item(line.text) {
                // A list may stand as far left as the key it belongs to, and ends with the next key.
                if within_key {
                    break;
                }
                return None;
            }
            let rest = line.text[1..].trim_ascii_start();
            let inner = line.indent + (line.text.len() - rest.len());
            if rest.is_empty() || is_item(rest) {
                return None;
            }
            let line = Line { indent: inner, text: rest, ..line };
            if within_key && items.is_empty() {
                // The parser has such a list begin with its first item.
                mark = line.mark();
            }
            if split_key(rest)?.is_some() {
                self.lines[self.at] = line;
                items.push(self.block(inner, depth + 1)?);
            } else {
                self.at += 1;
                items.push(value(line, depth + 1)?);
            }
        }
        Some(Node { mark, content: Content::List(items) })
    }

    fn map(&mut self, indent: usize, depth: usize) -> Option<Node> {
        let mark = self.lines.get(self.at)?.mark();
        let mut entries = Vec::new();
        while let Some(line) = self.next(indent) {
            if line.indent > indent || is_item(line.text) {
                return None;
            }
            let (name, rest) = split_key(line.text)??;
            let name = key(Node { mark: line.mark(), content: name }).ok()?;
            self.at += 1;
            let node = if rest.is_empty() {
                let next = self.next(indent)?;
                match next.indent == indent {
                    true if is_item(next.text) => self.list(indent, depth + 1, true)?,
                    true => return None,
                    false => self.block(next.indent, depth + 1)?,
                }
            } else {
                let indent = line.indent + (line.text.len() - rest.len());
                value(Line { indent, text: rest, ..line }, depth + 1)?
            };
            entries.push((name, node));
        }
        Some(Node { mark, content: Content::Map(entries) })
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// The key that a line begins with, and what is behind its colon; `Some(None)` if it begins with none.
#[expect(clippy::option_option, reason = "the outer layer says that the parser has to read it")]
fn split_key(text: &str) -> Option<Option<(Content, &str)>> {
    let colon = |rest: &str| rest == ":" || rest.starts_with(": ");
    let first = *text.as_bytes().first()?;
    if matches!(first, b'\'' | b'"') {
        let (content, rest) = quoted(text)?;
        let behind = rest.strip_prefix(':').filter(|_| colon(rest));
        return Some(behind.map(|behind| (content, behind.trim_ascii_start())));
    }
    if matches!(first, b'{' | b'[') {
        return Some(None);
    }
    let end = text.bytes().enumerate().position(|(at, byte)| byte == b':' && colon(&text[at..]));
    let Some(end) = end else { return Some(None) };
    let name = text[..end].trim_ascii_end();
    let odd = |byte: u8| b"{}[],#\"'&*!|>%@`?".contains(&byte);
    if name.len() > LONGEST_KEY || name.bytes().any(odd) {
        return None;
    }
    Some(Some((plain(name)?, text[end + 1..].trim_ascii_start())))
}

/// A value that takes the rest of its line.
fn value(line: Line<'_>, depth: usize) -> Option<Node> {
    let text = line.text;
    let first = *text.as_bytes().first()?;
    if matches!(first, b'{' | b'[') {
        let mut flow = Flow { line, at: 0 };
        let node = flow.node(depth)?;
        return (flow.at == text.len()).then_some(node);
    }
    let content = if matches!(first, b'\'' | b'"') {
        let (content, rest) = quoted(text)?;
        if !rest.is_empty() {
            return None;
        }
        content
    } else {
        if text.contains(": ") || text.ends_with(':') || text.contains(" #") {
            return None;
        }
        plain(text)?
    };
    Some(Node { mark: line.mark(), content })
}

/// A scalar in quotes without anything to be escaped, and what is behind it.
fn quoted(text: &str) -> Option<(Content, &str)> {
    let quote = text.chars().next()?;
    let (inner, rest) = text[1..].split_once(quote)?;
    // Two single quotes stand for one.
    if rest.starts_with(quote) || quote == '"' && inner.contains('\\') || inner.len() > LONGEST_KEY {
        return None;
    }
    Some((Content::Scalar(Value::String(inner.to_owned())), rest))
}

/// A plain scalar, if it begins with nothing that has a meaning of its own.
fn plain(text: &str) -> Option<Content> {
    let mut bytes = text.bytes();
    let begins = match bytes.next()? {
        b'-' => bytes.next()?.is_ascii_alphanumeric(),
        byte => byte.is_ascii_alphanumeric() || b"/._~$(+^=;\\".contains(&byte),
    };
    scalar::plain(text).filter(|_| begins).map(Content::Scalar)
}

/// Flow collections on one line.
struct Flow<'a> {
    line: Line<'a>,
    at: usize,
}

impl<'a> Flow<'a> {
    fn rest(&self) -> &'a str {
        &self.line.text[self.at..]
    }

    fn mark(&self) -> Mark {
        Mark { line: self.line.number, column: column(self.line.indent + self.at) }
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_ascii_start().len();
    }

    /// Steps over `byte`, if that is what comes.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest().as_bytes().first() == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn node(&mut self, depth: usize) -> Option<Node> {
        let mark = self.mark();
        if depth >= DEEPEST {
            return None;
        }
        let content = match self.rest().as_bytes().first()? {
            b'[' => self.list(depth)?,
            b'{' => self.map(depth)?,
            _ => self.scalar()?,
        };
        Some(Node { mark, content })
    }

    fn list(&mut self, depth: usize) -> Option<Content> {
        self.at += 1;
        self.skip_blanks();
        let mut items = Vec::new();
        if self.take(b']') {
            return Some(Content::List(items));
        }
        loop {
            items.push(self.node(depth + 1)?);
            self.skip_blanks();
            if self.take(b']') {
                return Some(Content::List(items));
            }
            self.comma()?;
        }
    }

    fn map(&mut self, depth: usize) -> Option<Content> {
        self.at += 1;
        self.skip_blanks();
        let mut entries: Vec<(Key, Node)> = Vec::new();
        if self.take(b'}') {
            return Some(Content::Map(entries));
        }
        loop {
            let mark = self.mark();
            let name = key(Node { mark, content: self.scalar()? }).ok()?;
            if !self.rest().starts_with(": ") || name.name.len() > LONGEST_KEY {
                return None;
            }
            self.at += 1;
            self.skip_blanks();
            entries.push((name, self.node(depth + 1)?));
            self.skip_blanks();
            if self.take(b'}') {
                return Some(Content::Map(entries));
            }
            self.comma()?;
        }
    }

    /// A comma with something behind it.
    fn comma(&mut self) -> Option<()> {
        let found = self.take(b',');
        self.skip_blanks();
        found.then_some(())
    }

    fn scalar(&mut self) -> Option<Content> {
        let rest = self.rest();
        if rest.starts_with(['\'', '"']) {
            let (content, behind) = quoted(rest)?;
            self.at += rest.len() - behind.len();
            return Some(content);
        }
        let bytes = rest.as_bytes();
        let ends = |at: usize| match bytes[at] {
            b',' | b']' | b'}' => true,
            b':' => matches!(bytes.get(at + 1), None | Some(b' ' | b',' | b']' | b'}' | b'[' | b'{')),
            _ => false,
        };
        let end = (0..bytes.len()).find(|at| ends(*at))?;
        let text = rest[..end].trim_ascii_end();
        // What is cut off may stand before the end of a line, but never before a colon.
        if text.bytes().any(|byte| b"{[#".contains(&byte)) || text.len() < end && bytes[end] == b':' {
            return None;
        }
        self.at += text.len();
        plain(text)
    }
}

#[cfg(test)]
mod tests;
