//! Runs test programs, reads what they say, and looks at each failure once more.
//!
//! Tests talk to real clients and servers under real timeouts, and a machine that is busy can spoil one. A test that
//! fails is run again by itself. It counts by how it ends then, but a test that held only the second time is named
//! loudly, for it is one to mend.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{loud, run_lines, step};
use crate::tally::Tally;

/// More failures than these are no accident, and are not looked at again.
const MAX_AGAIN: usize = 5;
/// Lines of a failed test's output that are repeated at the end.
const SHOWN_LINES: usize = 20;

/// What one run of test programs said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    tally: Tally,
    /// Names of the tests that failed, each with what it printed.
    failures: Vec<(String, Vec<String>)>,
    /// The failure whose output is being read.
    open: Option<usize>,
}

impl Outcome {
    /// Takes in the next line of the output.
    fn read(&mut self, line: &str) {
        if let Some(counted) = Tally::of_libtest(line) {
            self.tally += counted;
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push((name.to_owned(), Vec::new()));
        } else if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.open = self.failures.iter().rposition(|(failed, _)| failed == name);
        } else if line == "failures:" {
            self.open = None;
        } else if let Some((_, said)) = self.open.and_then(|open| self.failures.get_mut(open)) {
            said.push(line.to_owned());
        }
    }
}

/// Runs the tests of `command`, which is given the further arguments for the test programs, and counts them.
pub(crate) fn run(command: impl Fn(&[&str]) -> Command, arguments: &[&str]) -> Result<Tally> {
    let first = outcome(&mut command(arguments))?;
    let mut tally = first.tally;
    let names: Vec<&str> = first.failures.iter().map(|(name, _)| name.as_str()).collect();
    let mut failed = &first;
    let second;
    if (1..=MAX_AGAIN).contains(&names.len()) {
        step(&format!("{} of them again, one after the other", names.len()));
        let alone: Vec<&str> = ["--exact", "--test-threads=1"].into_iter().chain(names).collect();
        second = outcome(&mut command(&alone))?;
        for (name, _) in &first.failures {
            if !second.failures.iter().any(|(again, _)| again == name) {
                loud(&format!("unsteady: {name} failed at first and held by itself"));
                tally.failed = tally.failed.saturating_sub(1);
                tally.passed += 1;
            }
        }
        failed = &second;
    }
    for (name, said) in &failed.failures {
        let said = said.get(..SHOWN_LINES).unwrap_or(said).join("\n");
        loud(&format!("failed: {name}\n{said}"));
    }
    Ok(tally)
}

fn outcome(command: &mut Command) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let status = run_lines(command, |line| outcome.read(line))?;
    if !status.success() && outcome.tally.failed == 0 {
        bail!("the tests ended with {status} before they could count a failure");
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SAID: &str = "
running 2 tests
test a::holds ... ok
test a::breaks ... FAILED

failures:

---- a::breaks stdout ----

thread 'a::breaks' panicked at src/a.rs:1:1:
left is not right

failures:
    a::breaks

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
";

    #[test]
    fn failures_are_read_with_what_they_said() {
        let mut outcome = Outcome::default();
        SAID.lines().for_each(|line| outcome.read(line));
        assert_eq!(outcome.tally, Tally { passed: 1, failed: 1, skipped: 0 });
        let [(name, said)] = outcome.failures.as_slice() else { panic!("one test failed: {outcome:?}") };
        assert_eq!(name, "a::breaks");
        assert!(said.iter().any(|line| line == "left is not right"), "{said:?}");
    }

    #[test]
    fn a_test_that_holds_the_second_time_is_no_failure() {
        let file = std::env::temp_dir().join(format!("xtask-libtest-{}", std::process::id()));
        fs::write(&file, SAID).unwrap();
        let shell = |script: String| {
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            command
        };
        let first = format!("cat {}; exit 1", file.display());
        let held = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored'".to_owned();
        let again = |arguments: &[&str]| arguments.contains(&"--exact") && arguments.contains(&"a::breaks");
        let unsteady =
            run(|arguments| shell(if again(arguments) { held.clone() } else { first.clone() }), &[]);
        let broken = run(|_| shell(first.clone()), &[]);
        fs::remove_file(&file).unwrap();
        assert_eq!(unsteady.unwrap(), Tally { passed: 2, failed: 0, skipped: 0 });
        assert_eq!(broken.unwrap(), Tally { passed: 1, failed: 1, skipped: 0 });
    }

    #[test]
    fn tests_that_could_not_count_are_an_error() {
        let command = |_: &[&str]| {
            let mut command = Command::new("sh");
            command.args(["-c", "exit 101"]);
            command
        };
        assert!(run(command, &[]).is_err());
    }
}
