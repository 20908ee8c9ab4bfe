//! Hand-made hellos for each rule, real ones from rustls, and rustls' own reading as the judge.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto};

use super::*;

const SNI: u16 = 0;
const ALPN: u16 = 16;
const VERSIONS: u16 = 43;
const PADDING: u16 = 21;

fn vec8(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap()], content].concat()
}

fn vec16(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

fn sni(name: &[u8]) -> (u16, Vec<u8>) {
    (SNI, vec16(&[&[0], &vec16(name)[..]].concat()))
}

fn alpn(names: &[&[u8]]) -> (u16, Vec<u8>) {
    (ALPN, vec16(&names.iter().flat_map(|name| vec8(name)).collect::<Vec<_>>()))
}

/// A handshake message with the given extensions.
fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(vec8(&[9; 32]));
    body.extend(vec16(&[0x1a, 0x1a, 0x13, 0x01]));
    body.extend(vec8(&[0]));
    let extensions: Vec<u8> =
        extensions.iter().flat_map(|(kind, data)| [&kind.to_be_bytes(), &vec16(data)[..]].concat()).collect();
    body.extend(vec16(&extensions));
    handshake(&body)
}

fn handshake(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &len[1..], body].concat()
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|piece| [&[22, 3, 1], &vec16(piece)[..]].concat()).collect()
}

fn wire(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    records(&message(extensions), MAX_RECORD_LEN)
}

fn hello(bytes: &[u8]) -> ClientHello {
    match parse(bytes) {
        Outcome::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_name_protocols_and_versions_between_unknown_extensions() {
    let bytes = wire(&[
        (0x1a1a, vec![]),
        alpn(&[b"\x0a\x0a", b"postgresql", b"h2"]),
        (VERSIONS, vec8(&[0x2a, 0x2a, 3, 4, 3, 3])),
        sni(b"Dev.Postgres.Example."),
        (0x3a3a, vec![0]),
    ]);
    let hello = hello(&[&bytes[..], b"early data"].concat());
    assert_eq!(hello.server_name(), Some("dev.postgres.example"));
    assert_eq!(hello.alpn.iter().collect::<Vec<_>>(), [&b"\x0a\x0a"[..], b"postgresql", b"h2"]);
    assert!(hello.offers_alpn(b"postgresql") && !hello.offers_alpn(b"postgres"));
    assert!(hello.offers_tls13);
    assert_eq!(hello.bytes_consumed, bytes.len());
}

#[test]
fn a_hello_may_end_before_its_extensions() {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let hello = hello(&records(&handshake(&body), MAX_RECORD_LEN));
    assert_eq!(hello.server_name, ServerName::Absent);
    assert!(hello.alpn.is_empty() && !hello.offers_tls13);
}

#[test]
fn names() {
    let dns = |name: &str| Ok(ServerName::Dns(name.into()));
    let bad = || Err(Reason::Malformed("server name"));
    let long = [b"a.".repeat(127), b"a".to_vec()].concat();
    for (name, expected) in [
        (&b"a"[..], dns("a")),
        (b"OUTBOUND_.80_._.shop.Default.svc", dns("outbound_.80_._.shop.default.svc")),
        (b"xn--bcher-kva.example", dns("xn--bcher-kva.example")),
        (&long, dns(std::str::from_utf8(&long).unwrap())),
        (b"192.0.2.1", Ok(ServerName::IpLiteral)),
        (b"192.0.2.1.", Ok(ServerName::IpLiteral)),
        (b"2001:db8::1", Ok(ServerName::IpLiteral)),
        (b"[2001:db8::1]", bad()),
        (b"", bad()),
        (b".", bad()),
        (b".a", bad()),
        (b"a..b", bad()),
        (b"a..", bad()),
        (b"a\0b", bad()),
        (b"a b", bad()),
        (b"*.a", bad()),
        (b"a:443", bad()),
        ("b\u{fc}cher".as_bytes(), bad()),
        (b"\xff", bad()),
        (&b"a".repeat(256), bad()),
    ] {
        let found = match parse(&wire(&[sni(name)])) {
            Outcome::Hello(hello) => Ok(hello.server_name),
            Outcome::Refused(reason) => Err(reason),
            Outcome::NeedMore => panic!("complete"),
        };
        assert_eq!(found, expected, "{}", name.escape_ascii());
    }
}

#[test]
fn refusals() {
    use Reason::*;
    let good = message(&[sni(b"a")]);
    let one = records(&good, MAX_RECORD_LEN);
    let two_names = [&[0][..], &vec16(b"a"), &[0], &vec16(b"b")].concat();
    let other_kind = [&[0][..], &vec16(b"a"), &[1], &vec16(b"b")].concat();
    let many = vec![&b"x"[..]; MAX_PROTOCOLS + 1];
    for (what, bytes, expected) in [
        ("HTTP", b"GET / HTTP/1.1\r\n".to_vec(), NotTls),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 40], NotTls),
        ("a PostgreSQL packet", vec![0, 0, 0, 8], NotTls),
        ("SSL 2.0", vec![0x80, 0x2e, 1, 0, 2], Ssl2),
        ("a top bit", vec![0x80, 0x2e, 2], NotTls),
        ("record version 2", vec![22, 2], RecordVersion),
        ("an empty record", vec![22, 3, 1, 0, 0], EmptyRecord),
        ("an empty record later", [&records(&good, 9)[..14], &[22, 3, 3, 0, 0]].concat(), EmptyRecord),
        ("a long record", vec![22, 3, 1, 0x40, 1], RecordTooLong),
        ("change of cipher inside", [&records(&good, 9)[..14], &[20]].concat(), Interleaved),
        ("a server's hello", vec![22, 3, 1, 0, 9, 2], NotClientHello),
        ("a long hello", vec![22, 3, 1, 0, 4, 1, 0, 0x40, 0], TooLong),
        ("an endless hello", vec![22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff], TooLong),
        ("bytes behind", records(&[&good[..], &[1]].concat(), MAX_RECORD_LEN), TrailingBytes),
        ("bytes behind, seen early", [&[22, 3, 1, 1, 0], &good[..4]].concat(), TrailingBytes),
        ("an empty hello", vec![22, 3, 1, 0, 4, 1, 0, 0, 0], Malformed("random")),
        ("two name extensions", wire(&[sni(b"a"), sni(b"a")]), Repeated("server name")),
        ("two names", wire(&[(SNI, vec16(&two_names))]), Malformed("server name")),
        ("a name of another kind", wire(&[(SNI, vec16(&other_kind))]), Malformed("server name")),
        ("no name", wire(&[(SNI, vec16(b""))]), Malformed("server name")),
        ("an empty name extension", wire(&[(SNI, vec![])]), Malformed("server name")),
        ("two ALPN", wire(&[alpn(&[b"a"]), alpn(&[b"b"])]), Repeated("ALPN")),
        ("no protocol", wire(&[alpn(&[])]), Malformed("list of application protocols")),
        ("an empty protocol", wire(&[alpn(&[b""])]), Malformed("list of application protocols")),
        ("many protocols", wire(&[alpn(&many)]), TooManyProtocols),
        ("half a version", wire(&[(VERSIONS, vec8(&[3]))]), Malformed("list of versions")),
        (
            "a cut extension",
            records(&handshake(&good[4..good.len() - 1]), 99),
            Malformed("list of extensions"),
        ),
    ] {
        assert_eq!(parse(&bytes), Outcome::Refused(expected), "{what}");
        let next = [&bytes[..], &one].concat();
        assert_eq!(parse(&next), Outcome::Refused(expected), "{what}, whatever follows");
    }
}

