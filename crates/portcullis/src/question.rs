//! What `explain` is asked: a request, a TLS connection or a plain TCP connection, read from one line of text.

use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use portcullis_snapshot::Headers;
use portcullis_snapshot::host::without_port;

/// PostgreSQL's port, for URLs that name none.
const POSTGRES_PORT: u16 = 5432;

/// A question put to the routing state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What arrives.
    pub(crate) kind: Kind,
    /// Port as clients and Gateways know it, or as it is bound.
    pub(crate) port: u16,
    /// Address the client seems to come from.
    pub(crate) source_ip: Option<IpAddr>,
}

/// What arrives at the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An HTTP request, in TLS or not.
    Http(Box<Request>),
    /// A TLS connection of which only the server name is known; also PostgreSQL behind `SSLRequest`.
    Tls {
        /// Server name sent, lower case; `None` = none.
        sni: Option<String>,
    },
    /// A connection without TLS that is not HTTP.
    Tcp,
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Method, as written.
    pub(crate) method: String,
    /// Whether it comes in TLS; its server name is the host, unless that is an address.
    pub(crate) tls: bool,
    /// Host, with the port if one was written; a `host` header replaces it.
    pub(crate) authority: String,
    /// Path and query as they would stand in the request line.
    pub(crate) target: String,
    /// Header fields, names in lower case.
    pub(crate) headers: Headers,
}

impl Request {
    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

impl Question {
    /// Reads `[METHOD] http[s]://host[:port]/path`, `TLS host:port`, `tls://`, `postgres://` or `tcp://:port`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (verb, url) = match text.trim().split_once(char::is_whitespace) {
            Some((verb, url)) => (Some(verb), url.trim()),
            None => (None, text.trim()),
        };
        match (url.split_once("://"), verb) {
            (Some(("http", rest)), _) => http(verb, false, rest),
            (Some(("https", rest)), _) => http(verb, true, rest),
            (Some(("postgres" | "postgresql", rest)), None) => {
                // user:password@host:port/database
                let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                tls(rest, Some(POSTGRES_PORT))
            }
            (Some(("tls", rest)), None) => tls(rest, None),
            (Some(("tcp", rest)), None) => tcp(rest),
            (None, Some("TLS" | "tls")) => tls(url, None),
            (None, Some("TCP" | "tcp")) => tcp(url),
            (Some((scheme, _)), _) => Err(format!("`{scheme}://` is not understood: {FORMS}")),
            (None, _) => Err(format!("`{text}` names no URL: {FORMS}")),
        }
    }

    /// Adds a header line, `name: value`.
    ///
    /// # Errors
    /// When there is no colon, the name is no token, or the question is not about HTTP.
    pub(crate) fn add_header(&mut self, line: &str) -> Result<(), String> {
        let Kind::Http(request) = &mut self.kind else {
            return Err("a connection without HTTP has no headers".to_owned());
        };
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| format!("header `{line}` has no colon: write `name: value`"))?;
        let name = http::HeaderName::from_str(name.trim())
            .map_err(|_| format!("`{}` is not a header name", name.trim()))?;
        let value = value.trim();
        if name == http::header::HOST {
            value.clone_into(&mut request.authority);
        } else {
            let value = Bytes::copy_from_slice(value.as_bytes());
            request.headers.append(Bytes::copy_from_slice(name.as_str().as_bytes()), value);
        }
        Ok(())
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Http(request) => {
                let Request { method, authority, target, .. } = &**request;
                write!(out, "{method} {}://{authority}{target}", request.scheme())
            }
            Kind::Tls { sni: Some(sni) } => write!(out, "TLS {sni}:{}", self.port),
            Kind::Tls { sni: None } => write!(out, "TLS without server name on port {}", self.port),
            Kind::Tcp => write!(out, "TCP on port {}", self.port),
        }
    }
}

