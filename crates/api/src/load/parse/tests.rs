//! Text to trees.

use serde_json::json;

use super::*;

fn parse_text(text: &str) -> Vec<Result<Node, Failure>> {
    parse(Chunk { text, lines_before: 0 })
}

fn value(text: &str) -> Value {
    let mut documents = parse_text(text);
    assert_eq!(documents.len(), 1, "{text}: {documents:?}");
    documents.remove(0).unwrap_or_else(|failure| panic!("{text}: {failure:?}")).into_value()
}

fn failure(text: &str) -> Failure {
    parse_text(text).pop().and_then(Result::err).unwrap_or_else(|| panic!("{text} was read"))
}

#[test]
fn styles_and_tags() {
    for (text, expected) in [
        ("a: yes", json!({"a": true})),
        ("a: 'yes'", json!({"a": "yes"})),
        ("a: \"80\"", json!({"a": "80"})),
        ("a: !!str 80", json!({"a": "80"})),
        ("a: !!int \"80\"", json!({"a": 80})),
        ("a: !custom 80", json!({"a": "80"})),
        ("a: |\n  x\n  y\n", json!({"a": "x\ny\n"})),
        ("a: >-\n  x\n  y\n", json!({"a": "x y"})),
        ("a: |\n  80\n", json!({"a": "80\n"})),
        ("80: a\non: b\n1.5: c\n", json!({"80": "a", "true": "b", "1.5": "c"})),
        ("a:\nb: ~", json!({"a": null, "b": null})),
        ("{\"a\": [1, 2, {\"b\": null}]}", json!({"a": [1, 2, {"b": null}]})),
        ("{\n\t\"a\": \"\\u00e9\\/\"\n}", json!({"a": "é/"})),
        ("- a\n- - b\n", json!(["a", ["b"]])),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn anchors_aliases_and_merge_keys() {
    for (text, expected) in [
        ("a: &x [1, 2]\nb: *x\n", json!({"a": [1, 2], "b": [1, 2]})),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n", json!({"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}})),
        (
            "a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y]}\n",
            json!({"a": {"p": 1}, "b": {"p": 2, "q": 2}, "c": {"p": 1, "q": 2}}),
        ),
        ("a: {'<<': 1}\n", json!({"a": {"<<": 1}})),
        ("&k a: 1\nb: *k\n", json!({"a": 1, "b": "a"})),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
    for text in ["a: &x {b: *x}", "a: *nowhere", "a: {<<: 1}"] {
        assert_eq!(failure(text).code, Code::SyntaxError, "{text}");
    }
}

#[test]
fn failures_have_a_place() {
    let found = failure("a: 1\nb: [1, 2\nc: 3\n");
    assert_eq!(found.code, Code::SyntaxError);
    assert!((2..=4).contains(&found.mark.line) && found.mark.column > 0, "{found:?}");
    let found = failure("a: 1\nb: .nan\n");
    assert_eq!((found.code, found.mark), (Code::SyntaxError, Mark { line: 2, column: 4 }));
}

#[test]
fn keys_must_be_text() {
    for text in ["? [a]\n: 1\n", "~: 1\n", "{a: 1}: 2\n"] {
        assert_eq!(failure(text).code, Code::SyntaxError, "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse_text(&nested(MAX_DEPTH))[0].is_ok());
    assert_eq!(failure(&nested(MAX_DEPTH + 1)).code, Code::TooLarge);
}

#[test]
fn expansion_is_bounded() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(failure(&laughs).code, Code::TooLarge);

    let long = "x".repeat(MAX_EXPANSION / 10);
    let text = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 20].join(", "));
    assert_eq!(failure(&text).code, Code::TooLarge);
}

#[test]
fn several_documents_in_one_chunk() {
    let documents = parse_text("a: 1\n...\nb: 2\n");
    assert_eq!(documents.len(), 2, "{documents:?}");
}
