//! The bench in little, on every run of the tests: this tree's gateway under each kind of work that needs no program
//! beside it, so that neither its load nor its backends rot.

use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use portcullis_bench_load::{Choice, Metric, Places, Plan, run};
use portcullis_tests::gateway::binary;
use portcullis_tests::process::skipped;

/// Workloads, and what is measured of them.
const WORKLOADS: [(&str, Metric); 5] = [
    ("websocket", Metric::CpuUs),
    ("tls-resumed", Metric::CpuUs),
    ("passthrough-small", Metric::CpuUs),
    ("latency", Metric::P99Us),
    ("idle-tls", Metric::MemoryKib),
];

#[test]
fn the_gateway_is_measured_and_the_results_are_written() {
    if available_parallelism().map_or(1, usize::from) < 2 {
        return skipped("two cores are needed, one for the gateway and one for the load");
    }
    let choice: Choice = format!("portcullis={}", binary().display()).parse().expect("a subject");
    let folder = tempfile::tempdir().expect("a folder");
    for (workload, metric) in WORKLOADS {
        let report = run(&plan(&choice, workload)).expect("the stage is set");
        assert_eq!(report.failures(), [""; 0], "{workload}");
        let measured = report.median(workload, "portcullis", metric);
        assert!(measured.is_some_and(|measured| measured > 0.0), "{workload}: {measured:?}");
        report.write(&Places::of(folder.path()), true).expect("results are written");
        assert!(holds(folder.path(), &format!("bench/results/{workload}.json")));
    }
}

fn plan(choice: &Choice, workload: &str) -> Plan {
    Plan {
        choices: vec![choice.clone()],
        only: Some(workload.to_owned()),
        rounds: 1,
        time: Duration::from_millis(50),
        connections: 50,
        quick: true,
        built: String::new(),
    }
}

fn holds(folder: &Path, file: &str) -> bool {
    folder.join(file).is_file()
}
