//! Support for the micro-benchmarks.
