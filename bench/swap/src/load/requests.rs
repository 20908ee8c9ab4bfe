//! Requests: on connections that are kept, on new ones, on idle ones, and at a port that comes and goes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{CALL_PACE, PACE, SLOW_PART, STREAMS, Stage};
use crate::client::{ANSWER_LIMIT, Checked, Sender, connect, connect_tls};
use crate::configuration::SHOP;
use crate::tally::{Kind, Trouble};

/// Parts of a slow body, one every [`PACE`].
const SLOW_PARTS: usize = 5;
/// Most connections that sit idle.
const IDLE: usize = 200;
/// Between two of them, so that they are of many generations.
const IDLE_PACE: Duration = Duration::from_millis(30);
/// Requests on a connection of the port that comes and goes: it lives through several of its ends.
const KNOCKS: usize = 5;

/// One connection, or several streams on one, asking at their pace. A connection that breaks is noted and replaced.
pub(super) async fn keep_asking(stage: Stage, kind: Kind) {
    while !*stage.stop.borrow() {
        let Some(sender) = stage.note(kind, open(&stage, kind).await) else {
            tokio::task::yield_now().await;
            continue;
        };
        match sender {
            Sender::Http1(_) => ask_until_trouble(stage.clone(), kind, sender).await,
            Sender::Http2(_) => {
                let streams = (0..STREAMS).map(|_| ask_until_trouble(stage.clone(), kind, sender.another()));
                streams.collect::<JoinSet<()>>().join_all().await;
            }
        }
    }
}

async fn open(stage: &Stage, kind: Kind) -> Result<Sender, Trouble> {
    Ok(match kind {
        Kind::Http1 | Kind::Slow => Sender::http1(connect(stage.targets.http).await?).await?,
        Kind::Http2 => Sender::http2(connect(stage.targets.http).await?).await?,
        Kind::Http2Tls => {
            Sender::http2(connect_tls(stage.targets.https, SHOP, &stage.tls.http2).await?).await?
        }
        _ => Sender::http1(connect_tls(stage.targets.https, SHOP, &stage.tls.http1).await?).await?,
    })
}

async fn ask_until_trouble(stage: Stage, kind: Kind, mut sender: Sender) {
    let (mut pace, mut last) = (stage.pace(PACE), 0);
    while pace.next().await {
        let asked = Instant::now();
        let checked = sender.get("keep").await.and_then(Checked::by_member);
        match checked.and_then(|checked| checked.not_before(&mut last)) {
            Ok(()) => stage.tally.answered(kind, asked),
            Err(trouble) => return stage.tally.trouble(kind, &trouble),
        }
    }
}

/// Bodies that take as long as several swaps, there and back, on one connection.
pub(super) async fn keep_uploading(stage: Stage) {
    let mut pace = stage.pace(PACE);
    'connection: while let Some(mut sender) = stage.note(Kind::Slow, open(&stage, Kind::Slow).await) {
        while pace.next().await {
            let asked = Instant::now();
            match upload(&stage, &mut sender).await {
                Ok(()) => stage.tally.answered(Kind::Slow, asked),
                Err(trouble) => {
                    stage.tally.trouble(Kind::Slow, &trouble);
                    continue 'connection;
                }
            }
        }
        return;
    }
}

async fn upload(stage: &Stage, sender: &mut Sender) -> Result<(), Trouble> {
    let (mut parts, body) = Channel::new(1);
    let request = sender.request("POST", "/shop/slow").body(body.boxed_unsync()).context("a request")?;
    let mut pace = stage.pace(PACE);
    let feed = async {
        for number in 0..SLOW_PARTS {
            // An exchange that has begun is finished, whoever wants to stop.
            pace.ticks.tick().await;
            let part = Bytes::from(vec![b'a' + number as u8; SLOW_PART]);
            // That the gateway does not take it shows in the answer.
            let _ = parts.send_data(part).await;
        }
        drop(parts);
    };
    let (answer, ()) = tokio::join!(sender.send(request), feed);
    let (head, body) = answer?.into_parts();
    // Retries aside, the endpoint was chosen when the head came; it may have left since.
    Checked::of(&head, "slow")?.by_member()?;
    let body = timeout(ANSWER_LIMIT, body.collect()).await.context("the body")?.context("the body")?;
    let length = body.to_bytes().len();
    if length != SLOW_PARTS * SLOW_PART {
        return Err(anyhow!("{length} of {} bytes came back", SLOW_PARTS * SLOW_PART).into());
    }
    Ok(())
}

/// A TLS connection for each request.
pub(super) async fn keep_calling(stage: Stage, kind: Kind) {
    let mut pace = stage.pace(CALL_PACE);
    while pace.next().await {
        let asked = Instant::now();
        if stage.note(kind, call(&stage, kind).await).is_some() {
            stage.tally.answered(kind, asked);
        }
    }
}

async fn call(stage: &Stage, kind: Kind) -> Result<(), Trouble> {
    let config = if kind == Kind::ResumedTls { &stage.tls.resuming } else { &stage.tls.http1 };
    let stream = connect_tls(stage.targets.https, SHOP, config).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    stage.tally.certificate(kind, shown.ok_or_else(|| anyhow!("no certificate"))?);
    let mut sender = Sender::http1(stream).await?;
    sender.get("call").await?.by_member()?;
    Ok(())
}

/// Connections that ask once, sit, and ask once more at the very end.
pub(super) async fn gather_idle(stage: Stage) {
    let mut pace = stage.pace(IDLE_PACE);
    let mut idle = Vec::with_capacity(IDLE);
    while idle.len() < IDLE && pace.next().await {
        let kind = if idle.len() % 2 == 0 { Kind::Http1 } else { Kind::Http1Tls };
        let asked = Instant::now();
        let first = async {
            let mut sender = open(&stage, kind).await?;
            sender.get("idle").await?.by_member()?;
            Ok(sender)
        };
        if let Some(sender) = stage.note(Kind::Idle, first.await) {
            stage.tally.answered(Kind::Idle, asked);
            idle.push(sender);
        }
    }
    while pace.next().await {}
    for mut sender in idle {
        let asked = Instant::now();
        let last = sender.get("idle").await.and_then(Checked::by_member);
        if stage.note(Kind::Idle, last).is_some() {
            stage.tally.answered(Kind::Idle, asked);
        }
    }
}

/// Connects to the port that comes and goes. Nobody listens half of the time; but whoever has had an answer goes
/// on being answered on that connection, under the configuration that last had the port.
pub(super) async fn knock(stage: Stage) {
    let kind = Kind::Flapping;
    let mut pace = stage.pace(PACE);
    while pace.next().await {
        let asked = Instant::now();
        let Ok(stream) = connect(stage.targets.flapping).await else {
            stage.tally.turned_away(kind);
            continue;
        };
        let mut sender = match Sender::http1(stream).await {
            Ok(sender) => sender,
            Err(error) => {
                stage.tally.trouble(kind, &Trouble::Failed(error));
                continue;
            }
        };
        match sender.get("knock").await {
            Ok(_) => stage.tally.answered(kind, asked),
            // The kernel resets whom it lets in between the gateway's last look and the end of the socket.
            Err(Trouble::Failed(_) | Trouble::Closed(_)) => {
                stage.tally.let_in_too_late(kind);
                continue;
            }
            Err(trouble) => stage.tally.trouble(kind, &trouble),
        }
        for _ in 1..KNOCKS {
            pace.ticks.tick().await;
            let asked = Instant::now();
            if stage.note(kind, sender.get("knock").await).is_none() {
                break;
            }
            stage.tally.answered(kind, asked);
        }
    }
}
