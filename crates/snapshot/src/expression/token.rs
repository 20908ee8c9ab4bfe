//! From the text of an expression to its words.

use super::ExpressionError;

/// A word of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Name(String),
    /// `` `a-b` ``, which only a member may be called.
    Quoted(String),
    /// `&&`, `(` and their like.
    Sign(&'static str),
    End,
}

/// Signs, the longer ones first.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "+", "-", "*", "/",
    "%", "!", "<", ">",
];

type Read<T> = Result<T, ExpressionError>;

/// The words of `text` with their positions, behind them [`Token::End`].
pub(super) fn tokens(text: &str) -> Read<Vec<(Token, usize)>> {
    let mut scan = Scan { text, at: 0 };
    let mut all = Vec::new();
    loop {
        scan.skip_blanks();
        let at = scan.at;
        let token = scan.token()?;
        let ended = token == Token::End;
        all.push((token, at));
        if ended {
            return Ok(all);
        }
    }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error<T>(&self, at: usize, why: impl Into<String>) -> Read<T> {
        Err(ExpressionError { at, why: why.into() })
    }

    /// Blanks, and comments to the end of a line.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
            self.at += rest.len() - blank.len();
            if !blank.starts_with("//") {
                return;
            }
            self.at += blank.find('\n').unwrap_or(blank.len());
        }
    }

    fn token(&mut self) -> Read<Token> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        let second = rest[first.len_utf8()..].chars().next();
        match (first, second) {
            ('0'..='9', _) | ('.', Some('0'..='9')) => self.number(),
            ('"' | '\'', _) | ('r' | 'R' | 'b' | 'B', Some('"' | '\'')) => self.text(),
            ('b' | 'B', Some('r' | 'R')) if rest[2..].starts_with(['"', '\'']) => self.text(),
            ('a'..='z' | 'A'..='Z' | '_', _) => {
                let end = rest.find(|letter: char| !is_word(letter)).unwrap_or(rest.len());
                self.at += end;
                Ok(Token::Name(rest[..end].to_owned()))
            }
            ('`', _) => self.quoted(),
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => {
                    self.at += sign.len();
                    Ok(Token::Sign(sign))
                }
                None => self.error(self.at, format!("{first:?} means nothing here")),
            },
        }
    }

    fn quoted(&mut self) -> Read<Token> {
        let rest = &self.rest()[1..];
        let named = |letter: char| is_word(letter) || matches!(letter, '.' | '-' | '/' | ' ');
        match rest.split_once('`') {
            Some((name, _)) if !name.is_empty() && name.chars().all(named) => {
                self.at += name.len() + 2;
                Ok(Token::Quoted(name.to_owned()))
            }
            _ => self.error(self.at, "a quoted name does not end, or holds something else than letters"),
        }
    }

    fn number(&mut self) -> Read<Token> {
        let (start, rest) = (self.at, self.rest());
        if let Some(hex) =
            rest.strip_prefix("0x").filter(|hex| hex.starts_with(|c: char| c.is_ascii_hexdigit()))
        {
            let end = hex.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(hex.len());
            self.at += 2 + end;
            return self.whole(start, u64::from_str_radix(&hex[..end], 16).ok());
        }
        let digits = |text: &str| text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let mut end = digits(rest);
        let mut is_double = false;
        if rest[end..].starts_with('.') && digits(&rest[end + 1..]) > 0 {
            end += 1 + digits(&rest[end + 1..]);
            is_double = true;
        }
        if let Some(behind) = rest[end..].strip_prefix(['e', 'E']) {
            let sign = usize::from(behind.starts_with(['+', '-']));
            let exponent = digits(&behind[sign..]);
            if exponent > 0 {
                end += 1 + sign + exponent;
                is_double = true;
            }
        }
        self.at += end;
        if !is_double {
            return self.whole(start, rest[..end].parse().ok());
        }
        match rest[..end].parse() {
            Ok(value) => Ok(Token::Double(value)),
            Err(_) => self.error(start, "is no number"),
        }
    }

    /// A whole number that was read, with a `u` behind it or not.
    fn whole(&mut self, start: usize, value: Option<u64>) -> Read<Token> {
        let Some(value) = value else { return self.error(start, "the number is too large") };
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            return Ok(Token::Uint(value));
        }
        Ok(Token::Int(value))
    }

    fn text(&mut self) -> Read<Token> {
        let start = self.at;
        let prefix = self.rest().find(['"', '\'']).unwrap_or(0);
        let is = |letter: char| self.text[start..start + prefix].to_ascii_lowercase().contains(letter);
        let (is_bytes, is_raw) = (is('b'), is('r'));
        self.at += prefix;
        let quote = self.rest().chars().next().unwrap_or('"');
        let long = [quote; 3].iter().collect::<String>();
        let end = if self.rest().starts_with(&long) { long } else { quote.to_string() };
        self.at += end.len();
        let mut out = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(&end) {
                self.at += end.len();
                break;
            }
            match rest.chars().next() {
                None => return self.error(start, "a text does not end"),
                Some('\n' | '\r') if end.len() == 1 => return self.error(start, "a text does not end"),
                Some('\\') if !is_raw => self.escape(is_bytes, &mut out)?,
                Some(letter) => {
                    self.at += letter.len_utf8();
                    put(letter, &mut out);
                }
            }
        }
        if is_bytes {
            return Ok(Token::Bytes(out));
        }
        match String::from_utf8(out) {
            Ok(text) => Ok(Token::Text(text)),
            Err(_) => self.error(start, "a text is no text"),
        }
    }

    /// A backslash and what it stands for: in bytes, a number is a byte, in a text a character.
    fn escape(&mut self, is_bytes: bool, out: &mut Vec<u8>) -> Read<()> {
        let start = self.at;
        let rest = &self.rest()[1..];
        let letter = rest.chars().next().unwrap_or(' ');
        let plain = match letter {
            'a' => Some('\x07'),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            '\\' | '\'' | '"' | '`' | '?' => Some(letter),
            _ => None,
        };
        if let Some(plain) = plain {
            self.at += 2;
            put(plain, out);
            return Ok(());
        }
        let (skip, length, radix) = match letter {
            'x' | 'X' => (1, 2, 16),
            'u' if !is_bytes => (1, 4, 16),
            'U' if !is_bytes => (1, 8, 16),
            '0'..='3' => (0, 3, 8),
            _ => return self.error(start, "a backslash stands before something it says nothing of"),
        };
        let digits = rest.get(skip..skip + length).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
        let known = match code {
            Some(code) if is_bytes => u8::try_from(code).ok().map(|byte| out.push(byte)),
            Some(code) => char::from_u32(code).map(|letter| put(letter, out)),
            None => None,
        };
        self.at += 1 + skip + length;
        match known {
            Some(()) => Ok(()),
            None => self.error(start, "a backslash stands before a number that is no character"),
        }
    }
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn put(letter: char, out: &mut Vec<u8>) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}
