//! Conversations up to the point where it is clear what a client wants.

use rustls::crypto::aws_lc_rs;
use tokio::io::DuplexStream;

use super::*;

const SSL: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0ann\0\0";

/// A ClientHello as rustls writes it, post-quantum key share and all.
fn hello(name: &'static str) -> Vec<u8> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut client = rustls::ClientConnection::new(config.into(), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// What a client does: sends bytes, or waits for an answer.
enum Act<'a> {
    Send(&'a [u8]),
    /// One write for each byte.
    Drip(&'a [u8]),
    Hear(u8),
    Leave,
}

async fn act(mut client: DuplexStream, acts: &[Act<'_>]) -> DuplexStream {
    for step in acts {
        match step {
            Act::Send(bytes) => client.write_all(bytes).await.unwrap(),
            Act::Drip(bytes) => {
                for byte in *bytes {
                    client.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
            Act::Hear(expected) => assert_eq!(client.read_u8().await.unwrap(), *expected),
            Act::Leave => client.shutdown().await.unwrap(),
        }
    }
    client
}

async fn outcome(postgres: Postgres, acts: &[Act<'_>]) -> (Result<First, Failure>, BytesMut) {
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let mut buffer = BytesMut::new();
    // The client stays until the answer is known.
    let limit = std::time::Duration::from_secs(20);
    let conversation = async { tokio::join!(read(&mut near, &mut buffer, postgres), act(far, acts)) };
    let (outcome, _client) = tokio::time::timeout(limit, conversation).await.expect("a decision in time");
    (outcome, buffer)
}

#[tokio::test]
async fn tls_begins_directly_or_after_questions_in_any_fragmentation() {
    use Act::{Drip, Hear, Send};
    let hello = hello("db.test");
    assert!(hello.len() > 1200, "{} bytes hold no post-quantum share", hello.len());
    let direct: [&[Act<'_>]; 2] = [&[Send(&hello)], &[Drip(&hello)]];
    for acts in direct {
        let (first, buffer) = outcome(Postgres::Served, acts).await;
        let First::Tls(parsed, Negotiation::Direct) = first.unwrap() else { panic!("no hello") };
        assert_eq!((parsed.server_name(), &buffer[..]), (Some("db.test"), &hello[..]));
    }
    let asked: [&[Act<'_>]; 3] = [
        &[Send(&SSL), Hear(b'S'), Send(&hello)],
        &[Send(&GSS), Hear(b'N'), Send(&SSL), Hear(b'S'), Drip(&hello)],
        &[Drip(&GSS), Hear(b'N'), Drip(&SSL), Hear(b'S'), Send(&hello[..7]), Send(&hello[7..])],
    ];
    for acts in asked {
        let (first, buffer) = outcome(Postgres::Served, acts).await;
        let First::Tls(_, Negotiation::Asked) = first.unwrap() else { panic!("no hello") };
        assert_eq!(&buffer[..], &hello[..], "nothing but the hello is kept");
    }
}

#[tokio::test]
async fn clear_sessions_and_other_protocols_are_left_whole() {
    use Act::{Hear, Send};
    let (first, buffer) = outcome(Postgres::Served, &[Send(STARTUP)]).await;
    assert!(matches!(first.unwrap(), First::Startup(startup) if startup.user.as_deref() == Some("ann")));
    assert_eq!(&buffer[..], STARTUP);
    let (first, _) = outcome(Postgres::Served, &[Send(&GSS), Hear(b'N'), Send(STARTUP)]).await;
    assert!(matches!(first.unwrap(), First::Startup(_)));
    let (first, buffer) = outcome(Postgres::Served, &[Send(b"GET / HTTP/1.1\r\n")]).await;
    assert_eq!((first.unwrap(), &buffer[..4]), (First::Other, &b"GET "[..]));
    for question in [SSL, GSS] {
        let (first, buffer) = outcome(Postgres::NotServed, &[Send(&question)]).await;
        assert_eq!((first.unwrap(), &buffer[..]), (First::Question, &question[..]));
    }
}

#[tokio::test]
async fn nothing_may_stand_behind_a_question() {
    use Act::{Hear, Send};
    let hello = hello("db.test");
    let stuffed: [&[Act<'_>]; 3] = [
        &[Send(&[&SSL[..], &hello[..]].concat())],
        &[Send(&[&GSS[..], &SSL[..]].concat())],
        &[Send(&GSS), Hear(b'N'), Send(&[&SSL[..], b"x"].concat())],
    ];
    for acts in stuffed {
        assert!(matches!(outcome(Postgres::Served, acts).await.0, Err(Failure::Stuffed)));
    }
}

#[tokio::test]
async fn what_does_not_follow_the_answer_is_refused() {
    use Act::{Hear, Leave, Send};
    let broken: [(&[Act<'_>], &str); 6] = [
        (&[Send(&SSL), Hear(b'S'), Send(STARTUP)], "no ClientHello after"),
        (&[Send(&SSL), Hear(b'S'), Send(&GSS)], "no ClientHello after"),
        (&[Send(&GSS), Hear(b'N'), Send(&GSS)], "no PostgreSQL session after"),
        (&[Send(&GSS), Hear(b'N'), Send(b"GET /")], "no PostgreSQL after"),
        (&[Send(&SSL[..3]), Leave], "left after 3 bytes"),
        (&[Send(&SSL), Hear(b'S'), Leave], "left after 0 bytes"),
    ];
    for (acts, expected) in broken {
        let failure = outcome(Postgres::Served, acts).await.0.unwrap_err().to_string();
        assert!(failure.contains(expected), "{failure}");
    }
}
