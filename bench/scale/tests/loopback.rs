//! The bench in little, on every run of the tests: this tree's gateway with one host, and with a change of it under traffic,
//! so that neither its dialect nor its clients rot.

use std::thread::available_parallelism;
use std::time::Duration;

use portcullis_bench_scale::{Extent, Figure, Plan, run};
use portcullis_tests::gateway::binary;
use portcullis_tests::process::skipped;

const EXTENT: Extent = Extent {
    settled: Duration::from_millis(100),
    samples: 1,
    requests: 50,
    additions: (3, 3),
    adding: Duration::from_secs(5),
    phase: Duration::from_millis(200),
    routes: 1,
    outages: 1,
};

#[test]
fn the_gateway_is_measured_and_the_results_are_written() {
    if available_parallelism().map_or(1, usize::from) < 2 {
        return skipped("two cores are needed, one for the gateway and one for the load");
    }
    let choice = format!("portcullis={}", binary().display()).parse().expect("a subject");
    let folder = tempfile::tempdir().expect("a folder");
    let mut plan = Plan {
        choices: vec![choice],
        only: None,
        rounds: 1,
        extent: EXTENT,
        quick: true,
        built: String::new(),
    };
    for (scenario, figure) in [("hosts-1", Figure::CpuUs), ("route-change", Figure::MedianMs)] {
        plan.only = Some(scenario.to_owned());
        let report = run(&plan).expect("the stage is set");
        assert_eq!(report.failures(), [""; 0], "{scenario}");
        assert!(report.median(scenario, "portcullis", figure).is_some_and(|found| found > 0.0));
        report.write(folder.path()).expect("results are written");
        assert!(folder.path().join(format!("bench/results/scale-{scenario}.json")).is_file());
    }
}