#[test]
fn the_largest_hello_costs_one_step_a_byte_in_records_of_one_byte() {
    let filler = MAX_HELLO_LEN - message(&[sni(b"a"), (PADDING, vec![])]).len();
    let message = message(&[sni(b"a"), (PADDING, vec![0; filler])]);
    assert_eq!(message.len(), MAX_HELLO_LEN);
    let bytes = records(&message, 1);
    assert_eq!(bytes.len(), MAX_WIRE_LEN);

    let mut parser = Parser::default();
    for end in 0..bytes.len() {
        assert_eq!(parser.advance(&bytes[..end]), Outcome::NeedMore);
    }
    assert_eq!(parser.advance(&bytes), Outcome::Hello(hello(&bytes)));
    assert!(parser.steps <= bytes.len() + message.len() + 1, "{} steps", parser.steps);
}

/// What a real client sends first.
fn rustls_hello(name: &str, protocols: &[Vec<u8>], post_quantum: bool) -> Vec<u8> {
    let mut provider = crypto::aws_lc_rs::default_provider();
    provider.kx_groups = match post_quantum {
        true => vec![crypto::aws_lc_rs::kx_group::X25519MLKEM768, crypto::aws_lc_rs::kx_group::X25519],
        false => vec![crypto::aws_lc_rs::kx_group::X25519],
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = protocols.to_vec();
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// The same hello cut into records of the given sizes, the last size repeated.
fn recut(bytes: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut rest = bytes;
    while let [_, _, _, high, low, payload @ ..] = rest {
        let (content, next) = payload.split_at(u16::from_be_bytes([*high, *low]).into());
        message.extend_from_slice(content);
        rest = next;
    }
    let mut out = Vec::new();
    let mut sizes = sizes.iter().chain(std::iter::repeat(sizes.last().unwrap()));
    let mut rest = &message[..];
    while !rest.is_empty() {
        let (piece, next) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        out.extend([22, 3, 3]);
        out.extend(vec16(piece));
        rest = next;
    }
    out
}

/// What rustls' server side reads: the name and the protocols, or that it refuses.
fn judge(mut bytes: &[u8]) -> Option<(Option<String>, Vec<Vec<u8>>)> {
    let mut acceptor = Acceptor::default();
    loop {
        let read = acceptor.read_tls(&mut bytes).unwrap();
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let protocols = hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect());
                return Some((hello.server_name().map(str::to_owned), protocols.unwrap_or_default()));
            }
            Ok(None) if read == 0 => panic!("rustls wants more"),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
}

fn ours(hello: &ClientHello) -> (Option<String>, Vec<Vec<u8>>) {
    (hello.server_name().map(str::to_owned), hello.alpn.iter().map(<[u8]>::to_vec).collect())
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-zA-Z][a-zA-Z0-9_]{0,8}(\\.[a-zA-Z]([a-zA-Z0-9-]{0,8}[a-z0-9])?){0,4}\\.?",
        1 => Just("192.0.2.7".to_owned()),
        1 => Just("2001:db8::7".to_owned()),
    ]
}

