//! The pump between two pairs of in-memory streams.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

/// A pump at work, and the far ends of its streams.
struct Rig {
    client: DuplexStream,
    server: DuplexStream,
    pump: Pump<DuplexStream, DuplexStream>,
    meter: Meter,
}

/// Streams that hold `room` bytes each way.
fn rig(room: usize, ahead: &[u8]) -> Rig {
    let (client, near) = tokio::io::duplex(room);
    let (server, far) = tokio::io::duplex(room);
    Rig { client, server, pump: Pump::new(near, far, ahead.into()), meter: Meter::default() }
}

impl Rig {
    /// Runs the pump to its end beside what the two sides do.
    async fn run<T>(mut self, sides: impl AsyncFnOnce(DuplexStream, DuplexStream) -> T) -> (End, Meter, T) {
        let mut pump = self.pump;
        let pumping = async {
            let end = poll_fn(|cx| pump.poll(cx, &mut self.meter)).await;
            drop(pump);
            end
        };
        let (end, sides) = tokio::join!(pumping, sides(self.client, self.server));
        (end, self.meter, sides)
    }
}

impl Rig {
    /// Moves what can be moved now.
    async fn step(&mut self) {
        let stepped = poll_fn(|cx| Poll::Ready(self.pump.poll(cx, &mut self.meter))).await;
        assert!(stepped.is_pending());
    }
}

impl Raw for DuplexStream {
    fn raw(&self) -> Option<&TcpStream> {
        None
    }
}

impl Raw for Reset {
    fn raw(&self) -> Option<&TcpStream> {
        None
    }
}

