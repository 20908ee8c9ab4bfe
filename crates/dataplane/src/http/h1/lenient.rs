//! Heads of requests that need repair, for gateways that are told to take them
//! (`[compat] lenient_http1`).
//!
//! What Istio's gateway repairs is repaired here, and nothing else: lines that end in LF alone, CR
//! inside of a value, values folded over several lines, several Host fields, and runs of blanks in
//! the request line. The result is a head in canonical form, which then goes through the same
//! strict parser as any other: no upstream ever sees what was repaired, so it cannot read it in
//! another way. Fields that say where a body ends are never repaired.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};

use super::head::{HeadError, MAX_HEADERS, Scan, check_length, is_blank};

impl Scan {
    /// As [`end`](Scan::end), with lines that end in CRLF or in LF alone.
    ///
    /// # Errors
    /// A head beyond the longest one, and one that begins with an empty line.
    pub(crate) fn lenient_end(&mut self, buffer: &[u8]) -> Result<Option<usize>, HeadError> {
        for offset in memchr::memchr_iter(b'\n', &buffer[self.looked_at..]) {
            let newline = self.looked_at + offset;
            if matches!(&buffer[self.line_start..newline], b"" | b"\r") {
                if self.line_start == 0 {
                    return Err(HeadError::Malformed);
                }
                return check_length(newline + 1).map(|()| Some(newline + 1));
            }
            self.line_start = newline + 1;
        }
        self.looked_at = buffer.len();
        check_length(buffer.len()).map(|()| None)
    }
}

/// A field as it will be written.
struct Field<'a> {
    name: &'a [u8],
    value: Cow<'a, [u8]>,
}

impl<'a> Field<'a> {
    /// Reads the line that begins a field. Its name is left to the strict parser.
    fn begin(line: &'a [u8]) -> Result<Self, HeadError> {
        let colon = memchr::memchr(b':', line).ok_or(HeadError::Malformed)?;
        let mut field = Self { name: &line[..colon], value: Cow::Borrowed(b"") };
        let value = &line[colon + 1..];
        if memchr::memchr(b'\r', value).is_none() {
            field.value = Cow::Borrowed(value);
        } else {
            field.repair(value)?;
        }
        Ok(field)
    }

    /// Adds what stands on another line, or what holds CR, which is left out.
    fn repair(&mut self, piece: &[u8]) -> Result<(), HeadError> {
        let framing = [&b"content-length"[..], b"transfer-encoding"];
        if framing.iter().any(|name| self.name.eq_ignore_ascii_case(name)) {
            return Err(HeadError::Malformed);
        }
        self.value.to_mut().extend(piece.iter().filter(|&&byte| byte != b'\r'));
        Ok(())
    }

    fn is_host(&self) -> bool {
        self.name.eq_ignore_ascii_case(b"host")
    }
}

/// The canonical form of a request head that ends with its empty line: CRLF line ends, single
/// spaces in the request line, one line a field, at most one Host.
///
/// # Errors
/// What cannot be repaired. What is wrong for another reason is left for the strict parser to say.
pub(crate) fn canonical(head: &[u8]) -> Result<BytesMut, HeadError> {
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut out = BytesMut::with_capacity(head.len() + 64);
    request_line(lines.next().unwrap_or_default(), &mut out)?;
    let mut fields: Vec<Field<'_>> = Vec::with_capacity(16);
    for line in lines.take_while(|line| !line.is_empty()) {
        if is_blank(line[0]) {
            fields.last_mut().ok_or(HeadError::Malformed)?.repair(line)?;
        } else if fields.len() == MAX_HEADERS {
            return Err(HeadError::TooMany);
        } else {
            fields.push(Field::begin(line)?);
        }
    }
    let mut host = Some(joined_host(&fields));
    for field in &fields {
        let value = match field.is_host() {
            false => &field.value,
            true => match &host {
                Some(joined) => joined,
                None => continue,
            },
        };
        out.put_slice(field.name);
        out.put_slice(b": ");
        out.put_slice(value);
        out.put_slice(b"\r\n");
        if field.is_host() {
            host = None;
        }
    }
    out.put_slice(b"\r\n");
    Ok(out)
}

/// Writes the words of a request line with one space between them.
fn request_line(line: &[u8], out: &mut BytesMut) -> Result<(), HeadError> {
    if memchr::memchr(b'\r', line).is_some() {
        return Err(HeadError::Malformed);
    }
    for (number, word) in line.split(|&byte| is_blank(byte)).filter(|word| !word.is_empty()).enumerate() {
        if number > 0 {
            out.put_u8(b' ');
        }
        out.put_slice(word);
    }
    out.put_slice(b"\r\n");
    Ok(())
}

