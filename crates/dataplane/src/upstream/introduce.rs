//! The PROXY protocol header that introduces a client to an upstream (`proxy-protocol.txt` of HAProxy, versions 1
//! and 2). Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use portcullis_snapshot::transport::ProxyVersion;

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    /// The client.
    pub(crate) source: SocketAddr,
    /// What it connected to.
    pub(crate) destination: SocketAddr,
}

/// First bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and that the header speaks of the connection it stands on.
const LOCAL: u8 = 0x20;
/// Version 2, and that it speaks of a client's connection.
const PROXY: u8 = 0x21;

/// The header for a connection made on behalf of `client`; `None`: made by the gateway itself, such as a health
/// check. `own` are the ends of the very connection, if it has addresses, which version 1 speaks of then (as Envoy
/// does; it has no other word for a connection of its own that every receiver takes).
pub(crate) fn header(version: ProxyVersion, client: Option<Ends>, own: Option<Ends>) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => client.or(own).map_or_else(|| b"PROXY UNKNOWN\r\n".to_vec(), line),
        ProxyVersion::V2 => binary(client),
    }
}

fn line(ends: Ends) -> Vec<u8> {
    let (source, destination) = alike(ends);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (ends.source.port(), ends.destination.port());
    format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
}

fn binary(client: Option<Ends>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some(ends) = client else {
        header.extend_from_slice(&[LOCAL, 0, 0, 0]);
        return header;
    };
    match alike(ends) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.extend_from_slice(&[PROXY, 0x11, 0, 12]);
            header.extend_from_slice(&source.octets());
            header.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            header.extend_from_slice(&[PROXY, 0x21, 0, 36]);
            header.extend_from_slice(&mapped(source).octets());
            header.extend_from_slice(&mapped(destination).octets());
        }
    }
    header.extend_from_slice(&ends.source.port().to_be_bytes());
    header.extend_from_slice(&ends.destination.port().to_be_bytes());
    header
}

/// Both addresses in one family, which is all a header has room for: where they differ, as behind a proxy that told
/// us the client's, the IPv4 one is written as IPv6 (RFC 4291 §2.5.5.2).
fn alike(ends: Ends) -> (IpAddr, IpAddr) {
    let (source, destination) = (ends.source.ip().to_canonical(), ends.destination.ip().to_canonical());
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (mapped(source).into(), mapped(destination).into())
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        let address = |text: &str| text.parse().expect("an address");
        Ends { source: address(source), destination: address(destination) }
    }

    fn text(client: Option<Ends>, own: Option<Ends>) -> String {
        String::from_utf8(header(ProxyVersion::V1, client, own)).expect("text")
    }

    #[test]
    fn lines() {
        let own = Some(ends("10.0.0.1:1", "10.0.0.2:2"));
        for (client, own, expected) in [
            (Some(ends("1.2.3.4:5", "6.7.8.9:10")), own, "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n"),
            (Some(ends("[2001:db8::1]:5", "[::1]:6")), None, "PROXY TCP6 2001:db8::1 ::1 5 6\r\n"),
            (Some(ends("[::ffff:1.2.3.4]:5", "6.7.8.9:6")), None, "PROXY TCP4 1.2.3.4 6.7.8.9 5 6\r\n"),
            (Some(ends("1.2.3.4:5", "[::1]:6")), None, "PROXY TCP6 ::ffff:1.2.3.4 ::1 5 6\r\n"),
            (None, own, "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
            (None, None, "PROXY UNKNOWN\r\n"),
        ] {
            assert_eq!(text(client, own), expected);
        }
    }

    #[test]
    fn no_line_is_longer_than_the_protocol_allows() {
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        let header = text(Some(ends(longest, longest)), None);
        assert!(header.len() <= 107, "{header}");
    }

    #[test]
    fn binary_headers() {
        let of = |client| header(ProxyVersion::V2, client, Some(ends("10.0.0.1:1", "10.0.0.2:2")));
        let expected = [&SIGNATURE[..], &[0x21, 0x11, 0, 12, 1, 2, 3, 4, 6, 7, 8, 9, 0, 5, 1, 0]].concat();
        assert_eq!(of(Some(ends("1.2.3.4:5", "6.7.8.9:256"))), expected);
        assert_eq!(of(None), [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat());
        let mixed = of(Some(ends("1.2.3.4:5", "[2001:db8::1]:6")));
        let source = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4];
        assert_eq!(mixed[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!((&mixed[16..32], mixed.len()), (&source[..], 52));
    }
}
