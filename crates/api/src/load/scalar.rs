//! What a YAML scalar means to Kubernetes.
//!
//! `kubectl` and the API server read YAML through Go's older YAML library and turn it into JSON, so the meaning here is
//! theirs, not that of the YAML 1.2 core schema:
//!
//! - `y`, `yes`, `on`, `true` and `n`, `no`, `off`, `false` (also capitalised, or all in capitals) are booleans;
//! - numbers may have underscores and the prefixes `0x`, `0o`, `0b`; a leading `0` means octal where that is possible;
//! - a whole number written as a float (`80.0`, `8e1`) is that whole number;
//! - a timestamp is text;
//! - there is no sexagesimal notation;
//! - infinity and not-a-number are errors, since JSON has neither.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

/// The meaning of a plain scalar without a tag; `None` for a number that JSON cannot hold.
pub(super) fn plain(text: &str) -> Option<Value> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        _ => match boolean(text) {
            Some(value) => Value::Bool(value),
            None => return number(text),
        },
    })
}

/// The meaning of a scalar with one of YAML's own tags, by the tag's last word; `None` if the text does not fit it.
pub(super) fn tagged(tag: &str, text: &str) -> Option<Value> {
    match tag {
        "null" => plain(text).filter(Value::is_null),
        "bool" => boolean(text).map(Value::Bool),
        "int" => number(text).filter(|value| value.is_i64() || value.is_u64()),
        "float" => number(text).filter(Value::is_number),
        "binary" => {
            let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            String::from_utf8(STANDARD.decode(compact).ok()?).ok().map(Value::String)
        }
        _ => Some(Value::String(text.to_owned())),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A number, or the text itself where it is none; `None` for infinity and not-a-number.
fn number(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return None;
    }
    let text_value = || Value::String(text.to_owned());
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Some(text_value());
    }
    // Underscores count only where a digit or sign comes first.
    let digits = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
    if let Some(whole) = integer(&digits) {
        return Some(whole);
    }
    if !is_decimal(&digits) {
        return Some(text_value());
    }
    let value: f64 = digits.parse().ok()?;
    if !value.is_finite() {
        return Some(text_value());
    }
    Some(from_float(value))
}

/// A number in any of Go's bases, if it fits 64 bits.
fn integer(text: &str) -> Option<Value> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match magnitude.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &magnitude[2..]),
        [b'0', b'o' | b'O', ..] => (8, &magnitude[2..]),
        [b'0', b'b' | b'B', ..] => (2, &magnitude[2..]),
        [b'0', _, ..] => (8, &magnitude[1..]),
        _ => (10, magnitude),
    };
    // Rust would take a second sign here.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        0_i64.checked_sub_unsigned(magnitude).map(Value::from)
    } else {
        Some(Value::from(magnitude))
    }
}

/// Digits with at most one point and an optional exponent.
fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    !(whole.is_empty() && fraction.is_empty())
        && all_digits(whole)
        && all_digits(fraction)
        && exponent.is_none_or(|exponent| !exponent.is_empty() && all_digits(exponent))
}

/// A float as Go prints it in JSON: a whole number without a point.
fn from_float(value: f64) -> Value {
    /// Beyond this a float is no longer exact to the unit.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "the value is whole and within 2^53")]
        let whole = value as i64;
        return Value::from(whole);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn plain_scalars_mean_what_kubectl_takes_them_for() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("nUll", json!("nUll")),
            ("yes", json!(true)),
            ("On", json!(true)),
            ("y", json!(true)),
            ("N", json!(false)),
            ("off", json!(false)),
            ("oN", json!("oN")),
            ("80", json!(80)),
            ("+80", json!(80)),
            ("-80", json!(-80)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("017", json!(15)),
            ("0b11", json!(3)),
            ("08", json!(8)),
            ("0", json!(0)),
            ("-0", json!(0)),
            ("1_000", json!(1000)),
            ("80.0", json!(80)),
            ("8e1", json!(80)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("5.", json!(5)),
            ("1e400", json!("1e400")),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("-9223372036854775808", json!(-9_223_372_036_854_775_808_i64)),
            ("1:30", json!("1:30")),
            ("2024-05-01", json!("2024-05-01")),
            ("1.2.3", json!("1.2.3")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("0x", json!("0x")),
            ("0x-1", json!("0x-1")),
            (".", json!(".")),
            ("-", json!("-")),
            ("5s", json!("5s")),
            ("1e", json!("1e")),
            ("<<", json!("<<")),
        ] {
            assert_eq!(plain(text), Some(value), "{text}");
        }
    }

    #[test]
    fn json_has_no_infinity() {
        for text in [".inf", "-.Inf", "+.INF", ".nan"] {
            assert_eq!(plain(text), None, "{text}");
        }
    }

    #[test]
    fn tags_decide() {
        assert_eq!(tagged("str", "5"), Some(json!("5")));
        assert_eq!(tagged("int", "5"), Some(json!(5)));
        assert_eq!(tagged("int", "x"), None);
        assert_eq!(tagged("float", "5"), Some(json!(5)));
        assert_eq!(tagged("bool", "yes"), Some(json!(true)));
        assert_eq!(tagged("bool", "5"), None);
        assert_eq!(tagged("binary", "aGk="), Some(json!("hi")));
        assert_eq!(tagged("timestamp", "2024-05-01"), Some(json!("2024-05-01")));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-+.0-9a-fxobEe_:]{0,24}") {
            let _ = plain(&text);
        }

        #[test]
        fn decimals_read_as_themselves(value: i64) {
            prop_assert_eq!(plain(&value.to_string()), Some(json!(value)));
        }
    }
}
