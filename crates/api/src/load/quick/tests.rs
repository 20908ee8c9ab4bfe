//! What is read here is read as the parser reads it.

use proptest::prelude::*;

use super::super::parse::parse_all;
use super::*;

/// Whether the text is read here; if so, the parser must come to the same.
fn check(text: &str) -> bool {
    let chunk = Chunk { text, lines_before: 7 };
    let Some(node) = read(chunk) else { return false };
    assert_eq!(parse_all(chunk), vec![Ok(node)], "{text}");
    true
}

#[test]
fn as_people_write() {
    for text in [
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec:\n  ports:\n  - name: http\n    port: 80\n  - {name: x, port: -1}\n",
        "a:\n- b\n- c: 1\n  d: 'x'\ne: \"y\"\n",
        "a:\n  - b\n  -   c: [1, {d: on}, []]\n      e: {}\n\n# remark\n  - http://x:80/a#b\nf: ~\n",
        "hosts: ['*.test', a.b]\nregex: ^/(a|b)$\n",
        "a: b c, d [e]\n",
        "'a b': 1\n\"c\": d\n80: x\nyes: y\n",
        "- a: 1\n- b: 2\n",
        "{a: {b: [c, 'd', \"e\"], kubernetes.io/name: x}}\n",
    ] {
        assert!(check(text), "{text}");
    }
}

#[test]
fn what_is_beyond_is_left_to_the_parser() {
    for text in [
        "",
        "a",
        "- ",
        "a:\n",
        "a: &x b\n",
        "a: *x\n",
        "a: !x b\n",
        "a: |\n  b\n",
        "a: >\n  b\n",
        "a: b # c\n",
        "a: b\n  c\n",
        "a: 'b\n  c'\n",
        "a: 'it''s'\n",
        "a: \"\\n\"\n",
        "a: {b: c,\n d: e}\n",
        "a: {b, c}\n",
        "a: [b: c]\n",
        "a: {b: }\n",
        "a: [b,]\n",
        "? a\n: b\n",
        "<<: {a: b}\n",
        "a: b: c\n",
        "a:\tb\n",
        "a: \u{e9}\n",
        "a: .inf\n",
        "~: b\n",
        "- - a\n",
        "...\n",
        "%YAML 1.2\n---\na: b\n",
        "--- a: b\n",
        "  a: b\n c: d\n",
        "a: b\n- c\n",
        "- a\nb: c\n",
        "a: [b\n",
        "a: {b: c} d\n",
        "a: 'b' c\n",
        "a: @b\n",
        "a: `b`\n",
        "a: {b: c}}\n",
    ] {
        assert!(!check(text), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn as_the_parser_reads_it(text in "([ ]{0,4}(- |-|)([a-c'\"~.5/-]{1,3}(: |:|)|)([\\[{]?[a-c1'\":,#&*. {}\\[\\]-]{0,9}[\\]}]?)\n){1,6}") {
        check(&text);
    }

    #[test]
    fn blocks_as_the_parser_reads_them(
        lines in proptest::collection::vec((0_usize..4, any::<bool>(), "(a|b|c)(: |:)(x|'y'|\\{d: e\\}|\\[1, f\\]|)"), 1..8),
    ) {
        let text: String = lines
            .iter()
            .map(|(indent, item, rest)| format!("{}{}{rest}\n", "  ".repeat(*indent), if *item { "- " } else { "" }))
            .collect();
        check(&text);
    }

    #[test]
    fn flow_as_the_parser_reads_it(text in "[\\[{](([a-c1 ']{1,3}: |)[\\[{]?([a-c1'.:/#-]{1,3})[\\]}]?(, |,|)){0,5}[\\]}]") {
        check(&format!("k: {text}\n"));
    }
}
