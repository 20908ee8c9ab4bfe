//! Limits the system sets on the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this many file descriptors a gateway runs out under ordinary load: two a connection.
const LOW: u64 = 8192;

/// Raises the soft limit on open files to the hard one, and warns when that is low.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on open files cannot be raised");
    }
    // `None` stands for no limit.
    if let Some(files @ ..LOW) = getrlimit(Resource::Nofile).current {
        tracing::warn!(
            files,
            wanted = LOW,
            "few files may be open: connections will be refused under load (ulimit -n)"
        );
    }
}
