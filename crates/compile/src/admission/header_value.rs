//! Values of headers, with their `%…%` operators (`validateHeaderValue`): Istio reads their form, not their names.

use super::{Verdict, fault};

/// Where in a value one is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Text,
    Name,
    /// After the opening parenthesis.
    Arguments,
    /// After a list's opening bracket or a comma.
    Item,
    /// In an argument.
    Argument,
    /// After an item of a list.
    ItemEnd,
    /// After a list's closing bracket.
    ListEnd,
    /// After the closing parenthesis.
    Close,
}

pub(super) fn check(value: &str) -> Verdict {
    if value.bytes().any(|byte| byte == 0x7f || (byte < 0x20 && byte != b'\t')) {
        return fault("has a control character", "remove it");
    }
    match form(value) {
        Ok(()) => Ok(()),
        Err(why) => fault(why, "write %% for a percent sign, or an operator such as %REQ(x-name)%"),
    }
}

fn form(value: &str) -> Result<(), &'static str> {
    let mut at = At::Text;
    let mut rest = value.bytes().peekable();
    while let Some(byte) = rest.next() {
        at = match (at, byte) {
            (At::Text, b'%') => match rest.peek() {
                None => return Err("ends with a single percent sign"),
                Some(b'%') => {
                    rest.next();
                    At::Text
                }
                Some(_) => At::Name,
            },
            (At::Text, _) => At::Text,
            (At::Name, b'%') => At::Text,
            (At::Name, b'(') => At::Arguments,
            (At::Name, _) => At::Name,
            (At::Arguments, b'[') => At::Item,
            (At::Arguments, b' ') => At::Arguments,
            (At::Arguments, _) => At::Argument,
            (At::Item, b'"') => At::Argument,
            (At::Item, b' ') => At::Item,
            (At::Item, _) => return Err("has an operator whose list holds something without quotes"),
            (At::Argument, b'\\') => match rest.next() {
                None => return Err("ends with a backslash within an operator"),
                Some(_) => At::Argument,
            },
            (At::Argument, b')') => At::Close,
            (At::Argument, b'"') => At::ItemEnd,
            (At::Argument, _) => At::Argument,
            (At::ItemEnd, b',') => At::Item,
            (At::ItemEnd, b']') => At::ListEnd,
            (At::ItemEnd, b' ') => At::ItemEnd,
            (At::ItemEnd, _) => return Err("has an operator whose list is not separated by commas"),
            (At::ListEnd, b')') => At::Close,
            (At::ListEnd, b' ') => At::ListEnd,
            (At::ListEnd, _) => return Err("has an operator whose parenthesis is not closed"),
            (At::Close, b'%') => At::Text,
            (At::Close, b' ') => At::Close,
            (At::Close, _) => {
                return Err("has something between the parenthesis of an operator and its percent sign");
            }
        };
    }
    if at == At::Text { Ok(()) } else { Err("has an operator that does not end") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators() {
        for (value, fine) in [
            ("", true),
            ("plain\ttext", true),
            ("100%%", true),
            ("%REQ(x)%", true),
            ("a %START_TIME% b", true),
            ("%UPSTREAM_METADATA([\"a\", \"b\"])%", true),
            ("%REQ(x) %", true),
            ("%A%%", false),
            ("100%", false),
            ("%A", false),
            ("%A(b", false),
            ("%A(b)c%", false),
            ("%A([b])%", false),
            ("%A([\"b\" \"c\"])%", false),
            ("%A([\"b\"]x)%", false),
            ("%A(b\\", false),
            ("a\nb", false),
            ("a\u{7f}", false),
        ] {
            assert_eq!(check(value).is_ok(), fine, "{value:?}");
        }
    }
}
