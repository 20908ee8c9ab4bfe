//! Protocol upgrades: what may be asked for, and the tunnel after a 101.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use portcullis_snapshot::Headers;

use crate::connection::Connection;
use crate::error::ClientError;
use crate::http::exchange::Record;
use crate::http::h1::head::{Framing, HeadError};
use crate::stream::Stream;
use crate::tcp::pump::{Meter, Pump};

/// The protocol that a request asks to switch to: `websocket`, the only one that routes allow.
/// Without `Connection: upgrade` the field means nothing (RFC 9110 §7.8).
///
/// # Errors
/// Any other protocol, and an upgrade with a body, which two parsers could end at different places. An offer of `h2c`
/// is declined by passing over it: the request is served as it is, and upstreams never hear of the offer.
pub(crate) fn requested(headers: &mut Headers, framing: Framing) -> Result<Option<Bytes>, ClientError> {
    let Some(protocol) = headers.joined_owned("upgrade") else { return Ok(None) };
    let connection = headers.joined("connection").unwrap_or_default();
    let named = connection
        .split(|&byte| byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    if !named {
        headers.remove("upgrade");
        return Ok(None);
    }
    if protocol.eq_ignore_ascii_case(b"h2c") {
        headers.remove("upgrade");
        return Ok(None);
    }
    if framing != Framing::Empty {
        return Err(ClientError::Head(HeadError::Malformed));
    }
    if !protocol.eq_ignore_ascii_case(b"websocket") {
        return Err(ClientError::UpgradeRefused);
    }
    Ok(Some(protocol))
}

/// Carries bytes both ways until one side ends or the gateway stops; `early` was read from the
/// client behind its request.
pub(crate) async fn splice(
    connection: &Rc<Connection>,
    downstream: Stream,
    early: BytesMut,
    upstream: Stream,
    mut record: Box<Record>,
) {
    connection.let_go();
    let mut pump = Pump::new(downstream, upstream, early);
    let mut meter = Meter::default();
    tokio::select! {
        _ = std::future::poll_fn(|cx| pump.poll(cx, &mut meter)) => {}
        () = connection.worker.drain.closed() => {}
    }
    record.inner.bytes_received += meter.received;
    record.inner.bytes_sent += meter.sent;
    record.inner.wire_received += meter.received;
    record.inner.wire_sent += meter.sent;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        fields: &[(&'static str, &'static str)],
        framing: Framing,
    ) -> Result<Option<Bytes>, ClientError> {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.append(*name, *value);
        }
        requested(&mut headers, framing)
    }

    #[test]
    fn only_websocket_without_a_body() {
        let upgrade = ("connection", "keep-alive, Upgrade");
        assert_eq!(asked(&[upgrade, ("upgrade", "websocket")], Framing::Empty), Ok(Some("websocket".into())));
        assert_eq!(asked(&[("upgrade", "websocket")], Framing::Empty), Ok(None));
        assert_eq!(asked(&[upgrade, ("upgrade", "h2c")], Framing::Empty), Ok(None));
        assert_eq!(asked(&[upgrade, ("upgrade", "foo")], Framing::Empty), Err(ClientError::UpgradeRefused));
        assert!(asked(&[upgrade, ("upgrade", "websocket")], Framing::Length(3)).is_err());
    }
}
