//! Builders shared by the end-to-end tests.

pub mod cluster;
pub mod frames;
pub mod gateway;
pub mod helm;
pub mod http;
pub mod netns;
pub mod objects;
pub mod pki;
pub mod postgres;
pub mod process;
pub mod python;
pub mod raw;
pub mod samples;
pub mod upstream;
pub mod yaml;
