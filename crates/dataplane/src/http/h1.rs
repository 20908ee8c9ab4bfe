//! HTTP/1.1 on the wire, written for a gateway: strict where two parsers could disagree, and
//! without a copy, a task or an allocation that a request does not need.

pub(crate) mod accept;
mod alarm;
pub(crate) mod body;
pub(crate) mod encode;
pub(crate) mod head;
pub(crate) mod io;
pub(crate) mod lenient;
pub(crate) mod server;
