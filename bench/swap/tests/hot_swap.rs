//! The bench in little, on every run of the tests.

use std::time::Duration;

use portcullis_bench_swap::{Plan, run};

#[test]
fn nothing_is_lost_while_everything_changes_a_hundred_times_a_second() {
    let plan = Plan {
        still: Duration::from_millis(500),
        swapping: Duration::from_secs(2),
        rate: Plan::RATE,
        workers: 2,
    };
    let report = run(&plan).expect("the stage is set");
    let violations = report.violations();
    assert!(violations.is_empty(), "{report}\n{violations:#?}");
}
