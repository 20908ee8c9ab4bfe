//! Reads the header that a load balancer puts before a client's bytes: the PROXY protocol, versions 1 and 2.
//!
//! ```text
//!   PROXY TCP4 203.0.113.7 192.0.2.1 51234 443\r\n          version 1, at most 107 bytes
//!
//!   0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a                     version 2: signature,
//!   21 11 00 0c                                             version and command, family, length,
//!   cb 00 71 07  c0 00 02 01  c8 22  01 bb                  addresses and ports,
//!   ty ll ll …                                              further values
//! ```
//!
//! What is accepted is what Envoy accepts, since Istio's gateway reads with it, less what only leniency lets through
//! (other blanks than single ones, control bytes). Whoever sends something that begins like a header and is none
//! gets no second reading of it: the connection is closed, and never served under the balancer's own address.
//!
//! Further values are checked for lying within the header and otherwise skipped; nothing of them is kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the bytes received so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A beginning of a header: call again with more bytes. Never said of [`MAX_LEN`] bytes.
    NeedMore,
    /// A whole header.
    Header(Header),
    /// Something else; further bytes change nothing.
    Absent,
    /// It begins like a header and is none; further bytes change nothing.
    Refused(Reason),
}

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes; the client's own bytes stand behind.
    pub len: usize,
    /// Between whom the connection is. `None`: the balancer speaks for itself (LOCAL) or does not know (UNKNOWN),
    /// and the connection's own addresses stand.
    pub addresses: Option<Addresses>,
}

/// Both ends of the connection that the balancer accepted. IPv4 addresses in the form of IPv6 are IPv4 ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No end of line within [`MAX_LINE`] bytes.
    #[error("a PROXY line without end")]
    LongLine,
    /// A line that is not made as version 1 says.
    #[error("a malformed PROXY line")]
    Line,
    /// Another version than 1 and 2.
    #[error("an unknown version of the PROXY protocol")]
    Version,
    /// Another command than LOCAL and PROXY.
    #[error("an unknown command of the PROXY protocol")]
    Command,
    /// Addresses of another kind than IPv4 and IPv6, unix sockets among them.
    #[error("a PROXY header with addresses that are not IP addresses")]
    Family,
    /// Less room than the addresses take.
    #[error("a PROXY header too short for its addresses")]
    Short,
    /// A value that does not lie within the header.
    #[error("a malformed value in a PROXY header")]
    Value,
    /// An address that no TCP connection can have.
    #[error("a PROXY header with an address that is no host's")]
    Host,
}

/// Longest line of version 1 in bytes, its end included (protocol, section 2.1).
pub const MAX_LINE: usize = 107;
/// Longest header in bytes: the fixed part of version 2 and the 65,535 bytes it can announce.
pub const MAX_LEN: usize = FIXED + u16::MAX as usize;

const LINE_SIGNATURE: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;

/// Reads all bytes received so far, from the start of the connection.
pub fn parse(received: &[u8]) -> Outcome {
    if begins(received, LINE_SIGNATURE) {
        line(received)
    } else if begins(received, SIGNATURE) {
        binary(received)
    } else {
        Outcome::Absent
    }
}

/// Whether `received` is a beginning of `signature` or begins with it.
fn begins(received: &[u8], signature: &[u8]) -> bool {
    let length = received.len().min(signature.len());
    received[..length] == signature[..length]
}

/// Version 1.
fn line(received: &[u8]) -> Outcome {
    let looked_at = &received[..received.len().min(MAX_LINE)];
    // Whatever the line says, it says it in visible ASCII; a bare CR or LF would end it for another reader.
    let Some(end) = looked_at.iter().position(|byte| !(b' '..=b'~').contains(byte)) else {
        return if received.len() < MAX_LINE {
            Outcome::NeedMore
        } else {
            Outcome::Refused(Reason::LongLine)
        };
    };
    match &looked_at[end..] {
        [b'\r'] if end + 1 == MAX_LINE => Outcome::Refused(Reason::LongLine),
        [b'\r'] => Outcome::NeedMore,
        [b'\r', b'\n', ..] => match line_addresses(&looked_at[..end]) {
            Ok(addresses) => Outcome::Header(Header { len: end + 2, addresses }),
            Err(reason) => Outcome::Refused(reason),
        },
        _ => Outcome::Refused(Reason::Line),
    }
}

