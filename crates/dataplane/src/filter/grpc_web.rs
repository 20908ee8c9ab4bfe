//! gRPC-Web to gRPC and back, for ports whose first server is declared `GRPC-WEB`.
//!
//! Browsers cannot read trailers, so gRPC-Web carries them as one more frame at the end of the body; its text form
//! is base64 besides (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>). What happens to answers that are
//! no gRPC is Envoy's way: the body becomes `grpc-message`, the status stays.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use portcullis_snapshot::Headers;

use crate::http::message::Response;

const WEB: &[u8] = b"application/grpc-web";
const WEB_PROTO: &[u8] = b"application/grpc-web+proto";
const TEXT: &[u8] = b"application/grpc-web-text";
const TEXT_PROTO: &[u8] = b"application/grpc-web-text+proto";
/// Flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;
/// Flags and length in front of each gRPC message.
const FRAME_HEAD: usize = 5;
/// Most of an answer that is no gRPC that becomes a message; Envoy's number.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;

/// Which forms a request and its response have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forms {
    /// Whether the request is base64.
    pub(crate) text_request: bool,
    /// Whether the response is to be.
    pub(crate) text_response: bool,
}

/// The forms of a request that is gRPC-Web. Types with another encoding than protobuf are not translated.
pub(crate) fn recognise(headers: &Headers) -> Option<Forms> {
    let is_text = |value: &[u8]| value == TEXT || value == TEXT_PROTO;
    let kind = headers.first("content-type")?;
    let text_request = is_text(kind);
    (text_request || kind == WEB || kind == WEB_PROTO)
        .then(|| Forms { text_request, text_response: headers.first("accept").is_some_and(is_text) })
}

/// Makes the request's head that of a gRPC request.
pub(crate) fn on_request(headers: &mut Headers) {
    // The length of the text, or one that HTTP/2's frames need not keep to.
    headers.remove("content-length");
    headers.set("content-type", "application/grpc");
    headers.set("te", "trailers");
    if !headers.contains("grpc-accept-encoding") {
        headers.append("grpc-accept-encoding", "identity");
    }
}

/// Makes a response's head that of a gRPC-Web response, and tells whether its body, if there is one, is no gRPC and
/// has to become a message ([`explain`]).
pub(crate) fn on_response(forms: Forms, response: &mut Response) -> bool {
    let kind = response.headers.first("content-type").unwrap_or_default();
    let is_grpc = response.status == 200 && (is_type(kind, b"application/grpc") || is_web(kind));
    response.headers.remove("content-length");
    response.headers.set("content-type", if forms.text_response { TEXT_PROTO } else { WEB_PROTO });
    !is_grpc
}

/// Says in gRPC's own words what an answer with `body` means.
pub(crate) fn explain(response: &mut Response, body: &[u8]) {
    response.headers.set("grpc-message", crate::http::reply::percent_encoded(body));
    response.headers.set("grpc-status", crate::http::reply::grpc_code(response.status));
    response.headers.set("content-length", "0");
}

/// `application/grpc`, alone or with a subtype or parameters.
fn is_type(kind: &[u8], wanted: &[u8]) -> bool {
    kind.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest[0] == b'+' || rest[0] == b';')
}

/// gRPC-Web with protobuf, in binary form, parameters aside.
fn is_web(kind: &[u8]) -> bool {
    let bare = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    bare.eq_ignore_ascii_case(WEB) || bare.eq_ignore_ascii_case(WEB_PROTO)
}

/// Trailers as a frame: lines of `name:value`.
fn trailers_frame(trailers: &Headers) -> Bytes {
    let length = trailers.size(3);
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + length);
    frame.put_u8(TRAILERS);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for field in trailers.iter() {
        frame.extend_from_slice(field.name);
        frame.put_u8(b':');
        frame.extend_from_slice(field.value);
        frame.extend_from_slice(b"\r\n");
    }
    frame.freeze()
}

/// How a body is translated while it goes by.
#[derive(Debug)]
pub(crate) enum Translation {
    /// A request's base64 to bytes.
    FromText(FromText),
    /// A response's trailers into its body.
    Trailers,
    /// The same, and the body to base64.
    ToText(ToText),
}

impl Translation {
    /// That of a request, if it needs one.
    pub(crate) fn of_request(forms: Forms) -> Option<Self> {
        forms.text_request.then(|| Self::FromText(FromText::default()))
    }

    /// That of a response.
    pub(crate) fn of_response(forms: Forms) -> Self {
        if forms.text_response { Self::ToText(ToText::default()) } else { Self::Trailers }
    }

