//! What every subject serves: hosts, their routes, services and certificates, before anybody's dialect.

use std::net::SocketAddr;

use portcullis_bench_load::machine::cores::open_files;

use crate::certificates::Certificates;

/// How large a configuration is, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// So many hosts, each with a route to a service of its own.
    Hosts {
        /// Hosts.
        count: usize,
        /// Endpoints of each service.
        members: usize,
    },
    /// One host with so many routes to one service.
    Routes(usize),
    /// So many hosts with TLS, all with one service.
    Tls {
        /// Hosts, each with a listener of its own where a subject has such.
        count: usize,
        /// Routes of each.
        paths: usize,
        /// Certificates, each for as many hosts.
        certificates: usize,
    },
}

impl Shape {
    /// The same of one: what the others are compared with.
    pub(crate) fn base(self) -> Self {
        match self {
            Self::Hosts { members, .. } => Self::Hosts { count: 1, members },
            Self::Routes(_) => Self::Routes(1),
            Self::Tls { paths, .. } => Self::Tls { count: 1, paths, certificates: 1 },
        }
    }

    /// Hosts.
    pub(crate) fn hosts(self) -> usize {
        match self {
            Self::Hosts { count, .. } | Self::Tls { count, .. } => count,
            Self::Routes(_) => 1,
        }
    }

    /// Different questions there are, answered by different parts of the configuration.
    fn questions(self) -> usize {
        match self {
            Self::Hosts { count, .. } | Self::Routes(count) | Self::Tls { count, .. } => count,
        }
    }

    /// Certificates; none without TLS.
    pub(crate) fn certificates(self) -> usize {
        match self {
            Self::Tls { certificates, .. } => certificates,
            Self::Hosts { .. } | Self::Routes(_) => 0,
        }
    }

    /// Where a host's requests go by the beginning of their path, the last that matches being the longest.
    fn paths(self) -> Vec<String> {
        match self {
            Self::Hosts { .. } => vec!["/".to_owned()],
            Self::Routes(count) => (0..count).map(|number| format!("/r/{number}/")).collect(),
            Self::Tls { paths, .. } => (0..paths).map(|number| format!("/r/{number}/")).collect(),
        }
    }
}

/// A host and its routes.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) number: usize,
    /// Beginnings of paths, none of which begins another.
    pub(crate) paths: Vec<String>,
    /// The number of the host whose service it has.
    pub(crate) service: usize,
    pub(crate) certificate: Option<usize>,
    /// What its answers say in [`TURN`].
    pub(crate) turn: Option<usize>,
}

/// The header by which an answer tells which configuration it is of.
pub(crate) const TURN: &str = "x-turn";
/// Paths that a subject answers by itself begin with this.
pub(crate) const OWN: &str = "/own/";

impl Site {
    /// Its name, and that of its service.
    pub(crate) fn name(&self) -> String {
        name(self.number)
    }

    /// What `Host` says.
    pub(crate) fn host(&self) -> String {
        host(self.number)
    }

    /// Whether the service is its own.
    pub(crate) fn has_service(&self) -> bool {
        self.service == self.number
    }
}

/// The name of a host's objects.
pub(crate) fn name(number: usize) -> String {
    format!("app-{number}")
}

/// The host of a number.
pub(crate) fn host(number: usize) -> String {
    format!("app-{number}.test")
}

/// A whole configuration, and how it grows.
pub(crate) struct Estate<'certificates> {
    pub(crate) shape: Shape,
    pub(crate) sites: Vec<Site>,
    /// Endpoints of every service.
    pub(crate) members: Vec<SocketAddr>,
    pub(crate) certificates: Option<&'certificates Certificates>,
}

impl<'certificates> Estate<'certificates> {
    /// As it is at the start.
    pub(crate) fn new(
        shape: Shape,
        backends: &[SocketAddr],
        certificates: Option<&'certificates Certificates>,
    ) -> Self {
        let members = match shape {
            Shape::Hosts { members, .. } => members,
            Shape::Routes(_) | Shape::Tls { .. } => 1,
        };
        let each = shape.hosts().div_ceil(shape.certificates().max(1));
        let site = |number| Site {
            number,
            paths: shape.paths(),
            service: if matches!(shape, Shape::Hosts { .. }) { number } else { 0 },
            certificate: certificates.map(|_| number / each),
            turn: None,
        };
        Self {
            shape,
            sites: (0..shape.hosts()).map(site).collect(),
            members: backends.iter().copied().take(members).collect(),
            certificates,
        }
    }

    /// Adds a host with a route to the first service.
    pub(crate) fn add(&mut self) {
        let number = self.sites.len();
        self.sites.push(Site { number, service: 0, ..self.sites[0].clone() });
    }

    /// Has the first host's answers say another turn.
    pub(crate) fn alter(&mut self, turn: usize) {
        self.sites[0].turn = Some(turn);
    }

    /// The newest host.
    pub(crate) fn last(&self) -> &Site {
        &self.sites[self.sites.len() - 1]
    }

    /// The request of a number, answered by a backend or by the subject itself.
    pub(crate) fn question(&self, number: usize, own: bool) -> Question {
        let number = number % self.shape.questions();
        let (site, path) = match self.shape {
            Shape::Routes(_) => (&self.sites[0], &self.sites[0].paths[number]),
            Shape::Hosts { .. } | Shape::Tls { .. } => {
                let site = &self.sites[number];
                (site, &site.paths[number % site.paths.len()])
            }
        };
        Question::new(&site.host(), if own { OWN } else { path })
    }

    /// Every question there is, in an order that no cache foresees. Where each service has several endpoints, backends are
    /// asked for some hosts only: each endpoint takes a connection, and there may be no more than open files.
    pub(crate) fn questions(&self, own: bool) -> Vec<Question> {
        let most = match self.members.len() {
            _ if own => usize::MAX,
            1 => usize::try_from(open_files().saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX),
            _ => SOME,
        };
        let count = self.shape.questions().min(most);
        // A prime that divides none of the counts visits each once.
        (0..count).map(|turn| self.question(turn * STRIDE % count, own)).collect()
    }
}

const STRIDE: usize = 104_729;
/// Hosts whose backends are asked where each has several.
const SOME: usize = 1_000;
/// Open files beside one connection for each host.
const OTHER_FILES: u64 = 1_000;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) host: String,
    pub(crate) bytes: Vec<u8>,
}

impl Question {
    pub(crate) fn new(host: &str, path: &str) -> Self {
        let bytes = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: bench\r\n\r\n").into_bytes();
        Self { host: host.to_owned(), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_is_asked_once() {
        let shape = Shape::Hosts { count: 1_000, members: 1 };
        let estate = Estate::new(shape, &[SocketAddr::from(([127, 0, 0, 1], 1))], None);
        let mut hosts: Vec<String> =
            estate.questions(false).into_iter().map(|question| question.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        assert_eq!(hosts.len(), 1_000);
    }

    #[test]
    fn what_is_added_has_the_first_service() {
        let shape = Shape::Hosts { count: 3, members: 1 };
        let mut estate = Estate::new(shape, &[SocketAddr::from(([127, 0, 0, 1], 1))], None);
        estate.add();
        assert_eq!((estate.last().host().as_str(), estate.last().service), ("app-3.test", 0));
        assert!(!estate.last().has_service() && estate.sites[2].has_service());
    }
}
