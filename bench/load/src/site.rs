//! What every subject is told: backends, certificates, and the names that are asked for.

use anyhow::{Context as _, Result};
use portcullis_tests::pki::{Authority, Leaf};
use portcullis_tests::postgres::{Postgres, Which};
use tempfile::TempDir;

use crate::backend::Backends;

/// The host that is asked for.
pub(crate) const HOST: &str = "bench.test";
/// The same with a certificate for RSA.
pub(crate) const RSA_HOST: &str = "rsa.bench.test";
/// The host whose TLS passes through.
pub(crate) const PASS_HOST: &str = "pass.bench.test";
/// The database.
pub(crate) const DB_HOST: &str = "db.bench.test";

/// Backends and certificates.
pub(crate) struct Site {
    pub(crate) backends: Backends,
    pub(crate) authority: Authority,
    /// ECDSA P-256.
    pub(crate) ecdsa: Leaf,
    /// RSA 2048.
    pub(crate) rsa: Leaf,
    /// Where one is installed and wanted.
    pub(crate) postgres: Option<Postgres>,
    pub(crate) folder: TempDir,
}

impl Site {
    /// A folder of its own, new certificates.
    pub(crate) fn new(with_postgres: bool) -> Result<Self> {
        let authority = Authority::new("bench");
        let database = || Postgres::start(Which::System, "bench", &authority.server(&[DB_HOST]));
        Ok(Self {
            backends: Backends::start()?,
            ecdsa: authority.server(&[HOST]),
            rsa: authority.rsa_server(&[RSA_HOST]),
            postgres: if with_postgres { database() } else { None },
            folder: TempDir::with_prefix("portcullis-bench-").context("a folder")?,
            authority,
        })
    }
}
