//! What was done, how long it took, and what should not have happened.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::configuration::CERTIFICATES;
use crate::histogram::Histogram;
use crate::tally::{Counts, Kind};

/// The most that resident memory may grow from the first quarter to the last, in bytes. Pools of the allocator
/// and of the clients in the same process breathe by some megabytes.
pub(crate) const MAX_GROWTH: u64 = 8 << 20;

/// The most snapshots that anyone may hold after the swaps: the newest, those that streams and sessions began
/// under (each keeps the one that chose its way), and one a worker.
pub(crate) const MAX_SNAPSHOTS: usize = 24;

/// What a run found.
#[derive(Debug)]
pub struct Report {
    pub(crate) workers: usize,
    pub(crate) swaps: u64,
    pub(crate) took: Duration,
    pub(crate) kinds: Vec<(Kind, Counts)>,
    pub(crate) compile: Histogram,
    pub(crate) applied: Histogram,
    /// Listening sockets of the ports that stay, and whether they were the same before and after.
    pub(crate) sockets: usize,
    pub(crate) same_sockets: bool,
    pub(crate) expected_sockets: usize,
    /// Resident bytes before the swaps, and after each of several equal parts of them.
    pub(crate) memory: Vec<u64>,
    pub(crate) snapshots_alive: usize,
    pub(crate) log_lines: u64,
    pub(crate) flags: BTreeMap<String, u64>,
    /// Whether every connection had ended when the gateway was stopped.
    pub(crate) ended: bool,
    pub(crate) postgres: bool,
}

impl Report {
    /// What should not have happened; empty when all is well.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut found: Vec<String> =
            self.kinds.iter().flat_map(|(kind, counts)| self.of_kind(*kind, counts)).collect();
        let mut unless = |holds: bool, words: String| {
            if !holds {
                found.push(words);
            }
        };
        let flags: Vec<_> = self.flags.iter().filter(|(flags, _)| blames_gateway(flags)).collect();
        unless(flags.is_empty(), format!("lines of the access log with flags of failure: {flags:?}"));
        unless(self.same_sockets, "a port that stays was bound again".to_owned());
        let expected = self.expected_sockets;
        unless(self.sockets == expected, format!("{} listening sockets instead of {expected}", self.sockets));
        let grown = self.growth();
        unless(grown <= MAX_GROWTH, format!("resident memory grew by {}", Mebibytes(grown)));
        let alive = self.snapshots_alive;
        unless(
            alive <= MAX_SNAPSHOTS,
            format!("{alive} snapshots are still held, more than {MAX_SNAPSHOTS}"),
        );
        unless(self.ended, "connections were left when all clients had gone".to_owned());
        found
    }

    fn growth(&self) -> u64 {
        let settled = self.memory.get(1).copied().unwrap_or_default();
        self.memory.last().map_or(0, |end| end.saturating_sub(settled))
    }

    fn of_kind(&self, kind: Kind, counts: &Counts) -> Vec<String> {
        let mut found = Vec::new();
        let first = counts.first.as_deref().unwrap_or_default();
        let troubles = [
            ("failed", counts.failed),
            ("closed connections", counts.closed),
            ("mixed generations", counts.mixed),
        ];
        for (what, count) in troubles.into_iter().filter(|(_, count)| *count > 0) {
            found.push(format!("{kind}: {count} {what}; the first trouble: {first}"));
        }
        let needs_postgres = matches!(kind, Kind::Psql | Kind::PsqlSession);
        if counts.answers == 0 && (self.postgres || !needs_postgres) {
            found.push(format!("{kind}: no answer at all"));
        }
        let certificates = counts.certificates.len();
        if kind == Kind::NewTls && certificates != CERTIFICATES {
            found.push(format!("{kind}: {certificates} certificates were shown instead of {CERTIFICATES}"));
        }
        found
    }
}

/// Flags by which the gateway says that the upstream side or itself failed a client. Clients that hang up and
/// connections without a route at the closing port are no failures.
fn blames_gateway(flags: &str) -> bool {
    flags.split(',').any(|flag| flag.starts_with('U') || matches!(flag, "NR" | "NC" | "DT" | "LH"))
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.swaps as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE);
        writeln!(
            out,
            "{} swaps of routes, certificate, endpoints and a port in {:.1} s ({rate:.0}/s), {} workers",
            self.swaps,
            self.took.as_secs_f64(),
            self.workers
        )?;
        if !self.postgres {
            writeln!(out, "SKIPPED: PostgreSQL, of which no server is installed")?;
        }
        writeln!(
            out,
            "\n{:<27} {:>9} {:>7} {:>7} {:>6}  {:>19}  {:>19}",
            "", "answers", "failed", "closed", "mixed", "still p50/p99 ms", "swapping p50/p99 ms"
        )?;
        for (kind, counts) in &self.kinds {
            writeln!(
                out,
                "{kind:<27} {:>9} {:>7} {:>7} {:>6}  {:>19}  {:>19}",
                counts.answers,
                counts.failed,
                counts.closed,
                counts.mixed,
                quantiles(&counts.still),
                quantiles(&counts.swapping)
            )?;
        }
        self.rest(out)
    }
}

