//! The functions that Envoy's builder of expressions knows.

use regex::bytes::Regex;

use super::value::Value;
use super::{Node, time};
use crate::re2;

/// A function with what is settled of it when it is parsed.
#[derive(Debug)]
pub(super) enum Call {
    /// `size(a)`, `a.size()`
    Size,
    StartsWith,
    EndsWith,
    Contains,
    Matches(Regex),
    /// `re.extract(text, pattern, rewrite)`, with the text and the rewrite as arguments.
    Extract(Regex),
    /// `re.capture(text, pattern)`: the pattern matches the whole text.
    Capture(Regex),
    /// `re.captureN(text, pattern)`, likewise.
    CaptureNamed(Regex),
    Int,
    Uint,
    Double,
    Bool,
    Bytes,
    Dyn,
    Type,
    Time,
    Duration,
    /// `getHours()` and its like, in a zone so many nanoseconds from UTC.
    Part(Part, Option<i128>),
}

/// A part of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

type Made = Result<Node, String>;

/// Macros that Envoy reads, and then refuses because comprehensions are switched off.
const COMPREHENSIONS: [&str; 5] = ["all", "exists", "exists_one", "map", "filter"];

/// `name(a, b)`
pub(super) fn function(name: &str, arguments: Vec<Node>) -> Made {
    let call = match (name, arguments.len()) {
        ("int", 1) => Call::Int,
        ("uint", 1) => Call::Uint,
        ("double", 1) => Call::Double,
        ("bool", 1) => Call::Bool,
        ("bytes", 1) => Call::Bytes,
        ("dyn", 1) => Call::Dyn,
        ("type", 1) => Call::Type,
        ("timestamp", 1) => Call::Time,
        ("duration", 1) => Call::Duration,
        _ => return either(name, arguments),
    };
    Ok(Node::Call(Box::new(call), arguments))
}

/// `a.name(b)`, with `a` as the first argument.
pub(super) fn method(name: &str, arguments: Vec<Node>) -> Made {
    if COMPREHENSIONS.contains(&name) {
        return Err(format!("{name}() is a comprehension, and Istio's gateway has none"));
    }
    let Some(part) = part(name) else { return either(name, arguments) };
    match &arguments[..] {
        [_] => Ok(Node::Call(Box::new(Call::Part(part, None)), arguments)),
        [_, Node::Literal(Value::Text(zone))] => {
            let offset = std::str::from_utf8(zone).ok().and_then(time::zone);
            let Some(offset) = offset else {
                return Err(format!(
                    "{name}() takes UTC or an offset such as \"+02:00\" here, no zone's name"
                ));
            };
            let arguments = arguments.into_iter().take(1).collect();
            Ok(Node::Call(Box::new(Call::Part(part, Some(offset))), arguments))
        }
        [_, _] => Err(format!("{name}() takes its zone as a literal here")),
        _ => unknown(name, arguments.len()),
    }
}

/// `re.name(a, b)`
pub(super) fn regex(name: &str, mut arguments: Vec<Node>) -> Made {
    let (make, whole): (fn(Regex) -> Call, _) = match (name, arguments.len()) {
        ("extract", 3) => (Call::Extract, false),
        ("capture", 2) => (Call::Capture, true),
        ("captureN", 2) => (Call::CaptureNamed, true),
        (name, count) => return unknown(&format!("re.{name}"), count),
    };
    let pattern = pattern(&arguments.remove(1), whole)?;
    Ok(Node::Call(Box::new(make(pattern)), arguments))
}

/// What may be written in both ways.
fn either(name: &str, mut arguments: Vec<Node>) -> Made {
    let call = match (name, arguments.len()) {
        ("size", 1) => Call::Size,
        ("startsWith", 2) => Call::StartsWith,
        ("endsWith", 2) => Call::EndsWith,
        ("contains", 2) => Call::Contains,
        ("matches", 2) => Call::Matches(pattern(&arguments.remove(1), false)?),
        (name, count) => return unknown(name, count),
    };
    Ok(Node::Call(Box::new(call), arguments))
}

fn unknown(name: &str, count: usize) -> Made {
    Err(format!("there is no function {name:?} of {count} arguments in Istio's gateway"))
}

/// A regular expression: compiled now, so that no request can bring one.
fn pattern(node: &Node, whole: bool) -> Result<Regex, String> {
    let Node::Literal(Value::Text(text)) = node else {
        return Err("a regular expression is a literal here, so that no request can bring one".to_owned());
    };
    let text = String::from_utf8_lossy(text);
    let compiled = if whole { re2::whole(&text) } else { re2::within(&text) };
    compiled.map_err(|why| format!("the regular expression {text:?} cannot be compiled: {why}"))
}

fn part(name: &str) -> Option<Part> {
    Some(match name {
        "getFullYear" => Part::FullYear,
        "getMonth" => Part::Month,
        "getDate" => Part::Date,
        "getDayOfMonth" => Part::DayOfMonth,
        "getDayOfWeek" => Part::DayOfWeek,
        "getDayOfYear" => Part::DayOfYear,
        "getHours" => Part::Hours,
        "getMinutes" => Part::Minutes,
        "getSeconds" => Part::Seconds,
        "getMilliseconds" => Part::Milliseconds,
        _ => return None,
    })
}