/// All values of Host that are not empty, with a comma between them.
fn joined_host<'a>(fields: &'a [Field<'_>]) -> Cow<'a, [u8]> {
    let mut joined: Cow<'a, [u8]> = Cow::Borrowed(b"");
    for field in fields.iter().filter(|field| field.is_host()) {
        match field.value.trim_ascii() {
            b"" => {}
            value if joined.is_empty() => joined = Cow::Borrowed(value),
            value => {
                joined.to_mut().push(b',');
                joined.to_mut().extend_from_slice(value);
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::h1::head;

    fn repaired(text: &str) -> Result<String, HeadError> {
        let end = Scan::default().lenient_end(text.as_bytes())?.ok_or(HeadError::Malformed)?;
        assert_eq!(end, text.len(), "{text:?}");
        canonical(text.as_bytes()).map(|head| String::from_utf8_lossy(&head).into_owned())
    }

    #[test]
    fn repairs() {
        let host = "Host: a\r\n\r\n";
        for (text, canonical) in [
            ("GET / HTTP/1.1\nHost: a\n\n", format!("GET / HTTP/1.1\r\n{host}")),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", format!("GET / HTTP/1.1\r\n{host}")),
            ("GET \t /  HTTP/1.1 \r\nHost: a\r\n\r\n", format!("GET / HTTP/1.1\r\n{host}")),
            ("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", format!("GET / HTTP/1.1\r\n{host}")),
            ("GET /\r\nHost: a\r\n\r\n", format!("GET /\r\n{host}")),
            ("G / HTTP/1.1\r\nX:a\rb\r\r\n\r\n", "G / HTTP/1.1\r\nX: ab\r\n\r\n".to_owned()),
            (
                "G / HTTP/1.1\r\nX: a\r\n b\n\tc\r\n \r\n\r\n",
                "G / HTTP/1.1\r\nX:  a b\tc \r\n\r\n".to_owned(),
            ),
            (
                "G / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost:b\r\n\r\n",
                "G / HTTP/1.1\r\nHost: a,b\r\nX:  y\r\n\r\n".to_owned(),
            ),
            ("G / HTTP/1.1\r\nHost:\r\nHost: \tb\r\n\r\n", "G / HTTP/1.1\r\nHost: b\r\n\r\n".to_owned()),
        ] {
            assert_eq!(repaired(text).as_deref(), Ok(&*canonical), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_repair_is_refused() {
        for text in [
            "G\r/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "G / HTTP/1.1\r\nno colon\r\n\r\n",
            "P / HTTP/1.1\r\nContent-Length: 1\r0\r\n\r\n",
            "P / HTTP/1.1\r\nContent-Length: 1\r\n 0\r\n\r\n",
            "P / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
            "P / HTTP/1.1\r\nTransfer-Encoding: \rchunked\r\n\r\n",
            "\r\nP / HTTP/1.1\r\n\r\n",
        ] {
            assert!(repaired(text).is_err(), "{text:?}");
        }
        let many = format!("G / HTTP/1.1\n{}\n", "x:\n".repeat(MAX_HEADERS + 1));
        assert_eq!(repaired(&many), Err(HeadError::TooMany));
    }

    /// What the strict parser still refuses of a repaired head.
    #[test]
    fn a_repaired_head_is_parsed_strictly() {
        for text in [
            "GET / x HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\n Host: a\n\n",
            "GET / HTTP/1.1\nX\r: a\n\n",
            "GET / HTTP/1.1\n\rX: a\n\n",
            "GET / HTTP/1.1\nX : a\n\n",
            "GET / HTTP/1.1\nX: a\0b\n\n",
            "GET / HTTP/1.1\nContent-Length: 1\nContent-Length: 1\n\n",
            "GET / HTTP/1.1\nContent-Length: 1\nTransfer-Encoding: chunked\n\n",
        ] {
            let parsed = canonical(text.as_bytes()).and_then(head::request);
            assert!(parsed.is_err(), "{text:?}");
        }
    }

    proptest! {
        /// Repair changes nothing about a head that needs none, and is done once and for all.
        #[test]
        fn what_is_repaired_stays_so(head in "[GP \t/a\r\n:xHost,1]{0,80}") {
            let bytes = head.as_bytes();
            if let Ok(Some(end)) = Scan::default().lenient_end(bytes)
                && let Ok(once) = canonical(&bytes[..end])
            {
                prop_assert_eq!(Scan::default().end(&once), Ok(Some(once.len())));
                if let Ok(first) = head::request(once.clone()) {
                    let again = head::request(canonical(&once).expect("canonical")).expect("parses");
                    prop_assert_eq!((&first.target, first.framing), (&again.target, again.framing));
                    prop_assert_eq!(first.headers, again.headers);
                }
            }
            if let Ok(Some(end)) = Scan::default().end(bytes)
                && let Ok(strict) = head::request(BytesMut::from(&bytes[..end]))
                && strict.headers.all("host").count() < 2
            {
                let lenient = canonical(&bytes[..end]).and_then(head::request).expect("needs no repair");
                prop_assert_eq!(strict.headers, lenient.headers);
                prop_assert_eq!((strict.method, strict.target), (lenient.method, lenient.target));
            }
        }
    }
}
