//! What stays known of an upstream connection while exchanges come and go on it.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::connection::{TlsSession, next_number};
use crate::http::h2::frames::BothWays;
use crate::stream::Stream;
use crate::upstream::connect::{Connected, Opened};

/// Facts of an upstream connection, collected once when it is opened.
pub(crate) struct Link {
    /// Own address.
    pub(crate) local: Option<SocketAddr>,
    /// Its number among the connections of this process.
    pub(crate) number: u64,
    pub(crate) tls: Option<TlsSession>,
    /// When it was opened.
    pub(crate) opened: Option<Opened>,
    /// Bytes of its streams, if they are counted (HTTP/2).
    pub(crate) counts: Option<Rc<BothWays>>,
}

impl Link {
    /// The stream of a new connection, and what is known of it.
    pub(super) fn of(connected: Connected, counts: Option<Rc<BothWays>>) -> (Stream, Rc<Self>) {
        let Connected { stream, tls, opened, .. } = connected;
        let link = Self { local: stream.local_address(), number: next_number(), tls, opened, counts };
        (stream, Rc::new(link))
    }
}