const FORMS: &str = "write for example `GET https://shop.example.com/cart`, `TLS db.example.com:5432`, \
                     `postgres://db.example.com` or `tcp://:9000`";

fn http(verb: Option<&str>, is_tls: bool, rest: &str) -> Result<Question, String> {
    let method = verb.unwrap_or("GET");
    http::Method::from_str(method).map_err(|_| format!("`{method}` is not an HTTP method"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = host_and_port(authority)?;
    if host.is_empty() {
        return Err("the URL names no host".to_owned());
    }
    let target = target.split_once('#').map_or(target, |(target, _)| target);
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let request = Request {
        method: method.to_owned(),
        tls: is_tls,
        authority: authority.to_owned(),
        target,
        headers: Headers::default(),
    };
    let default = if is_tls { 443 } else { 80 };
    Ok(Question { kind: Kind::Http(Box::new(request)), port: port.unwrap_or(default), source_ip: None })
}

fn tls(rest: &str, default: Option<u16>) -> Result<Question, String> {
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (host, port) = host_and_port(authority)?;
    let sni = server_name(host);
    let port = port.or(default).ok_or_else(|| format!("which port? write `TLS {host}:443`"))?;
    Ok(Question { kind: Kind::Tls { sni }, port, source_ip: None })
}

fn tcp(rest: &str) -> Result<Question, String> {
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    let (_, port) = host_and_port(authority)?;
    let port = port.ok_or("which port? write `tcp://:9000`")?;
    Ok(Question { kind: Kind::Tcp, port, source_ip: None })
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let host = without_port(authority);
    match authority[host.len()..].strip_prefix(':') {
        None | Some("") => Ok((host, None)),
        Some(digits) => {
            let port = digits.parse().map_err(|_| format!("`{digits}` is not a port"))?;
            Ok((host, Some(port)))
        }
    }
}

/// The server name a client would send for `host`: none for an address (RFC 6066 §3).
pub(crate) fn server_name(host: &str) -> Option<String> {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let host = host.strip_suffix('.').unwrap_or(host);
    (!address && !host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read() {
        for (text, shown, port) in [
            ("GET https://a.com/x?y=1", "GET https://a.com/x?y=1", 443),
            ("https://a.com", "GET https://a.com/", 443),
            ("POST http://a.com:8080?q#frag", "POST http://a.com:8080/?q", 8080),
            ("http://user@[::1]:81/", "GET http://[::1]:81/", 81),
            ("TLS DB.a.com:5432", "TLS db.a.com:5432", 5432),
            ("tls://10.0.0.1:443", "TLS without server name on port 443", 443),
            ("postgres://me:secret@db.a.com/shop?sslmode=require", "TLS db.a.com:5432", 5432),
            ("postgresql://db.a.com:6000", "TLS db.a.com:6000", 6000),
            ("tcp://:9000", "TCP on port 9000", 9000),
            ("TCP :9000", "TCP on port 9000", 9000),
        ] {
            let question = Question::parse(text).expect(text);
            assert_eq!((question.to_string().as_str(), question.port), (shown, port), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (text, part) in [
            ("GET /path", "names no URL"),
            ("ftp://a.com/", "`ftp://`"),
            ("G ET http://a.com/", "is not understood"),
            ("G@T http://a.com/", "not an HTTP method"),
            ("http:///path", "no host"),
            ("http://a.com:99999/", "not a port"),
            ("TLS a.com", "which port"),
        ] {
            let error = Question::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn headers_are_added_and_host_replaces_the_authority() {
        let mut question = Question::parse("http://10.0.0.1/").expect("question");
        question.add_header("X-Team: blue").expect("header");
        question.add_header("Host: a.com").expect("header");
        let Kind::Http(request) = &question.kind else { panic!("http") };
        assert_eq!(
            (request.authority.as_str(), request.headers.first_str("x-team")),
            ("a.com", Some("blue"))
        );
        assert!(question.add_header("nonsense").is_err());
    }
}
