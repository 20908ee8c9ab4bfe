//! What is measured of large configurations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Something that is measured, in the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Start of the process to the first answer of the last host, in milliseconds.
    ReadyMs,
    /// Memory a moment later, in MiB.
    MemoryMib,
    /// Memory when every host was asked, in MiB.
    UsedMib,
    /// CPU time of a request that is answered by a backend, in microseconds.
    CpuUs,
    /// The same of the same subject with one host, measured in turn with it.
    OneCpuUs,
    /// CPU time of a request that the subject answers itself.
    OwnCpuUs,
    /// The same with one host.
    OneOwnCpuUs,
    /// CPU time of a new TLS connection with one request.
    HandshakeUs,
    /// The same with one host.
    OneHandshakeUs,
    /// How many changes were made.
    Changes,
    /// How many a second.
    ChangesPerSecond,
    /// From a change to the first answer that shows it, in milliseconds: half of them took at most this.
    MedianMs,
    /// The same for 99 of 100.
    P99Ms,
    /// The longest.
    LongestMs,
    /// Requests beside the changes.
    Requests,
    /// Those that were not answered with 200.
    Failed,
    /// Those that were sent once more since their kept connection had been closed.
    Resent,
    /// Latency that 99 of 100 requests had at most while nothing changed, in microseconds.
    QuietP99Us,
    /// The same while changes went on.
    ChangingP99Us,
    /// From the last change to its effect, when there were many before it, in milliseconds.
    LagMs,
    /// Per cent of a core while changes went on.
    CpuPercent,
    /// The last route created to the last status that says that it is served, in milliseconds.
    SetupMs,
    /// The last route deleted to its last answer, in milliseconds.
    TeardownMs,
    /// Writes to the API.
    Writes,
    /// Since a change was accepted by the API server, half of them, in milliseconds.
    AcceptedMedianMs,
    /// The same for 99 of 100.
    AcceptedP99Ms,
    /// Per cent of requests that failed while an endpoint was down.
    DownFailedPercent,
    /// From the moment that an endpoint was back to its first request, in milliseconds.
    ReturnedMs,
}

impl Figure {
    /// Over its column.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::ReadyMs => "ready ms",
            Self::MemoryMib => "MiB at start",
            Self::UsedMib => "MiB after all were asked",
            Self::CpuUs => "CPU µs a request",
            Self::OneCpuUs => "with one",
            Self::OwnCpuUs => "CPU µs answered itself",
            Self::OneOwnCpuUs => "itself with one",
            Self::HandshakeUs => "CPU µs a handshake",
            Self::OneHandshakeUs => "handshake with one",
            Self::Changes => "changes",
            Self::ChangesPerSecond => "changes a second",
            Self::MedianMs => "median ms",
            Self::P99Ms => "p99 ms",
            Self::LongestMs => "longest ms",
            Self::Requests => "requests",
            Self::Failed => "failed",
            Self::Resent => "sent again",
            Self::QuietP99Us => "p99 µs quiet",
            Self::ChangingP99Us => "p99 µs changing",
            Self::LagMs => "last change after ms",
            Self::CpuPercent => "CPU of a core",
            Self::SetupMs => "set up ms",
            Self::TeardownMs => "torn down ms",
            Self::Writes => "writes",
            Self::AcceptedMedianMs => "median ms since accepted",
            Self::AcceptedP99Ms => "p99 ms since accepted",
            Self::DownFailedPercent => "failed while down",
            Self::ReturnedMs => "in use again after ms",
        }
    }

    /// What it is compared with, when it is that of many hosts.
    pub(crate) fn of_one(self) -> Option<Self> {
        match self {
            Self::CpuUs => Some(Self::OneCpuUs),
            Self::OwnCpuUs => Some(Self::OneOwnCpuUs),
            Self::HandshakeUs => Some(Self::OneHandshakeUs),
            _ => None,
        }
    }

    /// Whether it is only shown within the figure that is compared with it.
    pub(crate) fn is_of_one(self) -> bool {
        matches!(self, Self::OneCpuUs | Self::OneOwnCpuUs | Self::OneHandshakeUs)
    }

    /// As a person reads it.
    pub(crate) fn number(self, value: f64) -> String {
        match self {
            Self::CpuPercent | Self::DownFailedPercent => format!("{value:.1} %"),
            Self::Changes | Self::Requests | Self::Failed | Self::Resent | Self::Writes => {
                format!("{value:.0}")
            }
            _ if value >= 100.0 => format!("{value:.0}"),
            _ if value >= 10.0 => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        }
    }
}

/// Figures with all their values.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures(pub(crate) BTreeMap<Figure, Vec<f64>>);

impl Figures {
    /// Adds a value.
    pub(crate) fn add(&mut self, figure: Figure, value: f64) {
        self.0.entry(figure).or_default().push(value);
    }

    /// Adds a duration in milliseconds.
    pub(crate) fn add_ms(&mut self, figure: Figure, value: Duration) {
        self.add(figure, value.as_secs_f64() * 1e3);
    }

    /// Adds all of others.
    pub(crate) fn extend(&mut self, others: Self) {
        for (figure, values) in others.0 {
            self.0.entry(figure).or_default().extend(values);
        }
    }
}

/// What so many of 1,000 took at most; they are sorted meanwhile.
pub(crate) fn quantile(times: &mut [Duration], of_thousand: usize) -> Duration {
    times.sort_unstable();
    let rank = (times.len() * of_thousand).div_ceil(1_000);
    times.get(rank.clamp(1, times.len().max(1)) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&mut times, 500), Duration::from_millis(100));
        assert_eq!(quantile(&mut times, 990), Duration::from_millis(198));
        assert_eq!(quantile(&mut times, 1_000), Duration::from_millis(200));
        assert_eq!(quantile(&mut [], 500), Duration::ZERO);
    }
}
