//! A Rust file as tokens: which paths it names, how long its functions are, what it allows itself.
//!
//! Tokens rather than text, so that words in comments and strings are never taken for code.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Group, LineColumn, TokenStream, TokenTree};

use super::TextFile;

/// What the rules want to know of one Rust file.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) path: String,
    pub(super) lines: usize,
    pub(super) opens_with_doc: bool,
    /// Whether the file is compiled for tests only.
    pub(super) test: bool,
    /// Every path named outside test code, segment by segment; the lists of `use` are spread out.
    pub(super) paths: Vec<Named>,
    /// Every function outside test code.
    pub(super) functions: Vec<Function>,
    /// Lines of `#[allow(…)]` and `#[expect(…)]` without a reason.
    pub(super) unexplained: Vec<usize>,
    /// Modules that this file declares below `#[cfg(test)]`, as file paths without `.rs`.
    test_children: Vec<String>,
}

/// A path as written, and where.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// A function with a body.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    /// From the line of `fn` to that of the closing brace.
    pub(super) length: usize,
}

impl SourceFile {
    /// Every Rust file of `files`; those that only tests use are marked.
    pub(super) fn all(files: &[TextFile]) -> Vec<SourceFile> {
        let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
        let mut sources: Vec<SourceFile> = rust.map(SourceFile::read).collect();
        let children: HashSet<String> =
            sources.iter().flat_map(|source| source.test_children.iter().cloned()).collect();
        for source in &mut sources {
            let stem = source.path.trim_end_matches(".rs");
            source.test |= children.iter().any(|child| {
                stem == child || stem.strip_prefix(child.as_str()).is_some_and(|rest| rest.starts_with('/'))
            });
        }
        sources
    }

    /// Reads one file. What is no Rust has no tokens: the compiler says so better.
    pub(super) fn read(file: &TextFile) -> SourceFile {
        let mut source = SourceFile {
            path: file.path.clone(),
            lines: file.text.lines().count(),
            opens_with_doc: file.text.starts_with("//!"),
            test: in_test_folder(&file.path),
            paths: Vec::new(),
            functions: Vec::new(),
            unexplained: Vec::new(),
            test_children: Vec::new(),
        };
        if let Ok(tokens) = file.text.parse::<TokenStream>() {
            source.walk(tokens, &[]);
        }
        source
    }

    /// Goes through `tokens`; `prefix` is the path before a group of `use`.
    fn walk(&mut self, tokens: TokenStream, prefix: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = match &tokens[at] {
                TokenTree::Punct(hash) if hash.as_char() == '#' => self.attribute(&tokens, at),
                TokenTree::Ident(word) if word == "fn" => self.function(&tokens, at),
                TokenTree::Ident(_) => self.path(&tokens, at, prefix),
                TokenTree::Group(group) => {
                    self.walk(group.stream(), &[]);
                    at + 1
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
            };
        }
    }

    /// Notes what an attribute means for the rules; gives where to read on.
    fn attribute(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let inner = matches!(tokens.get(at + 1), Some(TokenTree::Punct(bang)) if bang.as_char() == '!');
        let body = at + 1 + usize::from(inner);
        let Some(TokenTree::Group(group)) = tokens.get(body) else { return at + 1 };
        let text = group.stream().to_string();
        if is_unexplained(&text) {
            self.unexplained.push(line(group.span_open().start()));
        }
        if !is_cfg_test(&text) {
            return body + 1;
        }
        if inner {
            self.test = true;
            return tokens.len();
        }
        self.skip_item(tokens, body + 1)
    }

    /// Passes over the item behind `#[cfg(test)]`.
    fn skip_item(&mut self, tokens: &[TokenTree], from: usize) -> usize {
        let mut at = from;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                TokenTree::Punct(end) if end.as_char() == ';' => break,
                TokenTree::Ident(word) if word == "mod" => {
                    if let (Some(TokenTree::Ident(name)), Some(TokenTree::Punct(_))) =
                        (tokens.get(at), tokens.get(at + 1))
                    {
                        self.test_children.push(child_path(&self.path, &name.to_string()));
                    }
                }
                _ => {}
            }
        }
        at
    }

    /// Notes the length of a function; its body is walked by the caller.
    fn function(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { return at + 1 };
        let rest = &tokens[at + 1..];
        let body = rest.iter().find_map(end_of_signature).flatten();
        if let Some(body) = body {
            let (first, last) = (line(tokens[at].span().start()), line(body.span_close().end()));
            self.functions.push(Function { name: name.to_string(), line: first, length: last - first + 1 });
        }
        at + 2
    }

    /// Reads `a::b::{c, d::e}` from the identifier at `at`.
    fn path(&mut self, tokens: &[TokenTree], at: usize, prefix: &[String]) -> usize {
        let mut segments = prefix.to_vec();
        let mut at = at;
        let start = line(tokens[at].span().start());
        while let Some(TokenTree::Ident(word)) = tokens.get(at) {
            segments.push(word.to_string());
            at += 1;
            if !is_double_colon(tokens, at) {
                break;
            }
            at += 2;
            if let Some(TokenTree::Group(group)) = tokens.get(at) {
                self.walk(group.stream(), &segments);
                return at + 1;
            }
        }
        self.paths.push(Named { segments, line: start });
        at
    }
}

