//! What the gateway learns about its upstreams, as pure machines.
//!
//! `now` and `dice` are arguments everywhere, so any run can be replayed.
//!
//! Two kinds of knowledge live apart:
//!
//! - A [`balance::ClusterState`] belongs to one worker: active requests, round-robin position and
//!   hash rings are its own, as in Envoy, whose workers balance independently of each other.
//! - A [`shared::SharedCluster`] belongs to the process: circuit breakers and ejections mean the
//!   whole gateway, so workers see one count and one verdict.
//!
//! Both are keyed by the cluster's name and survive a new snapshot.

pub mod backoff;
pub mod balance;
pub mod breaker;
pub mod hash;
pub mod health;
pub mod outlier;
pub mod retry;
pub mod shared;

pub use balance::{ActiveRequest, ClusterState, EndpointState, NoEndpoint, Pick, Tried};
pub use breaker::{Breaker, Permit, Resource};
pub use outlier::Observation;
pub use retry::{Decision, Outcome};
pub use shared::{Registry, SharedCluster};
