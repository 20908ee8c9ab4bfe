//! The ClientHello message itself, once all of it is there (RFC 8446 §4.1.2).

use std::fmt;

use super::{MAX_PROTOCOLS, Reason, is_ip_literal};

/// What a gateway needs to know of a ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The server the client believes to talk to.
    pub server_name: ServerName,
    /// The application protocols offered, most wanted first; empty without the ALPN extension.
    pub alpn: Protocols,
    /// Whether the client can speak TLS 1.3.
    pub offers_tls13: bool,
    /// How many of the received bytes the hello takes, record headers included. Early data may follow.
    pub bytes_consumed: usize,
}

impl ClientHello {
    /// The server's name, lower-cased and without a final dot, if the client gave one.
    pub fn server_name(&self) -> Option<&str> {
        match &self.server_name {
            ServerName::Dns(name) => Some(name),
            ServerName::Absent | ServerName::IpLiteral => None,
        }
    }

    /// Whether the client offers this protocol by ALPN, `b"postgresql"` for example.
    pub fn offers_alpn(&self, protocol: &[u8]) -> bool {
        self.alpn.iter().any(|offered| offered == protocol)
    }
}

/// The name in the `server_name` extension (RFC 6066 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// No such extension.
    Absent,
    /// An address instead of a name. RFC 6066 forbids it, some clients do it: it counts as no name.
    IpLiteral,
    /// A name of ASCII letters, digits, `-`, `_` and dots, lower-cased, without a final dot.
    ///
    /// Not necessarily a resolvable one: Istio's own `outbound_.80_._.host` is among them.
    Dns(Box<str>),
}

/// A list of ALPN protocol names (RFC 7301 §3.1), each of 1 to 255 bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Protocols {
    /// Each name behind its length, as on the wire: one allocation, however many names.
    wire: Box<[u8]>,
}

impl Protocols {
    /// The names, in the client's order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = Reader(&self.wire);
        std::iter::from_fn(move || reader.vec8())
    }

    /// Whether no protocol is offered.
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }
}

impl fmt::Debug for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|name| name.escape_ascii().to_string());
        f.debug_list().entries(names).finish()
    }
}

/// Reads the message behind its header, which took `bytes_consumed` bytes to arrive.
pub(super) fn read(message: &[u8], bytes_consumed: usize) -> Result<ClientHello, Reason> {
    let mut reader = Reader(message);
    let extensions = skip_to_extensions(&mut reader)?;
    let found = Extensions::read(extensions)?;
    Ok(ClientHello {
        server_name: found.server_name.unwrap_or(ServerName::Absent),
        alpn: found.alpn.unwrap_or_default(),
        offers_tls13: found.offers_tls13.unwrap_or(false),
        bytes_consumed,
    })
}

/// Checks the fields before the extensions; an old client's hello may end before them (RFC 5246 §7.4.1.2).
fn skip_to_extensions<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Reason> {
    reader.take(VERSION_LEN + RANDOM_LEN).ok_or(Reason::Malformed("random"))?;
    reader.vec8().filter(|id| id.len() <= MAX_SESSION_ID_LEN).ok_or(Reason::Malformed("session id"))?;
    reader
        .vec16()
        .filter(|suites| !suites.is_empty() && suites.len() % 2 == 0)
        .ok_or(Reason::Malformed("list of cipher suites"))?;
    reader
        .vec8()
        .filter(|methods| !methods.is_empty())
        .ok_or(Reason::Malformed("list of compression methods"))?;
    if reader.0.is_empty() {
        return Ok(&[]);
    }
    reader.vec16().filter(|_| reader.0.is_empty()).ok_or(Reason::Malformed("list of extensions"))
}

/// The extensions that are read; all others, grease (RFC 8701) among them, are stepped over.
#[derive(Default)]
struct Extensions {
    server_name: Option<ServerName>,
    alpn: Option<Protocols>,
    offers_tls13: Option<bool>,
}