impl Report {
    fn rest(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = |name: &str, times: &Histogram| {
            format!("{name:<36} p50/p99 {} ms, longest {} ms", quantiles(times), millis(times.longest()))
        };
        writeln!(out, "\n{}", step("objects to snapshot", &self.compile))?;
        writeln!(out, "{}", step("published to served by every worker", &self.applied))?;
        let sum = |of: fn(&Counts) -> u64| self.kinds.iter().map(|(_, counts)| of(counts)).sum::<u64>();
        let (away, late) = (sum(|counts| counts.turned_away), sum(|counts| counts.too_late));
        writeln!(out, "{:<36} {away}, {late} more in its last moment (no failures)", "met the port closed")?;
        let certificates = self.kinds.iter().map(|(_, counts)| counts.certificates.len()).max().unwrap_or(0);
        writeln!(out, "{:<36} {certificates} of {CERTIFICATES}", "certificates shown")?;
        let same =
            if self.same_sockets { "the same before and after" } else { "NOT the same before and after" };
        writeln!(out, "{:<36} {}, {same}", "listening sockets of ports that stay", self.sockets)?;
        let memory: Vec<_> = self.memory.iter().map(|&bytes| Mebibytes(bytes).to_string()).collect();
        writeln!(
            out,
            "{:<36} {} (bound: {} from the second on)",
            "resident memory, clients included",
            memory.join(", "),
            Mebibytes(MAX_GROWTH)
        )?;
        writeln!(
            out,
            "{:<36} {} (bound: {MAX_SNAPSHOTS})",
            "snapshots and listeners still held", self.snapshots_alive
        )?;
        writeln!(out, "{:<36} {}, with flags {:?}", "lines of the access log", self.log_lines, self.flags)
    }
}

fn quantiles(times: &Histogram) -> String {
    if times.count() == 0 {
        return "-".to_owned();
    }
    format!("{}/{}", millis(times.quantile(0.5)), millis(times.quantile(0.99)))
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

struct Mebibytes(u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.1} MiB", self.0 as f64 / f64::from(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks one promise.
    type Break = fn(&mut Report);

    fn good() -> Report {
        let answered = |kind: &Kind| {
            let certificates = (0..CERTIFICATES).map(|number| vec![number as u8]).collect();
            (*kind, Counts { answers: 1, certificates, ..Counts::default() })
        };
        Report {
            workers: 1,
            swaps: 1,
            took: Duration::from_secs(1),
            kinds: Kind::ALL.iter().map(answered).collect(),
            compile: Histogram::default(),
            applied: Histogram::default(),
            sockets: 3,
            same_sockets: true,
            expected_sockets: 3,
            memory: vec![1 << 20, 30 << 20, 31 << 20],
            snapshots_alive: 1,
            log_lines: 1,
            flags: BTreeMap::from([("DC".to_owned(), 3)]),
            ended: true,
            postgres: true,
        }
    }

    #[test]
    fn a_good_run_violates_nothing() {
        assert_eq!(good().violations(), [""; 0]);
    }

    #[test]
    fn each_promise_is_looked_at() {
        let broken: [(&str, Break); 10] = [
            ("1 failed", |report| report.kinds[0].1.failed = 1),
            ("1 closed connections", |report| report.kinds[9].1.closed = 1),
            ("1 mixed generations", |report| report.kinds[2].1.mixed = 1),
            ("no answer at all", |report| report.kinds[14].1.answers = 0),
            ("certificates were shown", |report| report.kinds[5].1.certificates.clear()),
            ("was bound again", |report| report.same_sockets = false),
            ("listening sockets", |report| report.sockets = 2),
            ("memory grew", |report| report.memory.push(64 << 20)),
            ("are still held", |report| report.snapshots_alive = MAX_SNAPSHOTS + 1),
            ("flags of failure", |report| report.flags.extend([("UF,URX".to_owned(), 1)])),
        ];
        for (expected, break_it) in broken {
            let mut report = good();
            break_it(&mut report);
            let violations = report.violations();
            assert!(violations.len() == 1 && violations[0].contains(expected), "{expected}: {violations:?}");
        }
    }
}
