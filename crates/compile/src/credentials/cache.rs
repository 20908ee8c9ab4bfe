//! Finished TLS configurations by the content they were made of.
//!
//! Parsing keys and certificates costs far more than looking at their bytes, and most recompilations change none:
//! an unchanged chain keeps its configuration, so that 100 compilations a second with 100 certificates stay cheap.
//! Only weak references are held. Whoever holds the newest snapshot keeps its configurations alive, and nothing
//! else does, so the cache cannot grow beyond what is in use.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_snapshot::tls::{ServerTls, UpstreamTls};

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// Entries before the first look for dead ones.
const FIRST_SWEEP: usize = 64;

/// Configurations of earlier compilations. Clones share their content; the default one is empty.
#[derive(Clone, Default)]
pub struct TlsCache {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    servers: Entries<ServerTls>,
    upstreams: Entries<UpstreamTls>,
}

struct Entries<T> {
    held: HashMap<Digest, Weak<T>>,
    sweep_at: usize,
}

impl fmt::Debug for TlsCache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TlsCache")
    }
}

impl TlsCache {
    /// The configuration made of what `content` digests, or the one `make` makes.
    ///
    /// # Errors
    /// Those of `make`, which are not kept.
    pub(super) fn server<E>(
        &self,
        content: Digest,
        make: impl FnOnce() -> Result<ServerTls, E>,
    ) -> Result<Arc<ServerTls>, E> {
        self.find_or_make(|shared| &mut shared.servers, content, make)
    }

    /// As [`server`](Self::server), towards an upstream.
    pub(crate) fn upstream<E>(
        &self,
        content: Digest,
        make: impl FnOnce() -> Result<UpstreamTls, E>,
    ) -> Result<Arc<UpstreamTls>, E> {
        self.find_or_make(|shared| &mut shared.upstreams, content, make)
    }

    fn find_or_make<T, E>(
        &self,
        entries: impl Fn(&mut Shared) -> &mut Entries<T>,
        content: Digest,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        // A compilation that panicked leaves whole entries behind: they are as good as before.
        let lock = || self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = entries(&mut lock()).held.get(&content).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        entries(&mut lock()).insert(content, &made);
        Ok(made)
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { held: HashMap::new(), sweep_at: FIRST_SWEEP }
    }
}

impl<T> Entries<T> {
    fn insert(&mut self, content: Digest, made: &Arc<T>) {
        if self.held.len() >= self.sweep_at {
            self.held.retain(|_, entry| entry.strong_count() > 0);
            self.sweep_at = (self.held.len() * 2).max(FIRST_SWEEP);
        }
        self.held.insert(content, Arc::downgrade(made));
    }
}

/// Digests parts one after the other; where one ends is part of the digest.
pub(crate) struct Fingerprint(Context);

impl Fingerprint {
    pub(crate) fn new(purpose: &str) -> Self {
        Self(Context::new(&SHA256)).add(purpose.as_bytes())
    }

    /// Adds one part.
    pub(crate) fn add(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    /// Adds a list of parts, and how many they are.
    pub(crate) fn add_all<T: AsRef<[u8]>>(self, parts: impl IntoIterator<Item = T>) -> Self {
        let parts: Vec<T> = parts.into_iter().collect();
        let counted = self.add((parts.len() as u64).to_be_bytes());
        parts.iter().fold(counted, Self::add)
    }

    pub(crate) fn finish(self) -> Digest {
        let digest = self.0.finish();
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}
