//! The parts of `demo`: an authority, backends that echo, a PostgreSQL server where one is installed, and the
//! configuration that joins them. Everything lives in one temporary folder and ends with its value.

pub(crate) mod configuration;
pub(crate) mod echo;
pub(crate) mod guide;
pub(crate) mod pki;
pub(crate) mod postgres;
mod websocket;
