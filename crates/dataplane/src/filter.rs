//! What is done to requests and responses on their way: one file an effect, called by the pipeline.

pub(crate) mod alias;
pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod fault;
pub(crate) mod format;
pub(crate) mod forwarded;
pub(crate) mod grpc_web;
pub(crate) mod headers;
pub(crate) mod redirect;