impl Raw for TcpStream {
    fn raw(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// A stream whose connection was reset.
struct Reset;

impl AsyncRead for Reset {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncWrite for Reset {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn read_all(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_end_is_passed_on_alone() {
    let (end, meter, ()) = rig(16, b"ahead ")
        .run(async |mut client, mut server| {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_all(&mut server).await, b"ahead question");
            // The client has finished sending; the answer still reaches it.
            server.write_all(b"a long answer, longer than the stream").await.unwrap();
            server.shutdown().await.unwrap();
            assert_eq!(read_all(&mut client).await, b"a long answer, longer than the stream");
        })
        .await;
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_eq!(meter, Meter { received: 8, sent: 37 });
}

#[tokio::test]
async fn a_slow_receiver_stops_its_sender() {
    const ROOM: usize = 1024;
    let (_, meter, sent) = rig(ROOM, b"")
        .run(async |mut client, mut server| {
            let flood = vec![b'x'; 1024 * 1024];
            let mut sent = 0;
            // Nobody reads at the server: what fits is what is buffered on the way.
            while let Ok(Ok(length)) =
                tokio::time::timeout(std::time::Duration::from_millis(20), client.write(&flood)).await
            {
                sent += length;
            }
            client.shutdown().await.unwrap();
            let received = read_all(&mut server).await;
            assert_eq!(received.len(), sent);
            server.shutdown().await.unwrap();
            sent
        })
        .await;
    assert!(sent <= 2 * ROOM + SCRATCH, "{sent} bytes were taken");
    assert_eq!(meter.received, sent as u64);
}

#[tokio::test]
async fn last_words_of_a_server_that_takes_no_more_still_arrive() {
    let (end, ..) = rig(16, b"")
        .run(async |mut client, mut server| {
            server.write_all(b"FATAL").await.unwrap();
            drop(server);
            client.write_all(b"more").await.unwrap();
            assert_eq!(read_all(&mut client).await, b"FATAL");
        })
        .await;
    assert!(matches!(end, End::Finished), "{end:?}");
}

#[tokio::test]
async fn the_side_that_breaks_is_named() {
    let (_peer, near) = tokio::io::duplex(16);
    let mut pump = Pump::new(near, Reset, BytesMut::new());
    let end = poll_fn(|cx| pump.poll(cx, &mut Meter::default())).await;
    assert!(matches!(end, End::Upstream(_)), "{end:?}");
    let (_peer, near) = tokio::io::duplex(16);
    let mut pump = Pump::new(Reset, near, BytesMut::new());
    let end = poll_fn(|cx| pump.poll(cx, &mut Meter::default())).await;
    assert!(matches!(end, End::Client), "{end:?}");
}

#[tokio::test]
async fn an_idle_connection_holds_no_memory() {
    let mut rig = rig(8, b"");
    rig.client.write_all(b"12345678").await.unwrap();
    rig.step().await;
    rig.client.write_all(b"abcdefgh").await.unwrap();
    rig.step().await;
    assert_eq!(rig.pump.up.unsent.len(), 8);
    let mut bytes = [0; 16];
    rig.server.read_exact(&mut bytes[..8]).await.unwrap();
    rig.step().await;
    assert_eq!(rig.pump.up.unsent.capacity(), 0);
    rig.server.read_exact(&mut bytes[8..]).await.unwrap();
    assert_eq!(&bytes, b"12345678abcdefgh");
}

/// Two ends of a connection over loopback.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a listener");
    let (server, _) = listener.accept().await.expect("a client");
    (client, server)
}

/// Bytes of which no two stretches look alike.
fn pattern(length: usize) -> Vec<u8> {
    let words = (0..length.div_ceil(8) as u64).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).take(length).collect()
}

#[tokio::test]
async fn many_bytes_between_sockets_arrive_as_they_were_both_ways() {
    const UP: usize = 3 * 1024 * 1024 + 17;
    const DOWN: usize = 5 * 1024 * 1024 + 3;
    let ((mut client, near), (far, mut server)) = (sockets().await, sockets().await);
    let mut pump = Pump::new(near, far, BytesMut::from(&b"ahead"[..]));
    let (mut client_in, mut client_out) = client.split();
    let (mut server_in, mut server_out) = server.split();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let ((end, meter, copied), ..) = tokio::join!(
        // Closing the sockets is the last word: the one whose direction ends last is not shut down before.
        async move {
            let mut meter = Meter::default();
            let end = poll_fn(|cx| pump.poll(cx, &mut meter)).await;
            (end, meter, pump.up.carried)
        },
        async {
            client_out.write_all(&pattern(UP)).await.unwrap();
            client_out.shutdown().await.unwrap();
        },
        async {
            server_out.write_all(&pattern(DOWN)).await.unwrap();
            server_out.shutdown().await.unwrap();
        },
        async { server_in.read_to_end(&mut up).await.unwrap() },
        async { client_in.read_to_end(&mut down).await.unwrap() },
    );
    assert!(matches!(end, End::Finished), "{end:?}");
    assert!(up == [&b"ahead"[..], &pattern(UP)].concat(), "{} of {UP} bytes", up.len());
    assert!(down == pattern(DOWN), "{} of {DOWN} bytes", down.len());
    assert_eq!(meter, Meter { received: UP as u64, sent: DOWN as u64 });
    assert!(copied < UP as u64 / 2, "most of it was not copied");
}

#[tokio::test]
async fn a_receiver_that_stalls_holds_its_sender_back_and_an_idle_one_holds_no_pipe() {
    let ((client, near), (far, mut server)) = (sockets().await, sockets().await);
    let mut pump = Pump::new(near, far, BytesMut::new());
    let mut meter = Meter::default();
    let (mut sent, mut expected, flood) = (0, Vec::new(), pattern(64 * 1024));
    let mut stalled = 0;
    // Until nothing more is taken, several times in a row.
    while stalled < 20 {
        match client.try_write(&flood) {
            Ok(count) => {
                expected.extend_from_slice(&flood[..count]);
                (sent, stalled) = (sent + count, 0);
            }
            Err(_) => stalled += 1,
        }
        let polled = poll_fn(|cx| Poll::Ready(pump.poll(cx, &mut meter))).await;
        assert!(polled.is_pending());
        tokio::task::yield_now().await;
    }
    assert!(pump.up.pipe.is_some(), "{sent} bytes stand before a receiver that takes none");
    let mut received = vec![0; sent];
    tokio::select! {
        end = poll_fn(|cx| pump.poll(cx, &mut meter)) => unreachable!("nobody has ended it: {end:?}"),
        read = server.read_exact(&mut received) => read.unwrap(),
    };
    assert_eq!(received, expected);
    let polled = poll_fn(|cx| Poll::Ready(pump.poll(cx, &mut meter))).await;
    assert!(polled.is_pending());
    assert_eq!(meter.received, sent as u64);
    assert!(pump.up.pipe.is_none());
    drop(client);
}
