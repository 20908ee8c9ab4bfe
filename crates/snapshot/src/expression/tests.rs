//! Expressions beside what Envoy made of them, and beside whatever anybody may write.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

/// A request like the one that the recording was made with.
struct Request;

const HEADERS: [(&str, &str); 6] = [
    ("host", "app.example.com"),
    ("x-a", "alpha"),
    ("x-num", "12"),
    ("x-empty", ""),
    ("x-u8", "h\u{e9}llo"),
    (":method", "GET"),
];

impl Attributes for Request {
    fn attribute(&self, attribute: Attribute) -> Option<Value<'_>> {
        Some(match attribute {
            Attribute::RequestPath => Value::text("/p/x?q=1"),
            Attribute::RequestQuery => Value::text("q=1"),
            // 2026-11-28T13:00:58.602059Z
            Attribute::RequestTime => Value::Time(1_795_870_858_602_059_000),
            Attribute::RequestSize => Value::Int(0),
            Attribute::ResponseFlags => Value::Int(0),
            Attribute::SourcePort => Value::Int(40_407),
            Attribute::ConnectionMtls => Value::Bool(false),
            Attribute::ConnectionRequestedServerName => Value::text(""),
            _ => return None,
        })
    }

    fn header(&self, of: Message, name: &str) -> Option<Cow<'_, [u8]>> {
        let (Message::Request, name) = (of, if name == ":authority" { "host" } else { name }) else {
            return None;
        };
        let more = [(":scheme", "http"), (":path", "/p/x?q=1"), ("x-forwarded-proto", "http")];
        let mut all = HEADERS.iter().chain(&more);
        all.find(|(other, _)| *other == name).map(|(_, value)| Cow::Borrowed(value.as_bytes()))
    }

    fn header_count(&self, of: Message) -> usize {
        match of {
            Message::Request => HEADERS.len(),
            Message::Response => 1,
            Message::Trailer => 0,
        }
    }
}

fn shown(text: &str) -> Result<Option<String>, ExpressionError> {
    let expression = Expression::parse(text)?;
    let value = expression.evaluate(&Request).map(|value| {
        let mut out = Vec::new();
        value.write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    });
    Ok(value)
}

