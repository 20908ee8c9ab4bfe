//! From a tree to its value, in one walk: what has no value leaves none.

use std::borrow::Cow;

use regex::bytes::{Captures, Regex};

use super::attribute::{Attribute, Attributes, Message};
use super::call::{Call, Part};
use super::time::{self, Clock};
use super::value::Value;
use super::{MAX_MADE, Node};

pub(super) fn value<'a>(node: &'a Node, attributes: &'a dyn Attributes) -> Option<Value<'a>> {
    Run { attributes }.value(node)
}

/// One evaluation.
pub(super) struct Run<'a> {
    attributes: &'a dyn Attributes,
}

impl<'a> Run<'a> {
    fn value(&self, node: &'a Node) -> Option<Value<'a>> {
        match node {
            Node::Literal(value) => Some(value.borrowed()),
            Node::Attribute(attribute) => self.attribute(*attribute),
            Node::Group(group) => Some(Value::Group(*group)),
            Node::Unset => None,
            Node::Member(of, name) => self.member(self.value(of)?, name),
            Node::Has(of, name) => self.has(&self.value(of)?, name).map(Value::Bool),
            Node::Index(pair) => self.index(self.value(&pair[0])?, &self.value(&pair[1])?),
            Node::List(nodes) => self.each(nodes).map(Value::List),
            Node::Map(entries) => self.map(entries),
            Node::Not(of) => match self.value(of)? {
                Value::Bool(value) => Some(Value::Bool(!value)),
                _ => None,
            },
            Node::Minus(of) => match self.value(of)? {
                Value::Int(value) => value.checked_neg().map(Value::Int),
                Value::Double(value) => Some(Value::Double(-value)),
                _ => None,
            },
            Node::All(nodes) => self.decided(nodes, false),
            Node::Any(nodes) => self.decided(nodes, true),
            Node::Pair(operator, pair) => {
                let [left, right] = &**pair;
                self.pair(*operator, &self.value(left)?, &self.value(right)?)
            }
            Node::Choice(three) => {
                let [condition, yes, no] = &**three;
                match self.value(condition)? {
                    Value::Bool(value) => self.value(if value { yes } else { no }),
                    _ => None,
                }
            }
            Node::Call(call, arguments) => self.call(call, self.each(arguments)?),
        }
    }

    fn each(&self, nodes: &'a [Node]) -> Option<Vec<Value<'a>>> {
        nodes.iter().map(|node| self.value(node)).collect()
    }

    /// `&&` and `||`: a part that decides does so whatever the others are, if they are anything.
    fn decided(&self, nodes: &'a [Node], decides: bool) -> Option<Value<'a>> {
        let mut all_known = true;
        for node in nodes {
            match self.value(node) {
                Some(Value::Bool(value)) if value == decides => return Some(Value::Bool(decides)),
                Some(Value::Bool(_)) => {}
                _ => all_known = false,
            }
        }
        all_known.then_some(Value::Bool(!decides))
    }

    fn map(&self, entries: &'a [[Node; 2]]) -> Option<Value<'a>> {
        let mut all: Vec<[Value<'a>; 2]> = Vec::with_capacity(entries.len());
        for [key, value] in entries {
            let key = self.value(key)?;
            let is_key = matches!(key, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Text(_));
            if !is_key || all.iter().any(|[other, _]| self.equal(other, &key)) {
                return None;
            }
            all.push([key, self.value(value)?]);
        }
        Some(Value::Map(all))
    }

    fn attribute(&self, attribute: Attribute) -> Option<Value<'a>> {
        match attribute {
            Attribute::RequestHeaders => Some(Value::Headers(Message::Request)),
            Attribute::ResponseHeaders => Some(Value::Headers(Message::Response)),
            Attribute::ResponseTrailers => Some(Value::Headers(Message::Trailer)),
            Attribute::Metadata => Some(Value::Metadata(Box::new(Value::Map(Vec::new())))),
            Attribute::FilterState => Some(Value::Map(Vec::new())),
            other => self.attributes.attribute(other),
        }
    }

    /// `of.name`
    fn member(&self, of: Value<'a>, name: &str) -> Option<Value<'a>> {
        match (of, name) {
            (Value::Metadata(map), "filter_metadata") => Some(*map),
            (Value::Metadata(_), "typed_filter_metadata") => Some(Value::Map(Vec::new())),
            (Value::Metadata(_), _) => None,
            (of, name) => self.taken(of, &Value::text(name)),
        }
    }

    fn has(&self, of: &Value<'a>, name: &str) -> Option<bool> {
        match of {
            Value::Metadata(_) => Some(matches!(name, "filter_metadata")),
            of => {
                self.map_len(of)?;
                Some(self.at_key(of, &Value::text(name)).is_some())
            }
        }
    }

    /// `of[key]`
    fn index(&self, of: Value<'a>, key: &Value<'_>) -> Option<Value<'a>> {
        let Value::List(mut values) = of else { return self.taken(of, key) };
        let place = match key {
            Value::Int(place) => usize::try_from(*place).ok()?,
            Value::Uint(place) => usize::try_from(*place).ok()?,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is a whole number, not negative"
            )]
            Value::Double(place) if place.fract() == 0.0 && *place >= 0.0 => *place as usize,
            _ => return None,
        };
        (place < values.len()).then(|| values.swap_remove(place))
    }

    /// The value under a key of a map that is not needed any more.
    fn taken(&self, map: Value<'a>, key: &Value<'_>) -> Option<Value<'a>> {
        match map {
            Value::Map(entries) => {
                entries.into_iter().find_map(|[other, value]| self.equal(&other, key).then_some(value))
            }
            Value::Group(_) | Value::Headers(_) => self.looked_up(&map, key),
            _ => None,
        }
    }

    /// The value under a key of a map.
    pub(super) fn at_key<'v>(&self, map: &Value<'v>, key: &Value<'_>) -> Option<Value<'v>>
    where
        'a: 'v,
    {
        match map {
            Value::Map(entries) => {
                entries.iter().find(|[other, _]| self.equal(other, key)).map(|[_, value]| value.clone())
            }
            other => self.looked_up(other, key),
        }
    }

    fn looked_up(&self, map: &Value<'_>, key: &Value<'_>) -> Option<Value<'a>> {
        let Value::Text(key) = key else { return None };
        let key = std::str::from_utf8(key).ok()?;
        match map {
            Value::Group(group) => self.attribute(Attribute::named(*group, key)?),
            Value::Headers(of) => self.attributes.header(*of, &key.to_ascii_lowercase()).map(Value::Text),
            _ => None,
        }
    }

