//! The PostgreSQL protocol as far as a gateway speaks it: the first packet and the answers to it.

pub(crate) mod cancel;
pub mod messages;
pub mod preface;
pub(crate) mod session;
