//! YAML from a user, compiled: never a panic, and the same result each time.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_compile::{Environment, Objects, compile};

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(Environment::for_tests);

fuzz_target!(|text: &str| {
    let objects: Objects = portcullis_api::load("fuzz.yaml", text).objects.into_iter().collect();
    let (once, again) = (compile(&objects, &ENVIRONMENT), compile(&objects, &ENVIRONMENT));
    assert!(once.diagnostics == again.diagnostics, "twice the same objects, two verdicts");
    let shown = portcullis_snapshot::text::snapshot;
    assert!(shown(&once.snapshot) == shown(&again.snapshot), "twice the same objects, two snapshots");
});
