//! PINGs on HTTP/2 connections to upstreams (`http2KeepAlive`): they find out that a silent peer has gone.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use h2::{Ping, PingPong};
use portcullis_snapshot::transport::Http2Keepalive;
use tokio::time::sleep;

/// Drives a connection to its end: `driver` moves its frames, `pings` are asked for beforehand.
///
/// A PING that is not answered in time ends it, which its streams see as the connection breaking off. Dropping the
/// future closes the connection.
///
/// # Errors
/// What ended the connection, for the log.
pub(crate) async fn drive(
    driver: impl Future<Output = Result<(), h2::Error>>,
    pings: Option<(PingPong, Http2Keepalive)>,
) -> Result<(), String> {
    let mut driver = pin!(driver);
    let Some((pings, keepalive)) = pings else {
        return driver.await.map_err(|error| error.to_string());
    };
    let mut silence = pin!(silence(pings, keepalive));
    poll_fn(|cx| match driver.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended.map_err(|error| error.to_string())),
        Poll::Pending => silence.as_mut().poll(cx).map(Err),
    })
    .await
}

/// Returns when a PING was not answered in time; never when all are.
async fn silence(mut pings: PingPong, keepalive: Http2Keepalive) -> String {
    loop {
        sleep(keepalive.interval).await;
        let answered = pings.ping(Ping::opaque());
        let mut answered = pin!(answered);
        let mut patience = pin!(sleep(keepalive.timeout));
        let late = poll_fn(|cx| match Pin::as_mut(&mut answered).poll(cx) {
            Poll::Ready(Ok(_)) => Poll::Ready(false),
            // The connection has ended, which its driver tells.
            Poll::Ready(Err(_)) => Poll::Pending,
            Poll::Pending => patience.as_mut().poll(cx).map(|()| true),
        });
        if late.await {
            return format!("a PING was not answered within {:?}", keepalive.timeout);
        }
    }
}
