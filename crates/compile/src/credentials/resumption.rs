//! Session resumption that never outruns verification.
//!
//! All chains and workers share one ticket key and one session store, so that a client resumes wherever it lands.
//! What rustls puts into a session is the server name and the client's certificate, not what that certificate was
//! checked against: a ticket from a chain that asks for no certificate would be good at one that requires it, and
//! one from before an authority was withdrawn would still be good afterwards. Hence each session carries a scope,
//! a digest of everything its chain checks, and is only taken back by a chain with that same scope. The scope is
//! inside the sealed ticket, so no client can alter it.

use std::sync::Arc;

use rustls::server::{ProducesTickets, StoresServerSessions};

use super::cache::Digest;

/// Puts the scope in front of what is sealed, and takes it off what is opened.
#[derive(Debug)]
pub(super) struct ScopedTickets {
    pub(super) scope: Digest,
    pub(super) shared: Arc<dyn ProducesTickets>,
}

impl ProducesTickets for ScopedTickets {
    fn enabled(&self) -> bool {
        self.shared.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.shared.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.shared.encrypt(&[self.scope.as_slice(), plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.shared.decrypt(cipher)?;
        plain.strip_prefix(self.scope.as_slice()).map(<[u8]>::to_vec)
    }
}

/// Keeps sessions under keys that begin with the scope.
#[derive(Debug)]
pub(super) struct ScopedSessions {
    pub(super) scope: Digest,
    pub(super) shared: Arc<dyn StoresServerSessions>,
}

impl ScopedSessions {
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.scope.as_slice(), key].concat()
    }
}

impl StoresServerSessions for ScopedSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.shared.put(self.key(&key), value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.shared.get(&self.key(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.shared.take(&self.key(key))
    }

    fn can_cache(&self) -> bool {
        self.shared.can_cache()
    }
}
