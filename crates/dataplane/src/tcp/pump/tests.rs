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
