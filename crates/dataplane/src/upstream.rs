//! Upstreams of one worker: balancing, pools, connections.

pub(crate) mod connect;
pub(crate) mod pool;
pub(crate) mod registry;