/// What a line says, its end excluded.
fn line_addresses(line: &[u8]) -> Result<Option<Addresses>, Reason> {
    let text = std::str::from_utf8(line).map_err(|_| Reason::Line)?;
    let words: Vec<&str> = text.split(' ').collect();
    let is_v4 = match words.get(1) {
        // What follows must be ignored (protocol, section 2.1).
        Some(&"UNKNOWN") => return Ok(None),
        Some(&"TCP4") => true,
        Some(&"TCP6") => false,
        _ => return Err(Reason::Line),
    };
    let [_, _, source, destination, source_port, destination_port] = words[..] else {
        return Err(Reason::Line);
    };
    let address = |text: &str| -> Result<IpAddr, Reason> {
        let parsed = if is_v4 {
            text.parse::<Ipv4Addr>().map(IpAddr::V4)
        } else {
            text.parse::<Ipv6Addr>().map(IpAddr::V6)
        };
        parsed.map_err(|_| Reason::Line)
    };
    let port = |text: &str| -> Result<u16, Reason> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or(Reason::Line)
    };
    addresses((address(source)?, port(source_port)?), (address(destination)?, port(destination_port)?))
        .map(Some)
}

/// Version 2. Each byte is judged as soon as it is there.
fn binary(received: &[u8]) -> Outcome {
    let Some(&version_command) = received.get(SIGNATURE.len()) else { return Outcome::NeedMore };
    if version_command >> 4 != 2 {
        return Outcome::Refused(Reason::Version);
    }
    let is_local = match version_command & 0xf {
        0 => true,
        1 => false,
        _ => return Outcome::Refused(Reason::Command),
    };
    let Some(&family) = received.get(SIGNATURE.len() + 1) else { return Outcome::NeedMore };
    // Streams and datagrams: a balancer may have either in front.
    let room = match (is_local, family) {
        (true, _) => 0,
        (false, 0x11 | 0x12) => 12,
        (false, 0x21 | 0x22) => 36,
        (false, _) => return Outcome::Refused(Reason::Family),
    };
    let Some(&[high, low]) = received.get(FIXED - 2..FIXED) else { return Outcome::NeedMore };
    let announced = usize::from(u16::from_be_bytes([high, low]));
    if announced < room {
        return Outcome::Refused(Reason::Short);
    }
    let len = FIXED + announced;
    let Some(content) = received.get(FIXED..len) else { return Outcome::NeedMore };
    // Of a balancer's own connection nothing is looked at (protocol, section 2.2).
    let addresses = if is_local { Ok(None) } else { binary_addresses(content, room).map(Some) };
    match addresses {
        Ok(addresses) => Outcome::Header(Header { len, addresses }),
        Err(reason) => Outcome::Refused(reason),
    }
}

/// Two addresses, two ports, values. `room` is what the first four take.
fn binary_addresses(content: &[u8], room: usize) -> Result<Addresses, Reason> {
    let (ends, values) = content.split_at_checked(room).ok_or(Reason::Short)?;
    check_values(values)?;
    let (hosts, ports) = ends.split_at_checked(room - 4).ok_or(Reason::Short)?;
    let (from, to) = hosts.split_at(hosts.len() / 2);
    let address = |bytes: &[u8]| -> Result<IpAddr, Reason> {
        let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).map_err(|_| Reason::Short)
    };
    let &[a, b, c, d] = ports else { return Err(Reason::Short) };
    addresses((address(from)?, u16::from_be_bytes([a, b])), (address(to)?, u16::from_be_bytes([c, d])))
}

/// Whether the values behind the addresses fill their room exactly: a type, a length in two bytes, the value.
fn check_values(mut values: &[u8]) -> Result<(), Reason> {
    while let [_, rest @ ..] = values {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(Reason::Value)?;
        values = rest.get(usize::from(u16::from_be_bytes(*length))..).ok_or(Reason::Value)?;
    }
    Ok(())
}

fn addresses(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Result<Addresses, Reason> {
    Ok(Addresses { source: host(source)?, destination: host(destination)? })
}

/// An address that one end of a TCP connection can have.
fn host((address, port): (IpAddr, u16)) -> Result<SocketAddr, Reason> {
    let address = address.to_canonical();
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err(Reason::Host);
    }
    Ok(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests;
