//! Expressions as Go compiles them (`validateStringRegexp`), which is where Istio's verdict comes from.

use std::iter::Peekable;
use std::str::Chars;

use portcullis_snapshot::re2;

use super::{Verdict, fault};

/// The most repetitions, also of repetitions within repetitions (Go's `maxRepeat`).
const MAX_REPEAT: u64 = 1000;

const REMEDY: &str = "mend the expression; RE2 has no look-around and no back-references";

/// `field` is what it is called in the message.
pub(super) fn check(pattern: &str) -> Verdict {
    let verdict = re2::syntax(pattern).and_then(|()| Scan::new(pattern).run());
    verdict.or_else(|why| fault(format!("cannot be compiled: {why}"), REMEDY))
}

/// Looks for what Go refuses and our engine takes: stacked and large repetitions, other flags and escapes.
struct Scan<'p> {
    rest: Peekable<Chars<'p>>,
    /// For each open group, the largest product of repetitions inside so far.
    groups: Vec<u64>,
    /// The product of the last piece, and whether it was a repetition.
    last: u64,
    repeated: bool,
}

impl<'p> Scan<'p> {
    fn new(pattern: &'p str) -> Self {
        Self { rest: pattern.chars().peekable(), groups: vec![1], last: 1, repeated: false }
    }

    fn run(mut self) -> Result<(), String> {
        while let Some(letter) = self.rest.next() {
            match letter {
                '\\' => self.escape()?,
                '[' => self.class(),
                '(' => self.open()?,
                ')' => self.close(),
                '*' | '+' | '?' => self.repeat(1)?,
                '{' => match self.counts() {
                    Some(most) => self.repeat(most)?,
                    None => self.piece(1),
                },
                '|' | '^' => (self.last, self.repeated) = (1, false),
                _ => self.piece(1),
            }
        }
        Ok(())
    }

    fn piece(&mut self, product: u64) {
        (self.last, self.repeated) = (product, false);
        self.note(product);
    }

    fn note(&mut self, product: u64) {
        if let Some(group) = self.groups.last_mut() {
            *group = (*group).max(product);
        }
    }

    fn repeat(&mut self, most: u64) -> Result<(), String> {
        if self.rest.peek() == Some(&'?') {
            self.rest.next();
        }
        if self.repeated {
            return Err("a repetition cannot be repeated without parentheses".to_owned());
        }
        self.last = self.last.saturating_mul(most.max(1));
        if self.last > MAX_REPEAT {
            return Err(format!("it repeats more than {MAX_REPEAT} times"));
        }
        self.repeated = true;
        self.note(self.last);
        Ok(())
    }

    /// The greatest number of `{n}`, `{n,}` or `{n,m}` if that is what follows, which is then taken.
    fn counts(&mut self) -> Option<u64> {
        let inside: String = self.rest.clone().take_while(|letter| *letter != '}').collect();
        let closed = self.rest.clone().nth(inside.chars().count()) == Some('}');
        let (low, high) = inside.split_once(',').unwrap_or((&inside, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !closed || low.is_empty() || !digits(low) || !digits(high) {
            return None;
        }
        let most = [low, high]
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().unwrap_or(u64::MAX));
        self.rest.nth(inside.chars().count());
        most.max()
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.rest.next() {
            Some('Q') => {
                let mut before = ' ';
                for letter in self.rest.by_ref() {
                    if before == '\\' && letter == 'E' {
                        break;
                    }
                    before = letter;
                }
            }
            Some(letter @ ('<' | '>' | 'u' | 'U')) => return Err(format!("\\{letter} means nothing")),
            Some('p' | 'P' | 'x') if self.rest.peek() == Some(&'{') => {
                while self.rest.next().is_some_and(|letter| letter != '}') {}
            }
            Some('b') if self.rest.peek() == Some(&'{') && self.counts_ahead().is_none() => {}
            _ => {}
        }
        self.piece(1);
        Ok(())
    }

    fn counts_ahead(&self) -> Option<u64> {
        let mut ahead = Self { rest: self.rest.clone(), groups: Vec::new(), last: 1, repeated: false };
        ahead.rest.next();
        ahead.counts()
    }

    fn class(&mut self) {
        if self.rest.peek() == Some(&'^') {
            self.rest.next();
        }
        let mut first = true;
        while let Some(letter) = self.rest.next() {
            match letter {
                ']' if !first => break,
                '\\' => {
                    self.rest.next();
                }
                '[' if self.rest.peek() == Some(&':') => {
                    let named: String = self.rest.clone().take_while(|letter| *letter != ']').collect();
                    if named.ends_with(':') {
                        self.rest.nth(named.chars().count());
                    }
                }
                _ => {}
            }
            first = false;
        }
        self.piece(1);
    }

    fn open(&mut self) -> Result<(), String> {
        self.groups.push(1);
        (self.last, self.repeated) = (1, false);
        if self.rest.peek() != Some(&'?') {
            return Ok(());
        }
        self.rest.next();
        if matches!(self.rest.peek(), Some('P' | '<')) {
            while self.rest.next().is_some_and(|letter| letter != '>') {}
            return Ok(());
        }
        for letter in self.rest.by_ref() {
            match letter {
                'i' | 'm' | 's' | 'U' | '-' => {}
                ':' => return Ok(()),
                ')' => {
                    self.groups.pop();
                    return Ok(());
                }
                other => return Err(format!("{other:?} is no flag")),
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        let inside = if self.groups.len() > 1 { self.groups.pop() } else { None };
        self.piece(inside.unwrap_or(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_compiles() {
        for pattern in [
            "",
            "a*?",
            "(a*)*",
            "a{1000}",
            "(?i)a|b",
            "(?P<n>a)",
            "(?<n>a)",
            "[*+?{2}]+",
            r"\*+",
            "a{,2}",
            "a{2",
            "{",
            r"\Q**\E",
            "[[:alpha:]*]+",
            "(a{10}){100}",
            r"\pL+",
            r"\x{41}{2}",
            "(?s-U:.)*",
            r"[\]]**?".trim_end_matches("*?"),
        ] {
            assert!(check(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn what_go_refuses() {
        for pattern in [
            "*",
            "a**",
            "a+?+",
            "a{2}{3}",
            "a{1001}",
            "a{2,1001}",
            "(a{10}){101}",
            "(?x)a",
            "(?=a)",
            "(?!a)",
            r"\1",
            "[",
            "(",
            ")",
            r"\<a",
            r"\u0041",
            "(?P=n)",
            "a{2,1}",
            r"\",
        ] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
        assert!(check(&"a".repeat(1024)).is_ok());
        assert!(check(&"a".repeat(1025)).is_err());
    }
}
