//! Where the servers are installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest of `/usr/lib/postgresql/*`, where Debian puts it, else the one on the `PATH`.
    System,
    /// PostgreSQL 18 as `cargo xtask setup` fetches it: it takes TLS from the first byte, and brings no `psql`.
    ///
    /// Sought in the folder that `PORTCULLIS_TEST_POSTGRES18` names, then where the set-up keeps it:
    /// `postgres-18*/native` in `PORTCULLIS_CACHE`, `/var/cache/portcullis` or `~/.cache/portcullis`.
    Embedded18,
}

impl Which {
    /// What to say when it is not there.
    pub(super) fn absence(self) -> &'static str {
        match self {
            Self::System => "no PostgreSQL server is installed; `cargo xtask setup` does it",
            Self::Embedded18 => "no PostgreSQL 18 was found; `cargo xtask setup` fetches it",
        }
    }
}

/// A folder with `bin`, `lib` and `share`.
#[derive(Debug)]
pub(super) struct Installation {
    root: PathBuf,
}

impl Installation {
    pub(super) fn find(which: Which) -> Option<Self> {
        let candidates = match which {
            Which::System => system_roots(),
            Which::Embedded18 => embedded_roots(),
        };
        let root = candidates.into_iter().find(|root| root.join("bin/postgres").is_file())?;
        Some(Self { root })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.root.join("bin").join(name)
    }
}

fn system_roots() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = entries(Path::new("/usr/lib/postgresql"))
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path)))
        .collect();
    versions.sort();
    let newest_first = versions.into_iter().rev().map(|(_, path)| path);
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).filter_map(|bin| bin.parent().map(Path::to_owned));
    newest_first.chain(on_path).collect()
}

fn embedded_roots() -> Vec<PathBuf> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from);
    let caches = [
        variable("PORTCULLIS_CACHE"),
        Some(PathBuf::from("/var/cache/portcullis")),
        variable("XDG_CACHE_HOME").map(|cache| cache.join("portcullis")),
        variable("HOME").map(|home| home.join(".cache/portcullis")),
    ];
    let kept = caches.into_iter().flatten().flat_map(|cache| {
        let mut versions: Vec<PathBuf> = entries(&cache).filter(|path| is_version_18(path)).collect();
        versions.sort();
        versions.into_iter().rev().map(|version| version.join("native"))
    });
    variable("PORTCULLIS_TEST_POSTGRES18").into_iter().chain(kept).collect()
}

/// Whether a folder of the cache holds a complete PostgreSQL 18.
fn is_version_18(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.starts_with("postgres-18.") && !name.ends_with(".partial")
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
