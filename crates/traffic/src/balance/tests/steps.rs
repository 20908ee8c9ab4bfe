//! Swaps, failures, waiting and picks in any order.

use proptest::prelude::*;

use super::*;

fn balancer() -> impl Strategy<Value = Balancer> {
    prop_oneof![
        Just(Balancer::LeastRequest),
        Just(Balancer::RoundRobin),
        Just(Balancer::Random),
        (0_u64..100).prop_map(|minimum_size| Balancer::RingHash { minimum_size }),
        prop_oneof![Just(2_u64), Just(7), Just(8), Just(101)]
            .prop_map(|table_size| Balancer::Maglev { table_size }),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Swap(Vec<(u32, bool)>),
    Fail(u8),
    Wait(u64),
    Pick(Option<u64>),
}

fn members() -> impl Strategy<Value = Vec<(u32, bool)>> {
    proptest::collection::vec((1_u32..5, proptest::bool::weighted(0.8)), 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => members().prop_map(Step::Swap),
        3 => (0_u8..6).prop_map(Step::Fail),
        1 => (0_u64..40).prop_map(Step::Wait),
        6 => proptest::option::of(any::<u64>()).prop_map(Step::Pick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn never_an_unhealthy_or_ejected_pick(
        balancer in balancer(),
        first in members(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let build = |members: &[(u32, bool)]| {
            let endpoints = (0..).zip(members).map(|(number, &(weight, healthy))| endpoint(number, weight, healthy));
            Arc::new(detecting(balancer, endpoints.collect(), rules()))
        };
        let mut worker = Worker::beside(&build(&first), &Registry::default(), Instant::now());
        let mut tried = avoiding();
        // Whether the last change of health may still be held back.
        let mut in_doubt = false;
        for step in steps {
            match step {
                Step::Swap(members) => worker.state.update(&build(&members), worker.now),
                Step::Fail(number) => {
                    in_doubt = true;
                    let endpoints = worker.state.endpoints();
                    if let Some(state) = endpoints.get(usize::from(number)) {
                        worker.state.observe(state, Observation::Failed, worker.now);
                    }
                }
                Step::Wait(seconds) => {
                    // Two picks with a window between them show everything.
                    worker.pick_with(None, &tried).ok();
                    worker.now += Duration::from_secs(seconds) + MERGED;
                    worker.pick_with(None, &tried).ok();
                    worker.now += MERGED;
                    in_doubt = false;
                }
                Step::Pick(hash) => {
                    let picked = worker.pick_with(hash, &tried);
                    let fit = |state: &&Rc<EndpointState>| state.endpoint().healthy && (in_doubt || !state.is_ejected());
                    let endpoints = worker.state.endpoints();
                    match picked {
                        Ok(state) => {
                            prop_assert!(fit(&&state));
                            prop_assert!(endpoints.iter().any(|known| Rc::ptr_eq(known, &state)));
                            tried.push(&state);
                        }
                        Err(NoEndpoint::Empty) => prop_assert!(endpoints.is_empty()),
                        Err(NoEndpoint::Unhealthy) => prop_assert!(!endpoints.is_empty() && (in_doubt || !endpoints.iter().any(|state| fit(&state)))),
                    }
                }
            }
        }
    }
}