fn any_hello() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop_oneof![
        Just(b"postgresql".to_vec()),
        Just(b"h2".to_vec()),
        prop::collection::vec(any::<u8>(), 1..40),
    ];
    (any_name(), prop::collection::vec(protocol, 0..6), any::<bool>())
        .prop_map(|(name, protocols, post_quantum)| rustls_hello(&name, &protocols, post_quantum))
}

/// Sizes of records or of reads, small ones more often than a uniform choice would give.
fn any_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..8, 1usize..600, Just(MAX_RECORD_LEN)], 1..12)
}

#[test]
fn a_post_quantum_hello_is_read() {
    let bytes = rustls_hello("db.example", &[b"postgresql".to_vec()], true);
    assert!(bytes.len() > 1300, "{} bytes", bytes.len());
    let hello = hello(&bytes);
    assert_eq!(hello.server_name(), Some("db.example"));
    assert!(hello.offers_alpn(b"postgresql") && hello.offers_tls13);
}

proptest! {
    #[test]
    fn reads_what_rustls_reads(bytes in any_hello(), sizes in any_sizes()) {
        let hello = hello(&recut(&bytes, &sizes));
        prop_assert_eq!(Some(ours(&hello)), judge(&bytes));
        prop_assert!(hello.offers_tls13);
    }

    #[test]
    fn pieces_do_not_matter(bytes in any_hello(), sizes in any_sizes(), reads in any_sizes()) {
        let bytes = recut(&bytes, &sizes);
        let mut parser = Parser::default();
        let mut reads = reads.iter().chain(std::iter::repeat(reads.last().unwrap()));
        let mut end = 0;
        while end < bytes.len() {
            prop_assert_eq!(parser.advance(&bytes[..end]), Outcome::NeedMore);
            prop_assert_eq!(parse(&bytes[..end]), Outcome::NeedMore);
            end += reads.next().unwrap();
        }
        let outcome = parser.advance(&bytes);
        prop_assert_eq!(&outcome, &parse(&bytes));
        prop_assert_eq!(hello(&bytes).bytes_consumed, bytes.len());
        prop_assert!(matches!(outcome, Outcome::Hello(_)));
    }

    /// A hello with bytes changed is read alike, or at least one of the two readers refuses it.
    #[test]
    fn a_damaged_hello_is_never_read_differently(
        bytes in any_hello(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let mut bytes = bytes;
        for (index, value) in damage {
            // Behind the headers, so that both still see one complete message.
            let at = 9 + index.index(bytes.len() - 9);
            bytes[at] = value;
        }
        if let (Outcome::Hello(hello), Some(theirs)) = (parse(&bytes), judge(&bytes)) {
            prop_assert_eq!(ours(&hello), theirs);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse(&bytes);
        parse(&[&[22, 3, 1, 0, 200], &bytes[..]].concat());
        parse(&records(&handshake(&bytes), 50));
        parse(&wire(&[(SNI, bytes.clone()), (ALPN, bytes.clone()), (VERSIONS, bytes)]));
    }

    /// Even a caller that hands over other bytes than before gets an answer.
    #[test]
    fn a_changing_past_does_not_panic(calls in prop::collection::vec(any_hello(), 1..4), cut in any::<prop::sample::Index>()) {
        let mut parser = Parser::default();
        for bytes in calls {
            parser.advance(&recut(&bytes, &[100])[..cut.index(bytes.len())]);
        }
    }
}
