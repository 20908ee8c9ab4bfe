//! Sources, store, settle, compile, publish: how configuration becomes the snapshot that workers serve from.
//!
//! A [`Controller`] follows files and folders ([`mod@file`]), keeps the objects they hold ([`store`]), gathers bursts
//! of changes ([`settle`]), compiles, and publishes through the one
//! [`Publisher`](portcullis_snapshot::cell::Publisher). What it has to say stands in a [`Report`]. Names that
//! clusters need are resolved beside it ([`resolve`]), and in large configurations findings are looked for beside it,
//! after what they are about is served. A Kubernetes cluster is followed by watches ([`kubernetes`]), reported to by one
//! of the replicas, and kept on disk for a start without it ([`cache`]). All of this runs on threads of its own, which no request
//! ever waits for.

pub mod cache;
pub mod certificates;
mod cluster;
mod controller;
pub mod file;
mod judge;
pub mod kubernetes;
mod lease;
pub mod live;
pub mod notice;
pub mod once;
mod priority;
mod readers;
pub mod referenced;
mod report;
pub mod resolve;
mod said;
pub mod settle;
pub mod status;
pub mod store;

pub use controller::{Config, Controller, OnReport};
pub use notice::Notice;
pub use settle::SettleTimes;
pub use status::{Report, Status};
