//! Headers as balancers send them, as attackers do, and at random.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A header of version 2 with this command, family and content.
fn binary_header(version_command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short");
    [SIGNATURE, &[version_command, family], &length.to_be_bytes(), content].concat()
}

fn ends(source: &str, destination: &str) -> Option<Addresses> {
    let address = |text: &str| text.parse().expect("an address with port");
    Some(Addresses { source: address(source), destination: address(destination) })
}

/// Bytes of four parts: 192.0.2.7:256 to 198.51.100.1:443.
const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 1, 0, 1, 187];

fn v6(source: [u8; 16]) -> Vec<u8> {
    let mut destination = [0; 16];
    (destination[0], destination[15]) = (0x20, 1);
    [&source[..], &destination, &[0, 1, 0, 2]].concat()
}

#[test]
fn lines() {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    for (text, expected) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 256 443\r\n", ends("192.0.2.7:256", "198.51.100.1:443")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", ends("[2001:db8::7]:1", "[2001:db8::1]:2")),
        ("PROXY TCP6 ::ffff:192.0.2.7 2001::1 1 2\r\n", ends("192.0.2.7:1", "[2001::1]:2")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN anything at all ::1 !\r\n", None),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 0 0\r\n", ends("192.0.2.7:0", "198.51.100.1:0")),
    ] {
        let expected = Outcome::Header(Header { len: text.len(), addresses: expected });
        assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        assert_eq!(parse([text.as_bytes(), b"GET / HTTP/1.1\r\n"].concat().as_slice()), expected, "{text:?}");
    }
    // `ffff:` is a multicast address, so the longest line is only measured.
    assert!(longest.len() <= MAX_LINE);
    assert_eq!(parse(longest.as_bytes()), Outcome::Refused(Reason::Host));
}

#[test]
fn lines_that_are_none() {
    for text in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 256\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 256 443 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 256 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +256 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1  443\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 256 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 256 443\r\n",
        "PROXY TCP4 192.000.2.7 198.51.100.1 256 443\r\n",
        "PROXY TCP6 fe80::1%eth0 2001::1 1 2\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 256 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 256 443\r\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\nGET / HTTP/1.1\r\n",
        "PROXY UNKNOWN\rX\r\n",
        "PROXY UNKNOWN \t\r\n",
        "PROXY UNKNOWN \0\r\n",
    ] {
        assert_eq!(parse(text.as_bytes()), Outcome::Refused(Reason::Line), "{text:?}");
    }
    assert_eq!(parse(b"PROXY UNKNOWN \xff\xfe\r\n"), Outcome::Refused(Reason::Line));
    assert_eq!(parse(b"PROXY TCP4 \xc3\x28 1.1.1.1 1 2\r\n"), Outcome::Refused(Reason::Line));
}

#[test]
fn a_line_has_an_end() {
    let mut text = b"PROXY UNKNOWN ".to_vec();
    text.resize(MAX_LINE - 1, b'x');
    assert_eq!(parse(&text), Outcome::NeedMore);
    assert_eq!(parse(&[&text[..], b"x"].concat()), Outcome::Refused(Reason::LongLine));
    assert_eq!(parse(&[&text[..], b"\r\n"].concat()), Outcome::Refused(Reason::LongLine));
    text.truncate(MAX_LINE - 2);
    text.extend_from_slice(b"\r\n");
    assert_eq!(parse(&text), Outcome::Header(Header { len: MAX_LINE, addresses: None }));
}

#[test]
fn binary_headers() {
    let value = [0x04, 0, 2, 9, 9];
    let with_values = [&V4[..], &value, &[0x05, 0, 0]].concat();
    let v4 = ends("192.0.2.7:256", "198.51.100.1:443");
    let mut mapped = [0; 16];
    mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
    for (header, expected) in [
        (binary_header(0x21, 0x11, &V4), v4),
        (binary_header(0x21, 0x12, &V4), v4),
        (binary_header(0x21, 0x11, &with_values), v4),
        (binary_header(0x21, 0x21, &v6([0x20; 16])), {
            ends("[2020:2020:2020:2020:2020:2020:2020:2020]:1", "[2000::1]:2")
        }),
        (binary_header(0x21, 0x21, &v6(mapped)), ends("192.0.2.7:1", "[2000::1]:2")),
        // The balancer speaks for itself: whatever else stands there is skipped.
        (binary_header(0x20, 0x00, &[]), None),
        (binary_header(0x20, 0x11, &V4), None),
        (binary_header(0x20, 0xff, &[1, 2, 3]), None),
        (binary_header(0x20, 0x31, &[0; 216]), None),
    ] {
        let expected = Outcome::Header(Header { len: header.len(), addresses: expected });
        assert_eq!(parse(&header), expected, "{header:02x?}");
        assert_eq!(parse(&[&header[..], &header].concat()), expected, "{header:02x?}");
    }
}