/// `Some(Some(_))` at the body, `Some(None)` at the semicolon of a function without one.
fn end_of_signature(token: &TokenTree) -> Option<Option<&Group>> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(Some(group)),
        TokenTree::Punct(end) if end.as_char() == ';' => Some(None),
        _ => None,
    }
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(at) && colon(at + 1)
}

fn is_cfg_test(attribute: &str) -> bool {
    let plain: String = attribute.split_whitespace().collect();
    plain == "cfg(test)" || plain.starts_with("cfg(all(test")
}

fn is_unexplained(attribute: &str) -> bool {
    let judged = ["allow", "expect"]
        .iter()
        .any(|word| attribute.strip_prefix(word).is_some_and(|rest| rest.trim_start().starts_with('(')));
    judged && !attribute.contains("reason")
}

/// Where the module `name` stands that the file at `path` declares, without `.rs`.
fn child_path(path: &str, name: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "lib" | "main")) => folder,
        _ => stem,
    };
    format!("{folder}/{name}")
}

/// Cargo compiles what stands in these folders for tests and benches only.
fn in_test_folder(path: &str) -> bool {
    let mut folders = path.split('/').rev().skip(1);
    folders.any(|folder| ["tests", "benches", "bench", "examples"].contains(&folder))
}

fn line(place: LineColumn) -> usize {
    place.line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> SourceFile {
        SourceFile::read(&TextFile { path: "crates/api/src/lib.rs".to_owned(), text: text.to_owned() })
    }

    fn paths(text: &str) -> Vec<String> {
        read(text).paths.into_iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn lists_of_use_are_spread_out() {
        let found = paths("use std::{fs, net::{TcpStream, IpAddr}};");
        assert_eq!(found, ["use", "std::fs", "std::net::TcpStream", "std::net::IpAddr"]);
    }

    #[test]
    fn words_in_comments_and_strings_are_not_code() {
        let found = paths("// std::fs\nconst A: &str = \"std::fs\"; /* tokio */");
        assert!(!found.iter().any(|path| path.contains("fs") || path.contains("tokio")), "{found:?}");
    }

    #[test]
    fn test_code_is_passed_over() {
        let text = "#[cfg(test)]\nmod tests { fn a() { std::fs::read(); } }\nfn b() { c::d(); }";
        let found = read(text);
        assert_eq!(found.functions.len(), 1);
        assert!(!found.paths.iter().any(|named| named.segments.contains(&"fs".to_owned())));
        assert!(read("#![cfg(test)]\nfn a() {}").test);
    }

    #[test]
    fn a_module_declared_for_tests_marks_its_file() {
        let file = |path: &str, text: &str| TextFile { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("crates/a/src/lib.rs", "#[cfg(test)] mod probe; mod real;"),
            file("crates/a/src/probe.rs", ""),
            file("crates/a/src/probe/deep.rs", ""),
            file("crates/a/src/real.rs", ""),
        ];
        let tests: Vec<bool> = SourceFile::all(&files).iter().map(|source| source.test).collect();
        assert_eq!(tests, [false, true, true, false]);
    }

    #[test]
    fn functions_are_measured() {
        let found = read("trait T { fn none(&self); }\nfn long(\n  a: u8,\n) -> u8 {\n  a\n}\n").functions;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].line, found[0].length), ("long", 2, 5));
    }

    #[test]
    fn a_bare_allow_is_seen() {
        let text = "#[allow(dead_code)] fn a() {}\n#[expect(dead_code, reason = \"why\")] fn b() {}";
        assert_eq!(read(text).unexplained, [1]);
    }
}
