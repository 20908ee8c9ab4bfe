//! The filter chains of one port, by server name.

use std::collections::HashSet;
use std::sync::Arc;

use portcullis_snapshot::FilterChain;
use portcullis_snapshot::host::HostIndex;
use portcullis_snapshot::listener::ChainService;

use crate::diagnostic::{Code, Reporter};

/// Filter chains in the making.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    /// By server name.
    pub(crate) tls: HostIndex<Arc<FilterChain>>,
    /// Whether some chain by server name carries bytes.
    pub(crate) carries_bytes: bool,
    /// For connections that are not TLS, where a passthrough rule takes everything.
    pub(crate) plain: Option<Arc<FilterChain>>,
    /// Whether there is any chain: it opens the port even if no client can ask for its names.
    pub(crate) present: bool,
    /// Server names of passthrough rules.
    reserved: HashSet<String>,
}

impl Chains {
    /// Adds a chain under a server name; the older one stays where the name is taken.
    pub(crate) fn add(&mut self, name: &str, chain: &Arc<FilterChain>, reporter: &mut Reporter<'_, '_>) {
        self.present = true;
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            // A client's server name is lower-cased before it is compared, the configured one is not.
            reporter.report(
                Code::NeverApplies,
                "",
                format!("{name:?} has upper-case letters, so no TLS connection ever matches it"),
                "write it in lower case",
            );
            return;
        }
        if self.tls.insert(name, Arc::clone(chain)).is_ok() {
            self.carries_bytes |= matches!(chain.service, ChainService::Tcp(_));
        } else {
            reporter.report(
                Code::DuplicateServerName,
                "",
                format!("an older server or rule of the same port has {name:?} and keeps it"),
                "take the host out of one of the two",
            );
        }
    }

    /// Takes the server names of a passthrough entry; the first that is taken, if there is any, and then nothing
    /// is taken (Istio's `CheckDuplicates`).
    pub(crate) fn reserve(&mut self, names: &[String]) -> Option<String> {
        let taken = names.iter().find(|name| self.reserved.contains(*name)).cloned();
        if taken.is_none() {
            self.reserved.extend(names.iter().cloned());
        }
        taken
    }
}
