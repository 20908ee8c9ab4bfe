//! Requests that came upon a kept connection while its upstream was ending it.

use std::io::ErrorKind;
use std::time::Duration;

use crate::http::h1::io::Reader;
use crate::upstream::link::Link;
use crate::upstream::pool::{Kept, Pool, Standing};

/// A kept connection that had been idle for so long may have been given up by the upstream, or by something on the way.
const RACE_IDLE: Duration = Duration::from_secs(5);
/// What a system takes to answer bytes of a connection it no longer knows, beside the way there and back.
const ANSWERED_WITHIN: Duration = Duration::from_micros(250);
/// A request that was sent so recently may still have been unread when its upstream ended.
const RECENT: Duration = Duration::from_millis(250);
/// When it is looked for what tells of an end: the reset that an upstream's system sends for bytes behind it comes a
/// round trip later over a network, and other connections of that upstream break one after the other.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(2), Duration::from_millis(8), Duration::from_millis(15)];

/// Whether the reset of a kept connection that has just been seen answers the sending itself: it came as soon as the
/// way there and back takes, before any server could have read the request and thought about it.
pub(super) fn is_answer_to_sending(kept: Kept, link: &Link) -> bool {
    let way = link.opened.map_or(Duration::ZERO, |opened| opened.connected - opened.begun);
    is_prompt(kept.idle, kept.lent.elapsed(), way)
}

fn is_prompt(idle: Duration, after: Duration, way: Duration) -> bool {
    idle >= RACE_IDLE && after <= way + ANSWERED_WITHIN
}

/// Whether the request was sent so recently that its upstream may have ended without having read it.
pub(super) fn is_recent(kept: Kept) -> bool {
    kept.lent.elapsed() <= RECENT
}

/// Where it shows that a connection broke with others of its upstream.
pub(super) struct Beside<'a> {
    pub(super) pool: &'a Pool,
    pub(super) standing: &'a Standing,
}

/// Whether the peer had ended the connection before what we sent last reached it, or, where `beside` is asked, ends
/// as a whole: other connections that were open with this one break at the same time.
///
/// The system of a peer that had ended a connection answers bytes behind the end with a reset, and ours then reports
/// a broken pipe; a peer that read them and then closed sends no reset, and one that reset the connection instead of
/// ending it is reported as such.
pub(super) async fn had_ended(reader: &Reader, beside: Option<Beside<'_>>) -> bool {
    if beside.as_ref().is_some_and(|it| it.pool.note_broken(it.standing)) {
        return true;
    }
    for wait in LOOKS {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        if beside.as_ref().is_some_and(|it| it.pool.has_broken_beside(it.standing)) {
            return true;
        }
        let error = reader.with_stream(|stream| stream.tcp().and_then(|tcp| tcp.take_error().ok().flatten()));
        match error.map(|error| error.kind()) {
            Some(ErrorKind::BrokenPipe) => return true,
            // Nothing else comes.
            Some(_) if beside.is_none() => return false,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::http::h1::io::split;
    use crate::stream::Stream;

    /// Sends a request to a peer that ends the connection before or after reading it; gives what is made of that.
    async fn ended(reads_it: bool) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a listener");
        let (mut peer, _) = listener.accept().await.expect("a client");
        let (mut reader, mut writer) = split(Stream::Tcp(client), BytesMut::new());
        if !reads_it {
            drop(peer);
            writer.put("GET".into());
            writer.flush().await.expect("taken by the system");
        } else {
            writer.put("GET".into());
            writer.flush().await.expect("taken by the system");
            peer.read_exact(&mut [0; 3]).await.expect("all of it");
            peer.shutdown().await.expect("open");
            drop(peer);
        }
        assert_eq!(reader.fill().await.expect("an orderly end"), 0);
        had_ended(&reader, None).await
    }

    #[tokio::test]
    async fn an_end_before_the_request_is_told_from_one_behind_it() {
        assert!(ended(false).await, "bytes behind the end are answered with a reset");
        assert!(!ended(true).await, "bytes that were read are not");
    }

    #[test]
    fn a_late_reset_is_about_the_request() {
        let (ms, us) = (Duration::from_millis, Duration::from_micros);
        for (idle, after, way, expected) in [
            // Given up while idle: the answer takes the way there and back.
            (ms(5100), us(100), us(50), true),
            (ms(5100), ms(10), ms(20), true),
            (ms(5100), ms(2), us(50), false),
            (ms(5100), ms(300), ms(20), false),
            // Not idle for long enough.
            (ms(100), us(100), us(50), false),
            (us(100), us(100), us(50), false),
        ] {
            assert_eq!(is_prompt(idle, after, way), expected, "{idle:?} {after:?} {way:?}");
        }
    }
}
