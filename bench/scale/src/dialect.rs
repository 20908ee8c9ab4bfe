//! The same configuration as each subject is told it, and how each learns of a change.
//!
//! What has nothing to do with size (log lines, workers, timeouts) is taken from the configurations in `bench/peers`, so
//! that both benches measure the same.

mod envoy;
mod haproxy;
mod nginx;
pub(crate) mod portcullis;
mod traefik;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::estate::Estate;

/// A file below a subject's folder.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// Where a subject lives and listens.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) plain: u16,
    pub(crate) tls: u16,
    pub(crate) admin: u16,
    /// Connections it may be told to expect.
    pub(crate) clients: u64,
}

impl Place {
    /// A text in which `@NAME@` has become what it is here.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("@FOLDER@", &self.folder.to_string_lossy())
            .replace("@PLAIN@", &self.plain.to_string())
            .replace("@TLS@", &self.tls.to_string())
            .replace("@ADMIN@", &self.admin.to_string())
            .replace("@CLIENTS@", &self.clients.to_string())
    }
}

/// A subject's language.
pub(crate) trait Dialect: Sync {
    /// How it is called.
    fn name(&self) -> &'static str;

    /// Arguments, with `@NAME@` for what differs by place.
    fn arguments(&self) -> &'static [&'static str];

    /// Variables of its environment.
    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Every file at the start.
    fn files(&self, place: &Place, estate: &Estate<'_>) -> Result<Vec<File>>;

    /// What is written anew when a host was added last.
    fn added(&self, place: &Place, estate: &Estate<'_>) -> Vec<File>;

    /// What is written anew when the first host was altered.
    fn altered(&self, place: &Place, estate: &Estate<'_>) -> Vec<File>;

    /// What tells it to look; nothing where it looks by itself.
    fn reload(&self) -> Option<Signal> {
        None
    }

    /// Whether it can answer by itself.
    fn answers(&self) -> bool {
        true
    }
}

/// The peer of a name, else the gateway.
pub(crate) fn of(name: &str) -> &'static dyn Dialect {
    let peers: [&dyn Dialect; 4] = [&nginx::Nginx, &haproxy::Haproxy, &envoy::Envoy, &traefik::Traefik];
    peers.into_iter().find(|peer| peer.name() == name).unwrap_or(&portcullis::Portcullis)
}

/// The part of a configuration in `bench/peers` between two texts, the first included.
fn part<'text>(text: &'text str, from: &str, to: &str) -> Result<&'text str> {
    let at = text.find(from).with_context(|| format!("{from:?} is not in bench/peers any more"))?;
    let rest = &text[at..];
    let end = rest.find(to).with_context(|| format!("{to:?} is not in bench/peers any more"))?;
    Ok(&rest[..end])
}

/// A path as configurations write it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::estate::Shape;

    #[test]
    fn every_dialect_says_every_host() {
        let place = Place { folder: "/x".into(), plain: 1, tls: 2, admin: 3, clients: 4 };
        let backends = [SocketAddr::from(([127, 0, 0, 1], 8080))];
        let mut estate = Estate::new(Shape::Hosts { count: 3, members: 1 }, &backends, None);
        for name in ["portcullis", "nginx", "haproxy", "envoy", "traefik"] {
            let dialect = of(name);
            assert_eq!(dialect.name(), name);
            let said = |files: &[File]| files.iter().map(|file| file.text.clone()).collect::<String>();
            let all = said(&dialect.files(&place, &estate).unwrap());
            assert!(all.contains("app-0.test") && all.contains("app-2.test"), "{name}");
            let unfilled = all.split('@').skip(1).any(|rest| rest.starts_with(char::is_uppercase));
            assert!(!unfilled, "{name}: {all}");
        }
        estate.add();
        estate.alter(7);
        for name in ["portcullis", "nginx", "haproxy", "envoy", "traefik"] {
            let (added, altered) = (of(name).added(&place, &estate), of(name).altered(&place, &estate));
            assert!(added.iter().any(|file| file.text.contains("app-3.test")), "{name}");
            assert!(altered.iter().any(|file| file.text.contains("x-turn")), "{name}");
        }
    }
}
