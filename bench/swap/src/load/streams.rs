//! Connections that last as long as the load, with messages there and back all the time.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, TE, UPGRADE};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{CALL_PACE, PACE, Stage};
use crate::client::{ANSWER_LIMIT, Checked, Sender, connect, connect_tls};
use crate::configuration::{SHOP, VAULT};
use crate::tally::{Kind, Trouble};

/// Messages of a short session.
const SHORT: u64 = 3;

/// An upgraded connection.
pub(super) async fn web_socket(stage: Stage) {
    let stream = match upgrade(&stage).await {
        Ok(stream) => stream,
        Err(trouble) => return stage.tally.trouble(Kind::WebSocket, &trouble),
    };
    converse(&stage, Kind::WebSocket, stream).await;
}

async fn upgrade(stage: &Stage) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, Trouble> {
    let mut sender = Sender::http1(connect(stage.targets.http).await?).await?;
    let request = sender
        .request("GET", "/shop/socket")
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Empty::new().boxed_unsync());
    let response = sender.send(request?).await?;
    let (head, body) = response.into_parts();
    Checked::of(&head, "socket")?.by_member()?;
    let upgraded = timeout(ANSWER_LIMIT, hyper::upgrade::on(http::Response::from_parts(head, body)));
    Ok(TokioIo::new(upgraded.await.context("the upgrade")??))
}

/// A long session passed through by its server name.
pub(super) async fn passthrough(stage: Stage) {
    match vault(&stage, &stage.tls.bare).await {
        Ok(stream) => converse(&stage, Kind::Passthrough, stream).await,
        Err(trouble) => stage.tally.trouble(Kind::Passthrough, &trouble),
    }
}

/// Short sessions passed through, one behind the other.
pub(super) async fn new_passthroughs(stage: Stage) {
    let mut pace = stage.pace(CALL_PACE);
    while pace.next().await {
        let asked = Instant::now();
        let session = async {
            let mut stream = vault(&stage, &stage.tls.bare).await?;
            for number in 0..SHORT {
                exchange(&mut stream, number).await?;
            }
            stream.shutdown().await?;
            Ok(())
        };
        if stage.note(Kind::NewPassthrough, session.await).is_some() {
            stage.tally.answered(Kind::NewPassthrough, asked);
        }
    }
}

async fn vault(stage: &Stage, config: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Trouble> {
    Ok(connect_tls(stage.targets.https, VAULT, config).await?)
}

/// Messages there and back until the load ends or the stream breaks.
async fn converse(stage: &Stage, kind: Kind, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut pace, mut number) = (stage.pace(PACE), 0);
    while pace.next().await {
        let asked = Instant::now();
        if let Err(error) = exchange(&mut stream, number).await {
            return stage.tally.trouble(kind, &Trouble::Closed(error));
        }
        stage.tally.answered(kind, asked);
        number += 1;
    }
    if let Err(error) = farewell(&mut stream).await {
        stage.tally.trouble(kind, &Trouble::Closed(error));
    }
}

/// One message, in the form of a masked WebSocket frame of eight bytes (RFC 6455 §5.2), and its echo.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), number: u64) -> anyhow::Result<()> {
    let mut message = [0x82, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    message[6..].copy_from_slice(&number.to_be_bytes());
    let mut echo = [0; 14];
    let there_and_back = async {
        stream.write_all(&message).await?;
        stream.flush().await?;
        stream.read_exact(&mut echo).await
    };
    timeout(ANSWER_LIMIT, there_and_back).await.context("no echo")?.context("the stream")?;
    ensure!(echo == message, "another message than the one sent came back");
    Ok(())
}

/// Ends a stream and waits for the other side's end.
async fn farewell(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> anyhow::Result<()> {
    stream.shutdown().await?;
    let mut rest = Vec::new();
    timeout(ANSWER_LIMIT, stream.read_to_end(&mut rest)).await.context("no end")?.context("the end")?;
    ensure!(rest.is_empty(), "{} bytes nobody asked for", rest.len());
    Ok(())
}

/// A gRPC stream both ways on a connection of its own.
pub(super) async fn grpc(stage: Stage) {
    if let Err(trouble) = chat(&stage).await {
        stage.tally.trouble(Kind::Grpc, &trouble);
    }
}

async fn chat(stage: &Stage) -> Result<(), Trouble> {
    let mut sender = Sender::http2(connect_tls(stage.targets.https, SHOP, &stage.tls.http2).await?).await?;
    let (mut messages, body) = Channel::new(1);
    let request = sender
        .request("POST", "/chat/talk")
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(body.boxed_unsync());
    let (head, mut body) = sender.send(request?).await?.into_parts();
    Checked::of(&head, "talk")?.by_member()?;
    let (mut pace, mut number, mut read) = (stage.pace(PACE), 0, BytesMut::new());
    while pace.next().await {
        let asked = Instant::now();
        let message = message(number);
        messages
            .send_data(message.clone())
            .await
            .map_err(|_| Trouble::Closed(anyhow!("the stream takes no more")))?;
        while read.len() < message.len() {
            let frame = timeout(ANSWER_LIMIT, body.frame()).await.context("no echo")?;
            let frame = frame.ok_or_else(|| Trouble::Closed(anyhow!("the stream has ended")))?;
            let data = frame.map_err(|error| Trouble::Closed(error.into()))?.into_data();
            read.extend_from_slice(&data.map_err(|_| Trouble::Closed(anyhow!("trailers in the middle")))?);
        }
        if read[..message.len()] != message {
            return Err(anyhow!("another message than the one sent came back").into());
        }
        read.advance(message.len());
        stage.tally.answered(Kind::Grpc, asked);
        number += 1;
    }
    drop(messages);
    let end = timeout(ANSWER_LIMIT, body.collect()).await.context("no end")?.context("the end")?;
    let status =
        end.trailers().and_then(|trailers| trailers.get("grpc-status")).map(|status| status.as_bytes());
    if status != Some(b"0") {
        return Err(anyhow!("the stream ended with grpc-status {status:?}").into());
    }
    Ok(())
}

/// A message with its length in front, as gRPC frames them.
fn message(number: u64) -> Bytes {
    [&[0, 0, 0, 0, 8][..], &number.to_be_bytes()].concat().into()
}