#[test]
fn binary_headers_that_are_none() {
    let multicast = [224, 0, 0, 1, 198, 51, 100, 1, 1, 0, 1, 187];
    let anybody = [192, 0, 2, 7, 0, 0, 0, 0, 1, 0, 1, 187];
    let everybody = [255, 255, 255, 255, 198, 51, 100, 1, 1, 0, 1, 187];
    let behind = |values: &[u8]| binary_header(0x21, 0x11, &[&V4[..], values].concat());
    for (header, reason) in [
        (binary_header(0x11, 0x11, &V4), Reason::Version),
        (binary_header(0x31, 0x11, &V4), Reason::Version),
        (binary_header(0x22, 0x11, &V4), Reason::Command),
        (binary_header(0x21, 0x00, &[]), Reason::Family),
        (binary_header(0x21, 0x31, &[0; 216]), Reason::Family),
        (binary_header(0x21, 0x10, &V4), Reason::Family),
        (binary_header(0x21, 0x13, &V4), Reason::Family),
        (binary_header(0x21, 0x41, &V4), Reason::Family),
        (binary_header(0x21, 0x11, &V4[..11]), Reason::Short),
        (binary_header(0x21, 0x21, &V4), Reason::Short),
        (binary_header(0x21, 0x11, &multicast), Reason::Host),
        (binary_header(0x21, 0x11, &anybody), Reason::Host),
        (binary_header(0x21, 0x11, &everybody), Reason::Host),
        (binary_header(0x21, 0x21, &v6([0; 16])), Reason::Host),
        (behind(&[4]), Reason::Value),
        (behind(&[4, 0]), Reason::Value),
        (behind(&[4, 0, 1]), Reason::Value),
        (behind(&[4, 255, 255, 1]), Reason::Value),
        (behind(&[4, 0, 0, 5]), Reason::Value),
    ] {
        assert_eq!(parse(&header), Outcome::Refused(reason), "{header:02x?}");
    }
}

#[test]
fn the_longest_header_is_waited_for() {
    let mut header = binary_header(0x20, 0, &[]);
    header[FIXED - 2..].fill(0xff);
    header.resize(MAX_LEN - 1, 0);
    assert_eq!(parse(&header), Outcome::NeedMore);
    header.push(0);
    assert_eq!(parse(&header), Outcome::Header(Header { len: MAX_LEN, addresses: None }));
}

#[test]
fn what_is_no_header() {
    for text in
        ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "PROXYX", "\x16\x03\x01", "\r\n\r\nGET /", "x", "proxy "]
    {
        assert_eq!(parse(text.as_bytes()), Outcome::Absent, "{text:?}");
    }
    for text in ["", "P", "PROXY", "PROXY ", "\r\n\r\n", "\r\n\r\n\0\r\nQUIT\n"] {
        assert_eq!(parse(text.as_bytes()), Outcome::NeedMore, "{text:?}");
    }
}

/// Something near enough to a header that every branch is met.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("TCP4".to_owned()),
        Just("TCP6".to_owned()),
        Just("UNKNOWN".to_owned()),
        Just("192.0.2.1".to_owned()),
        Just("::1".to_owned()),
        Just("\r".to_owned()),
        "[0-9]{0,6}",
    ];
    let line = vec(word, 0..8).prop_map(|words| format!("PROXY {}\r\nrest", words.join(" ")).into_bytes());
    let binary = (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..64), 0_usize..8).prop_map(
        |(command, family, content, cut)| {
            let mut header = binary_header(0x20 | (command & 3), (family & 0x33) | 1, &content);
            header.truncate(header.len() - cut);
            header
        },
    );
    prop_oneof![line, binary, vec(any::<u8>(), 0..200)]
}

proptest! {
    /// However the bytes are cut, the answer is the same; a header never takes more than there is.
    #[test]
    fn a_beginning_waits_or_has_said_the_same(received in nearly()) {
        let whole = parse(&received);
        if let Outcome::Header(header) = whole {
            prop_assert!(header.len <= received.len());
        }
        prop_assert!(whole != Outcome::NeedMore || received.len() < MAX_LEN);
        for end in 0..received.len() {
            let early = parse(&received[..end]);
            prop_assert!(early == Outcome::NeedMore || early == whole, "{early:?} at {end}, then {whole:?}");
        }
    }

    /// What is written comes back.
    #[test]
    fn lines_come_back(source in any::<[u8; 4]>(), ports in any::<(u16, u16)>(), rest in vec(any::<u8>(), 0..40)) {
        prop_assume!(source[0] != 0 && source[0] < 224);
        let source = SocketAddr::from((source, ports.0));
        let text = format!("PROXY TCP4 {} 198.51.100.1 {} {}\r\n", source.ip(), ports.0, ports.1);
        let len = text.len();
        let destination = SocketAddr::from(([198, 51, 100, 1], ports.1));
        let expected = Header { len, addresses: Some(Addresses { source, destination }) };
        prop_assert_eq!(parse(&[text.as_bytes(), &rest].concat()), Outcome::Header(expected));
    }

    /// The same in the other version, for IPv6.
    #[test]
    fn binary_addresses_come_back(mut source in any::<[u8; 16]>(), values in vec(vec(any::<u8>(), 0..300), 0..4)) {
        source[0] = 0x20;
        let mut content = v6(source);
        for value in &values {
            content.push(0xe0);
            content.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
            content.extend_from_slice(value);
        }
        let header = binary_header(0x21, 0x21, &content);
        let expected = Addresses {
            source: SocketAddr::from((source, 1)),
            destination: "[2000::1]:2".parse().expect("an address"),
        };
        prop_assert_eq!(parse(&header), Outcome::Header(Header { len: header.len(), addresses: Some(expected) }));
    }
}
