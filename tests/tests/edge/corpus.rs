//! Requests that two parsers may read differently: forms known from request smuggling, each alone and several at once.
//! The same seed makes the same corpus.

use portcullis_tests::frames::get;

/// One item: what a client sends, for `HOST`.
pub(crate) struct Item {
    pub(crate) number: usize,
    pub(crate) bytes: Vec<u8>,
    /// Fields and body of one over HTTP/2.
    pub(crate) http2: Option<Stream>,
}

/// A request over HTTP/2.
pub(crate) struct Stream {
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// The forms one by one, then `more` mixtures of them.
pub(crate) fn corpus(seed: u64, more: usize) -> Vec<Item> {
    let mut dice = Dice(seed | 1);
    let mut shapes: Vec<Shape> = Vec::new();
    for body in 0..BODIES {
        shapes.push(Shape { body, ..Shape::default() });
        for &name in ENCODING_NAMES {
            shapes.push(Shape { encoding: Some((name, "chunked")), body, ..Shape::default() });
            shapes.push(Shape {
                encoding: Some((name, "chunked")),
                length: LENGTHS[0],
                body,
                ..Shape::default()
            });
        }
        for &name in LENGTH_NAMES {
            shapes.push(Shape { length: Some((name, Length::True)), body, ..Shape::default() });
        }
    }
    for &value in ENCODINGS {
        shapes.push(Shape { encoding: Some(("Transfer-Encoding", value)), body: 1, ..Shape::default() });
        let length = Some(("Content-Length", Length::True));
        shapes.push(Shape {
            encoding: Some(("Transfer-Encoding", value)),
            length,
            body: 1,
            ..Shape::default()
        });
    }
    for &(length, body) in
        LENGTH_VALUES.iter().flat_map(|length| [(length, 0), (length, 2)]).collect::<Vec<_>>().iter()
    {
        shapes.push(Shape { length: Some(("Content-Length", *length)), body, ..Shape::default() });
    }
    for &extra in EXTRAS {
        shapes.push(Shape { extra: [extra, ""], length: LENGTHS[0], body: 2, ..Shape::default() });
        shapes.push(Shape { extra: [extra, ""], encoding: ENCODED, body: 1, ..Shape::default() });
    }
    for &line_end in LINE_ENDS {
        shapes.push(Shape { line_end, length: LENGTHS[0], body: 2, ..Shape::default() });
    }
    shapes.extend((0..more).map(|_| Shape::any(&mut dice)));
    let item = |(number, shape): (usize, &Shape)| Item { number, bytes: shape.bytes(number), http2: None };
    shapes.iter().enumerate().map(item).collect()
}

/// Requests over HTTP/2, which become HTTP/1 on their way: each odd field beside a body with a request in it. Numbers
/// begin at `from`.
pub(crate) fn over_http2(from: usize) -> Vec<Item> {
    let encodings = ENCODING_NAMES.iter().map(|&name| (name, "chunked".to_owned()));
    let values = ENCODINGS.iter().map(|&value| ("transfer-encoding", value.to_owned()));
    let lengths = LENGTH_NAMES.iter().map(|&name| (name, "0".to_owned()));
    let numbers = LENGTH_VALUES.iter().map(|value| ("content-length", value.text(body(2, from).len())));
    let extras = EXTRAS.iter().map(|&extra| extra.split_once(':').unwrap_or((extra, "")));
    let extras = extras.map(|(name, value)| (name, value.trim().to_owned()));
    let fields: Vec<(&str, String)> =
        encodings.chain(values).chain(lengths).chain(numbers).chain(extras).collect();
    let item = |(number, (name, value)): (usize, &(&str, String))| {
        let number = from + number;
        let path = format!("/{number}/main");
        let mut fields = get(&path).map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        (fields[0].1, fields[2].1) = ("POST".to_owned(), "HOST".to_owned());
        fields.push((name.to_ascii_lowercase(), value.clone()));
        let body = body(if number.is_multiple_of(2) { 1 } else { 2 }, number);
        // The host's name makes the block longer: it is put in before the block is made.
        Item { number, bytes: Vec::new(), http2: Some(Stream { fields, body }) }
    };
    fields.iter().enumerate().map(item).collect()
}

/// What a request is made of.
#[derive(Debug, Clone, Copy)]
struct Shape {
    method: &'static str,
    version: &'static str,
    line_end: &'static str,
    encoding: Option<(&'static str, &'static str)>,
    again: Option<(&'static str, &'static str)>,
    length: Option<(&'static str, Length)>,
    extra: [&'static str; 2],
    body: usize,
    /// Whether the length stands before the encoding.
    length_first: bool,
}

/// What is said of the body's length.
#[derive(Debug, Clone, Copy)]
enum Length {
    True,
    /// So much more or less.
    Off(i64),
    /// The true one between these.
    Within(&'static str, &'static str),
    Is(&'static str),
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            method: "POST",
            version: "HTTP/1.1",
            line_end: "\r\n",
            encoding: None,
            again: None,
            length: None,
            extra: [""; 2],
            body: 0,
            length_first: true,
        }
    }
}

impl Shape {
    fn any(dice: &mut Dice) -> Self {
        let encoding = |dice: &mut Dice| {
            // Half of them plain, so that what is odd is elsewhere.
            let (name, value) = (dice.mostly(ENCODING_NAMES), dice.mostly(ENCODINGS));
            (name, value)
        };
        Self {
            method: dice.of(&["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"]),
            version: dice.mostly(&["HTTP/1.1", "HTTP/1.0", "HTTP/1.1 ", "HTTP/01.1", "HTTP/2.0"]),
            line_end: dice.mostly(LINE_ENDS),
            encoding: dice.half().then(|| encoding(dice)),
            again: dice.eighth().then(|| encoding(dice)),
            length: dice.half().then(|| (dice.mostly(LENGTH_NAMES), dice.mostly(LENGTH_VALUES))),
            extra: [
                if dice.half() { dice.of(EXTRAS) } else { "" },
                if dice.eighth() { dice.of(EXTRAS) } else { "" },
            ],
            body: dice.below(BODIES),
            length_first: dice.half(),
        }
    }

