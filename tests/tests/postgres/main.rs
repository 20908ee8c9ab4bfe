//! PostgreSQL through the gateway: real servers and clients, and peers that break the protocol.
//!
//! Tests that need a server skip themselves, aloud, where none is installed.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

mod bulk;
mod cancel;
mod clients;
mod hostile;
mod modes;
mod rig;
mod termination;
