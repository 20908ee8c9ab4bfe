//! What stays known of an upstream connection while exchanges come and go on it.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::connection::{TlsSession, next_number};
use crate::stream::Stream;
use crate::upstream::connect::Connected;

/// Facts of an upstream connection, collected once when it is opened.
pub(crate) struct Link {
    /// Own address.
    pub(crate) local: Option<SocketAddr>,
    /// Its number among the connections of this process.
    pub(crate) number: u64,
    pub(crate) tls: Option<TlsSession>,
}

impl Link {
    /// The stream of a new connection, and what is known of it.
    pub(super) fn of(connected: Connected) -> (Stream, Rc<Self>) {
        let Connected { stream, tls, .. } = connected;
        let link = Self { local: stream.local_address(), number: next_number(), tls };
        (stream, Rc::new(link))
    }
}