    fn bytes(&self, number: usize) -> Vec<u8> {
        let body = body(self.body, number);
        let mut fields = vec!["Host: HOST".to_owned()];
        let length = self.length.map(|(name, length)| format!("{name}: {}", length.text(body.len())));
        let encodings = [self.encoding, self.again].into_iter().flatten();
        let encodings = encodings.map(|(name, value)| format!("{name}: {value}"));
        if self.length_first {
            fields.extend(length.clone());
        }
        fields.extend(encodings);
        if !self.length_first {
            fields.extend(length);
        }
        fields.extend(self.extra.iter().filter(|extra| !extra.is_empty()).map(|&extra| extra.to_owned()));
        let Self { method, version, line_end, .. } = self;
        let head = format!(
            "{method} /{number}/main {version}{line_end}{}{line_end}{line_end}",
            fields.join(line_end)
        );
        let tail = format!("GET /{number}/tail HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), &body, tail.as_bytes()].concat()
    }
}

impl Length {
    fn text(self, length: usize) -> String {
        match self {
            Self::True => length.to_string(),
            Self::Off(by) => (length as i64 + by).max(0).to_string(),
            Self::Within(before, behind) => format!("{before}{length}{behind}"),
            Self::Is(text) => text.to_owned(),
        }
    }
}

/// How many bodies there are.
const BODIES: usize = 13;

/// A body, with a request hidden in or behind it.
fn body(which: usize, number: usize) -> Vec<u8> {
    let hidden = format!("GET /{number}/smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n");
    let size = format!("{:x}", hidden.len());
    match which {
        0 => String::new(),
        1 => format!("{size}\r\n{hidden}\r\n0\r\n\r\n"),
        2 => hidden,
        3 => format!("0\r\n\r\n{hidden}"),
        4 => format!("3\r\nabc\r\n0\r\n\r\n{hidden}"),
        5 => format!("{size};a=\"b\"\r\n{hidden}\r\n000\r\nx: y\r\n\r\n"),
        6 => format!("3\nabc\n0\n\n{hidden}"),
        7 => format!("3 \r\nabc\r\n0\r\n\r\n{hidden}"),
        8 => format!("0x3\r\nabc\r\n0\r\n\r\n{hidden}"),
        9 => format!("3;\nabc\r\n0\r\n\r\n{hidden}"),
        10 => format!("3\r\nabcXX0\r\n\r\n{hidden}"),
        11 => format!("00000000000000003\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n{hidden}"),
        _ => format!("3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"),
    }
    .into_bytes()
}

const ENCODED: Option<(&str, &str)> = Some(("Transfer-Encoding", "chunked"));
const LENGTHS: [Option<(&str, Length)>; 1] = [Some(("Content-Length", Length::True))];

const ENCODING_NAMES: &[&str] = &[
    "Transfer-Encoding",
    "transfer-encoding",
    "TRANSFER-ENCODING",
    "Transfer_Encoding",
    "Transfer.Encoding",
    "TransferEncoding",
    "Transfer-Encoding ",
    "Transfer-Encoding\t",
    " Transfer-Encoding",
    "\tTransfer-Encoding",
    "Transfer-Encoding\0",
    "X: y\r\n Transfer-Encoding",
    "X: y\nTransfer-Encoding",
    "X: y\rTransfer-Encoding",
    "X: y\r\n\tz\r\nTransfer-Encoding",
    "Transfer\u{2010}Encoding",
];

const ENCODINGS: &[&str] = &[
    "chunked",
    "Chunked",
    "CHUNKED",
    "  chunked",
    "\tchunked",
    "chunked ",
    "chunked\t",
    "\u{b}chunked",
    "chunked\u{b}",
    "\u{a0}chunked",
    "\"chunked\"",
    "'chunked'",
    "chunked, chunked",
    "identity, chunked",
    "chunked, identity",
    "gzip, chunked",
    "identity",
    "xchunked",
    "chunkedx",
    "chunked;q=1",
    "chunked;",
    ",chunked",
    "chunked,",
    "",
    "\r\n chunked",
    "chun\0ked",
    "chunk",
    "c\u{fe}hunked",
];

const LENGTH_NAMES: &[&str] = &[
    "Content-Length",
    "content-length",
    "CONTENT-LENGTH",
    "Content_Length",
    "Content.Length",
    "ContentLength",
    "Content-Length ",
    "\tContent-Length",
    "Content-Length\0",
    "X: y\nContent-Length",
    "X: y\rContent-Length",
    "X: y\r\n Content-Length",
];

const LENGTH_VALUES: &[Length] = &[
    Length::True,
    Length::Off(1),
    Length::Off(-1),
    Length::Off(-5),
    Length::Is("0"),
    Length::Is("-0"),
    Length::Is("-1"),
    Length::Is(""),
    Length::Is("0x0"),
    Length::Is("1e1"),
    Length::Is("0, 0"),
    Length::Is("18446744073709551616"),
    Length::Is("9999999999999999999999"),
    Length::Within("+", ""),
    Length::Within("0", ""),
    Length::Within("00000000000000000000", ""),
    Length::Within("  ", ""),
    Length::Within("\t", ""),
    Length::Within("", " "),
    Length::Within("", "\t"),
    Length::Within("\u{b}", ""),
    Length::Within("", "\u{b}"),
    Length::Within("", ".0"),
    Length::Within("", ";x"),
    Length::Within("", ", 0"),
    Length::Within("0, ", ""),
    Length::Within("", "\0"),
    Length::Within("", "_0"),
    Length::Within("\r\n ", ""),
    Length::Within("0\r\nContent-Length: ", ""),
    Length::Within("", "\r\nContent-Length: 0"),
    Length::Within("0\r\nX: y\r\ncontent-length: ", ""),
];

const LINE_ENDS: &[&str] = &["\r\n", "\n", "\r", "\r\r\n", "\n\r\n"];

const EXTRAS: &[&str] = &[
    "Connection: close",
    "Connection: keep-alive",
    "Connection: Content-Length",
    "Connection: Transfer-Encoding",
    "Connection: Host",
    "Connection: upgrade\r\nUpgrade: websocket",
    "Connection: upgrade\r\nUpgrade: h2c",
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Expect: 100-continue",
    "Expect: 200-ok",
    "TE: trailers, chunked",
    "Trailer: Content-Length",
    "Host: b.test",
    "host:HOST",
    "Host : b.test",
    " Host: b.test",
    "X-HTTP-Method-Override: DELETE",
    "X: \u{fe}\u{ff}",
    "X: a\0b",
    "X",
    ": x",
    "X :",
    "X:",
    "X: y\r",
    "(): x",
    "Content-Type: multipart/byteranges; boundary=x",
    "Content-Encoding: gzip",
    "Max-Forwards: 0",
];

/// Numbers that look random (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() >> 11) as usize % end
    }

    fn half(&mut self) -> bool {
        self.below(2) == 0
    }

    fn eighth(&mut self) -> bool {
        self.below(8) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// The first, which is the plain one, most of the time.
    fn mostly<T: Copy>(&mut self, all: &[T]) -> T {
        if self.below(3) > 0 { all[0] } else { self.of(all) }
    }
}