    /// How many entries a map has; one that is only looked up in has none.
    pub(super) fn map_len(&self, map: &Value<'_>) -> Option<usize> {
        match map {
            Value::Map(entries) => Some(entries.len()),
            Value::Headers(of) => Some(self.attributes.header_count(*of)),
            Value::Group(_) => Some(0),
            _ => None,
        }
    }

    fn call(&self, call: &Call, arguments: Vec<Value<'a>>) -> Option<Value<'a>> {
        let mut arguments = arguments.into_iter();
        let first = arguments.next()?;
        let second = arguments.next();
        match call {
            Call::Size => self.size(&first),
            Call::StartsWith => between(&first, &second?, |text, part| text.starts_with(part)),
            Call::EndsWith => between(&first, &second?, |text, part| text.ends_with(part)),
            Call::Contains => {
                between(&first, &second?, |text, part| memchr::memmem::find(text, part).is_some())
            }
            Call::Matches(pattern) => Some(Value::Bool(pattern.is_match(text_of(&first)?))),
            Call::Extract(pattern) => extracted(pattern, text_of(&first)?, text_of(&second?)?),
            Call::Capture(pattern) => {
                let found = pattern.captures(text_of(&first)?)?;
                Some(Value::Text(Cow::Owned(found.get(1)?.as_bytes().to_vec())))
            }
            Call::CaptureNamed(pattern) => captured(pattern, text_of(&first)?),
            Call::Dyn => Some(first),
            Call::Type => Some(Value::Type(first.kind())),
            Call::Part(part, zone) => part_of(*part, *zone, &first),
            _ => converted(call, first),
        }
    }

    fn size(&self, of: &Value<'_>) -> Option<Value<'a>> {
        let size = match of {
            Value::Text(text) => characters(text),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(values) => values.len(),
            map => self.map_len(map)?,
        };
        i64::try_from(size).ok().map(Value::Int)
    }
}

fn text_of<'v>(value: &'v Value<'_>) -> Option<&'v [u8]> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn between<'v>(text: &Value<'_>, part: &Value<'_>, is: fn(&[u8], &[u8]) -> bool) -> Option<Value<'v>> {
    Some(Value::Bool(is(text_of(text)?, text_of(part)?)))
}

/// Characters of a text; a byte that belongs to none counts as one.
fn characters(text: &[u8]) -> usize {
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

/// What `\1` and its like in a rewrite come to, where the pattern is found.
fn extracted<'v>(pattern: &Regex, text: &[u8], rewrite: &[u8]) -> Option<Value<'v>> {
    let found = pattern.captures(text)?;
    let mut out = Vec::new();
    let mut rest = rewrite.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => match rest.next()? {
                b'\\' => out.push(b'\\'),
                digit => out.extend_from_slice(group(&found, char::from(*digit).to_digit(10)?)?),
            },
            byte => out.push(*byte),
        }
        if out.len() > MAX_MADE {
            return None;
        }
    }
    Some(Value::Text(Cow::Owned(out)))
}

/// What a group matched: nothing where it took no part.
fn group<'t>(found: &Captures<'t>, number: u32) -> Option<&'t [u8]> {
    let number = number as usize;
    (number < found.len()).then(|| found.get(number).map_or(&[][..], |group| group.as_bytes()))
}

