//! YAML or JSON from a user: objects and findings, the same each time, and never too many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_api::load::{MAX_FINDINGS, load};

fuzz_target!(|text: &str| {
    let loaded = load("fuzz.yaml", text);
    // The last finding may say that there were more.
    assert!(loaded.findings.len() <= MAX_FINDINGS + 1, "{} findings", loaded.findings.len());
    assert!(loaded == load("fuzz.yaml", text), "twice the same text, two meanings");
});
