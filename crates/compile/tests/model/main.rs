//! The compiler, the merge and the indexed look-ups beside a model that only walks lists.
//!
//! The model ([`meaning`]) is written from Istio's rules and shares no code with what it judges. Random
//! Gateways, VirtualServices and requests over small alphabets are put to both. A case is one configuration
//! with [`REQUESTS`] requests; a run has [`CONFIGURATIONS`] of them unless `PROPTEST_CASES` says otherwise.

mod config;
mod delegates;
mod generate;
mod meaning;
mod observed;
mod outcome;
mod rules;

use portcullis_compile::{Environment, Objects, compile};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use config::World;
use meaning::Model;
use outcome::Request;

/// Configurations in a run.
const CONFIGURATIONS: u32 = 2_000;
/// Requests to each of them.
const REQUESTS: usize = 60;

fn settings() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config {
        cases: cases.unwrap_or(CONFIGURATIONS),
        failure_persistence: None,
        max_shrink_iters: 50_000,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(settings())]
    #[test]
    fn requests_meet_the_fate_that_the_rules_say(
        world in generate::world(),
        requests in vec(generate::request(), REQUESTS).prop_map(Requests),
    ) {
        agree(&world, &requests.0)?;
    }
}

/// Requests without a word: a failing case names the one that matters.
struct Requests(Vec<Request>);

impl std::fmt::Debug for Requests {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} requests", self.0.len())
    }
}

fn agree(world: &World, requests: &[Request]) -> Result<(), TestCaseError> {
    let yaml = world.yaml();
    let loaded = portcullis_api::load("objects.yaml", &yaml);
    let broken: Vec<_> = loaded
        .findings
        .iter()
        .filter(|finding| finding.severity == portcullis_compile::Severity::Error)
        .collect();
    prop_assert!(broken.is_empty(), "{broken:?}\n{yaml}");
    let mut environment = Environment::for_tests();
    environment.ports = None;
    let compiled = compile(&Objects::from_iter(loaded.objects), &environment);
    let model = Model::new(world);
    for request in requests {
        let found = observed::outcome(&compiled.snapshot, request);
        prop_assert_eq!(model.outcome(request), found, "{:?}", request);
    }
    Ok(())
}
