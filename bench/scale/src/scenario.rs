//! The scenarios: what is there, what happens, and who can do it.

use crate::estate::Shape;
use crate::measure::failover::Policy;
use crate::measure::traffic::Changing;

/// Something that is measured, by name.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// As printed and chosen.
    pub(crate) name: &'static str,
    /// The same in words.
    pub(crate) about: &'static str,
    pub(crate) work: Work,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Start, memory, and the cost of a request or a handshake.
    Load(Shape),
    /// Hosts are added to so many, one by one.
    Probe(usize),
    /// Traffic among so many hosts while there are changes.
    Traffic(usize, Changing),
    /// Endpoints of so many services change a thousand times a second.
    Endpoints(usize),
    /// One of four endpoints goes away.
    Failover(Policy),
    /// Many routes come to an API server at once.
    Attached,
    /// They come one by one.
    ClusterProbe,
    /// There are many, and some change.
    ClusterScale,
}

impl Work {
    /// Whether it is about the gateway's own resources or commands, and a peer has nothing to compare.
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, Self::Load(_) | Self::Probe(_) | Self::Traffic(..))
    }
}

/// The one of this name, else those whose name contains it; without one all, or those that a quick run has time for.
pub(crate) fn matching(part: Option<&str>, quick: bool) -> Vec<&'static Scenario> {
    let Some(part) = part else {
        return SCENARIOS.iter().filter(|scenario| !quick || !LONG.contains(&scenario.name)).collect();
    };
    match SCENARIOS.iter().find(|scenario| scenario.name == part) {
        Some(scenario) => vec![scenario],
        None => SCENARIOS.iter().filter(|scenario| scenario.name.contains(part)).collect(),
    }
}

/// What a quick run leaves out: others show the same, or take less time for it.
const LONG: [&str; 5] = ["hosts-1000", "listeners-2500", "probe-10000", "traffic-10000", "failover-nothing"];

/// The names, for a message.
pub(crate) fn names() -> String {
    SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ")
}

const fn hosts(count: usize, members: usize) -> Work {
    Work::Load(Shape::Hosts { count, members })
}

/// All of them, as they stand in the table.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "hosts-1", about: "one host with one service", work: hosts(1, 1) },
    Scenario {
        name: "hosts-1000",
        about: "1,000 hosts, each with a service of its own",
        work: hosts(1_000, 1),
    },
    Scenario {
        name: "hosts-10000",
        about: "10,000 hosts, each with a service of its own",
        work: hosts(10_000, 1),
    },
    Scenario {
        name: "routes-10000",
        about: "one host with 10,000 routes by the beginning of the path",
        work: Work::Load(Shape::Routes(10_000)),
    },
    Scenario {
        name: "certs-10000",
        about: "10,000 hosts with TLS, each with a certificate of its own",
        work: Work::Load(Shape::Tls { count: 10_000, paths: 1, certificates: 10_000 }),
    },
    Scenario {
        name: "endpoints-50000",
        about: "10,000 hosts whose services have five endpoints each; requests go to some of them",
        work: hosts(10_000, 5),
    },
    Scenario {
        name: "listeners-2500",
        about: "2,500 hosts with TLS, a listener and 16 routes each, 50 certificates",
        work: Work::Load(Shape::Tls { count: 2_500, paths: 16, certificates: 50 }),
    },
    Scenario {
        name: "probe-1000",
        about: "hosts added to 1,000 one by one, 404 to 200",
        work: Work::Probe(1_000),
    },
    Scenario {
        name: "probe-10000",
        about: "hosts added to 10,000 one by one, 404 to 200",
        work: Work::Probe(10_000),
    },
    Scenario {
        name: "traffic-1000",
        about: "1,000 requests a second to 32 of 1,000 hosts while others are added",
        work: Work::Traffic(1_000, Changing::Others),
    },
    Scenario {
        name: "traffic-10000",
        about: "the same among 10,000 hosts",
        work: Work::Traffic(10_000, Changing::Others),
    },
    Scenario {
        name: "route-change",
        about: "1,000 requests a second to a route that changes",
        work: Work::Traffic(1, Changing::Itself),
    },
    Scenario {
        name: "endpoint-changes",
        about: "1,000 requests a second while 1,000 times a second an endpoint of 50,000 leaves or comes back",
        work: Work::Endpoints(10_000),
    },
    Scenario {
        name: "attached-routes",
        about: "VirtualServices created in an API server until the status of each says that it is served",
        work: Work::Attached,
    },
    Scenario {
        name: "probe-api",
        about: "VirtualServices created in an API server one by one, 404 to 200",
        work: Work::ClusterProbe,
    },
    Scenario {
        name: "route-scale",
        about: "VirtualServices with Services and EndpointSlices in an API server, ten changes a second among them",
        work: Work::ClusterScale,
    },
    Scenario {
        name: "failover-nothing",
        about: "one of four endpoints goes away for four seconds, without retries",
        work: Work::Failover(Policy::Nothing),
    },
    Scenario {
        name: "failover-retries",
        about: "the same with the default retries",
        work: Work::Failover(Policy::Retries),
    },
    Scenario {
        name: "failover-ejection",
        about: "the same without retries, with outlier detection",
        work: Work::Failover(Policy::Ejection),
    },
    Scenario {
        name: "failover-checks",
        about: "the same without retries, with active health checks",
        work: Work::Failover(Policy::Checks),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_can_be_chosen() {
        for scenario in SCENARIOS {
            let same = SCENARIOS.iter().filter(|other| other.name == scenario.name);
            assert_eq!(same.count(), 1, "{}", scenario.name);
        }
        assert_eq!(matching(Some("failover"), true).len(), 4);
        assert_eq!(matching(Some("hosts-1"), false).len(), 1);
        assert_eq!(matching(None, false).len(), SCENARIOS.len());
        assert_eq!(matching(None, true).len(), SCENARIOS.len() - LONG.len());
    }
}