/// Two lines each: an expression, and what Envoy 1.40 made of it: `= value`, `-` for none, `!` where it refused the
/// expression.
#[test]
fn as_recorded() {
    let recorded = include_str!("tests/recorded.txt");
    let mut lines = recorded.lines();
    let mut wrong = Vec::new();
    while let (Some(text), Some(expected)) = (lines.next(), lines.next()) {
        let ours = match shown(text) {
            Ok(Some(value)) if value.is_empty() => "-".to_owned(),
            Ok(Some(value)) => format!("= {value}"),
            Ok(None) => "-".to_owned(),
            Err(_) => "!".to_owned(),
        };
        if ours.trim_end() != expected.trim_end() {
            wrong.push(format!("{text}: {ours:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever Envoy says, no request brings a regular expression, and there is no list of time zones.
#[test]
fn what_is_refused_here_alone() {
    for (text, why) in [
        ("'a'.matches(request.headers['x-a'])", "so that no request can bring one"),
        ("re.extract('a', request.path, 'x')", "so that no request can bring one"),
        ("request.time.getHours('Europe/Berlin')", "no zone's name"),
        ("request.time.getHours(request.path)", "as a literal"),
        ("google.protobuf.Duration{seconds: 5}", "messages cannot be made"),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert!(error.why.contains(why), "{text}: {error}");
    }
}

#[test]
fn faults_are_shown_where_they_are() {
    for (text, shown) in [
        ("request.path ==", "ends where a value is missing (at byte 16)"),
        ("size(request.path", "\")\" is missing (at byte 18)"),
        ("request.path $", "'$' means nothing here (at byte 14)"),
        ("1 + nope(2)", "there is no function \"nope\" of 1 arguments in Istio's gateway (at byte 5)"),
        ("[1].map(x, x)", "map() is a comprehension, and Istio's gateway has none (at byte 5)"),
        ("'a'.matches('(')", "the regular expression \"(\" cannot be compiled: unclosed group (at byte 5)"),
        ("", "ends where a value is missing (at byte 1)"),
    ] {
        assert_eq!(Expression::parse(text).expect_err(text).to_string(), shown, "{text}");
    }
}

#[test]
fn an_expression_is_bounded() {
    let error = |text: &str| Expression::parse(text).expect_err("too much").why;
    assert!(error(&format!("'{}'", "a".repeat(MAX_LENGTH))).starts_with("is longer"));
    for (open, close) in [("(", ")"), ("[", "]"), ("{1:", "}"), ("!(", ")"), ("-(", ")"), ("size(", ")")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(error(&nested(MAX_DEPTH)).starts_with("is nested"), "{open}");
        assert!(Expression::parse(&nested(MAX_DEPTH / 2 - 1)).is_ok(), "{open}");
    }
    for chain in ["1+1", "1 == 1", "a.a", "a[1]", "true ? 1 : 1"] {
        let long = format!("{chain}{}", chain[1..].repeat(MAX_DEPTH));
        let long = if chain.contains('?') { "true ? 1 : ".repeat(MAX_DEPTH) + "1" } else { long };
        assert!(error(&long).starts_with("is nested"), "{chain}");
    }
    // What only goes on in length does not get deep.
    let long = vec!["request.path == '/'"; 300].join(" || ");
    assert_eq!(shown(&long), Ok(Some("false".to_owned())));
}

/// A text put together out of itself, again and again, ends where it gets too long.
#[test]
fn what_is_put_together_is_bounded() {
    let mut text = "request.path".to_owned();
    for _ in 0..20 {
        text = format!(r"re.extract({text}, '(?s)(.*)', '\\1\\1\\1\\1')");
    }
    assert_eq!(shown(&text), Ok(None));
}

#[test]
fn what_has_to_be_measured_and_what_never_has_a_value() {
    for (text, measured, unset) in [
        ("request.path", false, &[][..]),
        ("upstream.cx_pool_ready_duration", true, &[]),
        ("has(upstream.cx_pool_ready_duration) ? 1 : 2", true, &[]),
        ("upstream['cx_pool_ready_duration'] == duration('1s')", true, &[]),
        ("upstream.address", false, &[]),
        ("size(upstream)", true, &[]),
        ("xds.node.id + request.pth", false, &["xds.node", "request.pth"]),
        ("has(request.nope) || nope.a || request['x']", false, &["nope", "request.x"]),
        ("has(xds.node)", false, &["xds.node"]),
    ] {
        let expression = Expression::parse(text).expect(text);
        assert_eq!(expression.is_measured(), measured, "{text}");
        let found: Vec<_> = expression.unset().iter().map(|name| &**name).collect();
        assert_eq!(found, unset, "{text}");
    }
}

/// Expressions that keep the grammar, whether their kinds fit each other or not.
fn expression() -> impl Strategy<Value = String> {
    let leaves = proptest::sample::select(LEAVES).prop_map(str::to_owned);
    leaves.prop_recursive(6, 48, 3, |inner| {
        let pairs =
            proptest::sample::select(&["+", "-", "*", "/", "%", "==", "<", ">=", "in", "&&", "||"][..]);
        let calls = proptest::sample::select(CALLS);
        prop_oneof![
            (inner.clone(), pairs, inner.clone()).prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}[{a}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}][{b}]")),
            (inner, calls).prop_map(|(a, call)| call.replace('_', &a)),
        ]
    })
}

const LEAVES: &[&str] = &[
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615u",
    "1.5",
    "-1e300",
    "'a'",
    "'-1.5h'",
    "b'\\xff'",
    "null",
    "true",
    "request.path",
    "request.time",
    "request.headers",
    "request.headers['x-num']",
    "request",
    "metadata",
    "int",
    "duration('87660000h')",
    "timestamp('9999-12-31T23:59:59Z')",
    "timestamp('0000-01-01T00:00:00Z')",
];
const CALLS: &[&str] = &[
    "!(_)",
    "-(_)",
    "(_).a",
    "size(_)",
    "int(_)",
    "uint(_)",
    "double(_)",
    "bool(_)",
    "bytes(_)",
    "type(_)",
    "timestamp(_)",
    "duration(_)",
    "(_).getHours('-23:59')",
    "(_).getDayOfYear()",
    "(_).matches('a|b')",
    "(_).startsWith(_)",
    "re.extract(_, '(.)', _)",
    "re.captureN(_, '(?P<n>.*)')",
];

proptest! {
    #[test]
    fn any_expression_has_a_value_or_none(text in expression()) {
        prop_assume!(text.len() <= MAX_LENGTH);
        match shown(&text) {
            Ok(_) => {}
            Err(error) => prop_assert!(error.why.starts_with("is nested"), "{text}: {error}"),
        }
    }

    /// Anything is an expression or none, and has a value or none.
    #[test]
    fn any_text_is_read(text in "\\PC{0,60}") {
        let _ = shown(&text);
    }

    #[test]
    fn any_words_are_read(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..24)) {
        let _ = shown(&words.concat());
        let _ = shown(&words.join(" "));
    }
}

const WORDS: &[&str] = &[
    "request",
    ".path",
    ".headers",
    "['x-a']",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":",
    "?",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "&&",
    "||",
    "==",
    "<",
    "in",
    "1",
    "2u",
    "1.5",
    "-1",
    "9223372036854775807",
    "'a'",
    "b'\\xff'",
    "null",
    "true",
    "size(",
    ".size()",
    "int(",
    "uint(",
    "double(",
    "timestamp(",
    "duration('1h')",
    ".getHours()",
    "re.extract('a','(a)','\\\\1')",
    ".matches('a|b')",
    "has(",
    "has(request.path)",
    "type(",
    "xds",
    "metadata",
    "[1,2]",
    "{'a':1}",
    ".a",
    "1e300",
];