impl Extensions {
    fn read(bytes: &[u8]) -> Result<Self, Reason> {
        let mut found = Self::default();
        let mut reader = Reader(bytes);
        while !reader.0.is_empty() {
            let (kind, data) = reader.extension().ok_or(Reason::Malformed("list of extensions"))?;
            match kind {
                EXT_SERVER_NAME => once(&mut found.server_name, server_name(data)?, "server name")?,
                EXT_ALPN => once(&mut found.alpn, protocols(data)?, "ALPN")?,
                EXT_SUPPORTED_VERSIONS => {
                    once(&mut found.offers_tls13, tls13(data)?, "supported versions")?;
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Fills an empty place; an extension may not come a second time.
fn once<T>(place: &mut Option<T>, value: T, extension: &'static str) -> Result<(), Reason> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Reason::Repeated(extension)),
    }
}

/// Reads a list of exactly one `host_name` (RFC 6066 §3).
///
/// Other kinds of names were never defined and could not be stepped over; OpenSSL refuses them too.
fn server_name(data: &[u8]) -> Result<ServerName, Reason> {
    const MALFORMED: Reason = Reason::Malformed("server name");
    let mut extension = Reader(data);
    let list = extension.vec16().ok_or(MALFORMED)?;
    let mut list = Reader(list);
    let kind = list.u8().ok_or(MALFORMED)?;
    let name = list.vec16().ok_or(MALFORMED)?;
    if kind != NAME_HOST || !list.0.is_empty() || !extension.0.is_empty() || name.len() > MAX_NAME_LEN {
        return Err(MALFORMED);
    }
    let name = std::str::from_utf8(name).map_err(|_| MALFORMED)?;
    // RFC 6066 wants no final dot; with one it is the same name (curl sends what it was given).
    let name = name.strip_suffix('.').unwrap_or(name);
    if is_ip_literal(name) {
        return Ok(ServerName::IpLiteral);
    }
    let label_ok = |label: &str| !label.is_empty() && label.bytes().all(is_name_byte);
    if !name.split('.').all(label_ok) {
        return Err(MALFORMED);
    }
    Ok(ServerName::Dns(name.to_ascii_lowercase().into()))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Reads a non-empty list of non-empty protocol names (RFC 7301 §3.1).
fn protocols(data: &[u8]) -> Result<Protocols, Reason> {
    const MALFORMED: Reason = Reason::Malformed("list of application protocols");
    let mut extension = Reader(data);
    let wire = extension.vec16().ok_or(MALFORMED)?;
    if wire.is_empty() || !extension.0.is_empty() {
        return Err(MALFORMED);
    }
    let mut names = Reader(wire);
    let mut count = 0;
    while !names.0.is_empty() {
        names.vec8().filter(|name| !name.is_empty()).ok_or(MALFORMED)?;
        count += 1;
        if count > MAX_PROTOCOLS {
            return Err(Reason::TooManyProtocols);
        }
    }
    Ok(Protocols { wire: wire.into() })
}

/// Whether TLS 1.3 is in the list of versions (RFC 8446 §4.2.1).
fn tls13(data: &[u8]) -> Result<bool, Reason> {
    let mut extension = Reader(data);
    let versions = extension
        .vec8()
        .filter(|versions| !versions.is_empty() && versions.len() % 2 == 0)
        .filter(|_| extension.0.is_empty())
        .ok_or(Reason::Malformed("list of versions"))?;
    Ok(versions.chunks_exact(2).any(|version| version == TLS13))
}

/// What is left of a message to read; each method takes something off its front, or nothing when it is too short.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*first))
    }

    /// Bytes behind their one-byte length.
    fn vec8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// Bytes behind their two-byte length.
    fn vec16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// An extension's number and content (RFC 8446 §4.2).
    fn extension(&mut self) -> Option<(u16, &'a [u8])> {
        Some((self.u16()?, self.vec16()?))
    }
}

const EXT_SERVER_NAME: u16 = 0;
const EXT_ALPN: u16 = 16;
const EXT_SUPPORTED_VERSIONS: u16 = 43;
const NAME_HOST: u8 = 0;
const TLS13: [u8; 2] = [3, 4];
const VERSION_LEN: usize = 2;
const RANDOM_LEN: usize = 32;
const MAX_SESSION_ID_LEN: usize = 32;
/// The longest name that DNS could carry, in bytes (RFC 1035 §2.3.4).
const MAX_NAME_LEN: usize = 255;
