//! Upstreams of one worker: balancing, pools, connections.

pub(crate) mod connect;
pub(crate) mod health;
pub(crate) mod introduce;
mod keepalive;
pub(crate) mod link;
pub(crate) mod pool;
mod race;
pub(crate) mod registry;
