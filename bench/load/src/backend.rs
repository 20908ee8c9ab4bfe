//! What stands behind every subject: as cheap as it gets, so that the subject is the dearest part of the work.

mod grpc;
mod http;
mod opaque;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

pub(crate) use http::{WEBSOCKET_IN, WEBSOCKET_OUT};
pub(crate) use opaque::ask as ask_opaque;

/// Running backends; they end with the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backends {
    /// HTTP/1.1: answers, uploads, WebSockets.
    pub(crate) http: SocketAddr,
    /// gRPC over HTTP/2 in clear.
    pub(crate) grpc: SocketAddr,
    /// TLS as far as a proxy can see.
    pub(crate) opaque: SocketAddr,
}

impl Backends {
    /// Starts them on free ports.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            http: http::start().context("the backend for HTTP")?,
            grpc: grpc::start().context("the backend for gRPC")?,
            opaque: opaque::start().context("the backend for TLS")?,
        })
    }
}
