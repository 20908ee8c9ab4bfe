//! Operators with two sides: sums, comparisons, membership. What has no value has none.

use std::cmp::Ordering;

use super::evaluate::Run;
use super::time;
use super::value::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Plus,
    Minus,
    Times,
    Over,
    Modulo,
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
}

impl Run<'_> {
    pub(super) fn pair<'v>(
        &self,
        operator: Operator,
        left: &Value<'v>,
        right: &Value<'v>,
    ) -> Option<Value<'v>> {
        let ordered = |is: fn(Ordering) -> bool| match order(left, right)? {
            // What is no number is neither less nor more.
            None => Some(Value::Bool(false)),
            Some(ordering) => Some(Value::Bool(is(ordering))),
        };
        match operator {
            Operator::Equal => Some(Value::Bool(self.equal(left, right))),
            Operator::Unequal => Some(Value::Bool(!self.equal(left, right))),
            Operator::Less => ordered(Ordering::is_lt),
            Operator::AtMost => ordered(Ordering::is_le),
            Operator::More => ordered(Ordering::is_gt),
            Operator::AtLeast => ordered(Ordering::is_ge),
            Operator::In => self.holds(right, left).map(Value::Bool),
            _ => calculated(operator, left, right),
        }
    }

    /// Whether two values are the same; of different kinds, only numbers can be.
    pub(super) fn equal(&self, left: &Value<'_>, right: &Value<'_>) -> bool {
        match (left, right) {
            (Value::Null, Value::Null) => true,
            (Value::Type(left), Value::Type(right)) => left == right,
            (Value::List(left), Value::List(right)) => {
                left.len() == right.len()
                    && left.iter().zip(right).all(|(left, right)| self.equal(left, right))
            }
            (Value::Headers(left), Value::Headers(right)) if left == right => true,
            (Value::Metadata(left), Value::Metadata(right)) => self.equal(left, right),
            (map, Value::Map(entries)) | (Value::Map(entries), map) => {
                let same = |[key, value]: &[Value<'_>; 2]| {
                    self.at_key(map, key).is_some_and(|found| self.equal(&found, value))
                };
                self.map_len(map) == Some(entries.len()) && entries.iter().all(same)
            }
            _ if self.map_len(left) == Some(0) => self.map_len(right) == Some(0),
            _ => order(left, right) == Some(Some(Ordering::Equal)),
        }
    }

    /// Whether a list or a map has a value; `None` where that cannot be asked.
    fn holds(&self, all: &Value<'_>, one: &Value<'_>) -> Option<bool> {
        if let Value::List(values) = all {
            return Some(values.iter().any(|value| self.equal(value, one)));
        }
        self.map_len(all)?;
        let may_be_key = matches!(
            one,
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Text(_)
        );
        may_be_key.then(|| self.at_key(all, one).is_some())
    }
}

/// How two values of one kind, or two numbers, are ordered; the inner `None` is for what is no number.
#[expect(clippy::option_option, reason = "no order and no answer are two things")]
fn order(left: &Value<'_>, right: &Value<'_>) -> Option<Option<Ordering>> {
    Some(match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) | (Value::Bytes(left), Value::Bytes(right)) => {
            Some(left.cmp(right))
        }
        (Value::Duration(left), Value::Duration(right)) | (Value::Time(left), Value::Time(right)) => {
            Some(left.cmp(right))
        }
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Double(left), right) => against(*left, whole(right)?),
        (left, Value::Double(right)) => against(*right, whole(left)?).map(Ordering::reverse),
        (left, right) => Some(whole(left)?.cmp(&whole(right)?)),
    })
}

fn whole(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    }
}

/// A double beside a whole number, without rounding either.
fn against(double: f64, whole: i128) -> Option<Ordering> {
    /// Beyond every whole number there is.
    const BEYOND: f64 = 1e20;
    if double.is_nan() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is within what is far less than an i128 holds")]
    let floor = double.clamp(-BEYOND, BEYOND).floor() as i128;
    Some(floor.cmp(&whole).then(if double.fract() == 0.0 { Ordering::Equal } else { Ordering::Greater }))
}

fn calculated<'v>(operator: Operator, left: &Value<'v>, right: &Value<'v>) -> Option<Value<'v>> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(Value::Int(match operator {
            Operator::Plus => left.checked_add(*right)?,
            Operator::Minus => left.checked_sub(*right)?,
            Operator::Times => left.checked_mul(*right)?,
            Operator::Over => left.checked_div(*right)?,
            _ => left.checked_rem(*right)?,
        })),
        (Value::Uint(left), Value::Uint(right)) => Some(Value::Uint(match operator {
            Operator::Plus => left.checked_add(*right)?,
            Operator::Minus => left.checked_sub(*right)?,
            Operator::Times => left.checked_mul(*right)?,
            Operator::Over => left.checked_div(*right)?,
            _ => left.checked_rem(*right)?,
        })),
        (Value::Double(left), Value::Double(right)) => Some(Value::Double(match operator {
            Operator::Plus => left + right,
            Operator::Minus => left - right,
            Operator::Times => left * right,
            Operator::Over => left / right,
            _ => return None,
        })),
        _ => timed(operator, left, right),
    }
}

/// Sums of moments and lengths of time.
fn timed<'v>(operator: Operator, left: &Value<'v>, right: &Value<'v>) -> Option<Value<'v>> {
    match (operator, left, right) {
        (Operator::Plus, Value::Duration(left), Value::Duration(right)) => {
            time::duration(left + right).map(Value::Duration)
        }
        (Operator::Minus, Value::Duration(left), Value::Duration(right))
        | (Operator::Minus, Value::Time(left), Value::Time(right)) => {
            time::duration(left - right).map(Value::Duration)
        }
        (Operator::Plus, Value::Time(time), Value::Duration(span))
        | (Operator::Plus, Value::Duration(span), Value::Time(time)) => {
            time::moment(time + span).map(Value::Time)
        }
        (Operator::Minus, Value::Time(time), Value::Duration(span)) => {
            time::moment(time - span).map(Value::Time)
        }
        _ => None,
    }
}