    /// A piece of the body; `None` when it is not what it should be. What comes out may be empty.
    pub(crate) fn data(&mut self, piece: Bytes) -> Option<Bytes> {
        match self {
            Self::FromText(decoder) => decoder.data(&piece),
            Self::Trailers => Some(piece),
            Self::ToText(encoder) => Some(encoder.data(&piece)),
        }
    }

    /// What trailers become; `None` where they stay trailers.
    pub(crate) fn trailers(&mut self, trailers: &Headers) -> Option<Bytes> {
        match self {
            Self::FromText(_) => None,
            Self::Trailers => Some(trailers_frame(trailers)),
            Self::ToText(encoder) => {
                let mut out = BytesMut::new();
                encoder.flush(&mut out);
                out.extend_from_slice(STANDARD.encode(trailers_frame(trailers)).as_bytes());
                Some(out.freeze())
            }
        }
    }

    /// What is left at the end of the body; `None` when something is missing.
    pub(crate) fn end(&mut self) -> Option<Bytes> {
        match self {
            Self::FromText(decoder) => decoder.rest.is_empty().then(Bytes::new),
            Self::Trailers => Some(Bytes::new()),
            Self::ToText(encoder) => {
                let mut out = BytesMut::new();
                encoder.flush(&mut out);
                Some(out.freeze())
            }
        }
    }

    /// Whether nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::FromText(decoder) => decoder.rest.is_empty(),
            Self::Trailers => true,
            Self::ToText(encoder) => encoder.carried == 0,
        }
    }
}

/// Base64 to bytes. Padding may stand wherever a sender has flushed, not only at the end.
#[derive(Debug, Default)]
pub(crate) struct FromText {
    /// Less than a group of four.
    rest: Vec<u8>,
}

impl FromText {
    fn data(&mut self, piece: &[u8]) -> Option<Bytes> {
        self.rest.extend_from_slice(piece);
        let whole = self.rest.len() / 4 * 4;
        let mut out = Vec::with_capacity(whole / 4 * 3);
        let mut groups = &self.rest[..whole];
        while !groups.is_empty() {
            // Up to the end of the group with the next padding.
            let padded = memchr::memchr(b'=', groups).map_or(whole, |at| at / 4 * 4 + 4);
            let (segment, others) = groups.split_at(padded.min(groups.len()));
            STANDARD.decode_vec(segment, &mut out).ok()?;
            groups = others;
        }
        self.rest.drain(..whole);
        Some(out.into())
    }
}

/// Bytes to base64, each gRPC frame by itself as Envoy does, without waiting for whole frames.
#[derive(Debug, Default)]
pub(crate) struct ToText {
    /// Bytes that are no group of three yet.
    carry: [u8; 2],
    carried: usize,
    /// The frame's first bytes, until its length is known.
    head: [u8; FRAME_HEAD],
    known: usize,
    /// Bytes of the frame that are still to come, once its length is known.
    left: usize,
}

impl ToText {
    fn data(&mut self, mut piece: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(piece.len() / 3 * 4 + 8);
        while !piece.is_empty() {
            let take = if self.known < FRAME_HEAD {
                let take = piece.len().min(FRAME_HEAD - self.known);
                self.head[self.known..self.known + take].copy_from_slice(&piece[..take]);
                self.known += take;
                if self.known == FRAME_HEAD {
                    let [_, a, b, c, d] = self.head;
                    self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                }
                take
            } else {
                let take = piece.len().min(self.left);
                self.left -= take;
                take
            };
            let (now, later) = piece.split_at(take);
            self.encode(now, &mut out);
            if self.known == FRAME_HEAD && self.left == 0 {
                self.flush(&mut out);
                self.known = 0;
            }
            piece = later;
        }
        out.freeze()
    }

    fn encode(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        if self.carried > 0 {
            let (first, others) = bytes.split_at(bytes.len().min(3 - self.carried));
            let group = [&self.carry[..self.carried], first].concat();
            bytes = others;
            if group.len() < 3 {
                return self.keep(&group);
            }
            out.extend_from_slice(STANDARD.encode(group).as_bytes());
        }
        let (whole, rest) = bytes.split_at(bytes.len() / 3 * 3);
        out.extend_from_slice(STANDARD.encode(whole).as_bytes());
        self.keep(rest);
    }

    fn keep(&mut self, rest: &[u8]) {
        self.carry[..rest.len()].copy_from_slice(rest);
        self.carried = rest.len();
    }

    fn flush(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(STANDARD.encode(&self.carry[..self.carried]).as_bytes());
        self.carried = 0;
    }
}

#[cfg(test)]
mod tests;