/// What each group matched, under its name or number.
fn captured<'v>(pattern: &Regex, text: &[u8]) -> Option<Value<'v>> {
    let found = pattern.captures(text)?;
    if found.iter().skip(1).flatten().map(|group| group.len()).sum::<usize>() > MAX_MADE {
        return None;
    }
    let groups = pattern.capture_names().enumerate().skip(1).map(|(number, name)| {
        let name = name.map_or_else(|| number.to_string(), str::to_owned);
        let value = found.get(number).map_or_else(Vec::new, |group| group.as_bytes().to_vec());
        [Value::Text(Cow::Owned(name.into_bytes())), Value::Text(Cow::Owned(value))]
    });
    Some(Value::Map(groups.collect()))
}

/// `int(a)` and its like.
fn converted<'v>(call: &Call, value: Value<'v>) -> Option<Value<'v>> {
    match (call, value) {
        (Call::Int, value) => int(&value).map(Value::Int),
        (Call::Uint, value) => uint(&value).map(Value::Uint),
        (Call::Double, value) => double(&value).map(Value::Double),
        (Call::Bool, value @ Value::Bool(_))
        | (Call::Bytes, value @ Value::Bytes(_))
        | (Call::Time, value @ Value::Time(_))
        | (Call::Duration, value @ Value::Duration(_)) => Some(value),
        (Call::Bool, Value::Text(text)) => match &*text.to_ascii_lowercase() {
            b"true" | b"t" | b"1" | b"yes" | b"y" => Some(Value::Bool(true)),
            b"false" | b"f" | b"0" | b"no" | b"n" => Some(Value::Bool(false)),
            _ => None,
        },
        (Call::Bytes, Value::Text(text)) => Some(Value::Bytes(text)),
        (Call::Time, Value::Int(seconds)) => {
            time::moment(i128::from(seconds) * time::SECOND).map(Value::Time)
        }
        (Call::Time, Value::Text(text)) => {
            time::parse_time(std::str::from_utf8(&text).ok()?).map(Value::Time)
        }
        (Call::Duration, Value::Text(text)) => {
            time::parse_duration(std::str::from_utf8(&text).ok()?).map(Value::Duration)
        }
        _ => None,
    }
}

/// A number as it is written, blanks around it or not.
fn read<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[expect(clippy::cast_possible_truncation, reason = "what does not fit has been ruled out")]
fn int(value: &Value<'_>) -> Option<i64> {
    /// The first number beyond what an `i64` holds; its negative is the last that it holds.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        Value::Double(value) => (*value > -BEYOND && *value < BEYOND).then_some(*value as i64),
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Time(nanos) => i64::try_from(nanos.div_euclid(time::SECOND)).ok(),
        Value::Text(text) => read(text),
        _ => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what does not fit has been ruled out"
)]
fn uint(value: &Value<'_>) -> Option<u64> {
    /// The first number beyond what a `u64` holds.
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    match value {
        Value::Uint(value) => Some(*value),
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::Double(value) => (*value >= 0.0 && *value < BEYOND).then_some(*value as u64),
        Value::Text(text) => read(text),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "that is what is asked for")]
fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        Value::Text(text) => read(text),
        _ => None,
    }
}

/// A part of a moment or of a length of time; of the latter, only what is smaller than a day.
fn part_of<'v>(part: Part, zone: Option<i128>, value: &Value<'_>) -> Option<Value<'v>> {
    let amount = match value {
        Value::Time(nanos) => {
            let clock = Clock::of(nanos + zone.unwrap_or(0));
            match part {
                Part::FullYear => clock.year,
                Part::Month => i128::from(clock.month) - 1,
                Part::Date => i128::from(clock.day),
                Part::DayOfMonth => i128::from(clock.day) - 1,
                Part::DayOfWeek => clock.weekday(),
                Part::DayOfYear => clock.day_of_year(),
                Part::Hours => clock.hour(),
                Part::Minutes => clock.minute(),
                Part::Seconds => clock.second(),
                Part::Milliseconds => clock.nanos() / 1_000_000,
            }
        }
        Value::Duration(nanos) if zone.is_none() => match part {
            Part::Hours => nanos / (3600 * time::SECOND),
            Part::Minutes => nanos / (60 * time::SECOND),
            Part::Seconds => nanos / time::SECOND,
            Part::Milliseconds => nanos % time::SECOND / 1_000_000,
            _ => return None,
        },
        _ => return None,
    };
    i64::try_from(amount).ok().map(Value::Int)
}
