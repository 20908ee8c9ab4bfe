//! Certificates by the thousand, each with a key of its own, as files and as Secrets.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use portcullis_tests::objects::NAMESPACE;
use portcullis_tests::pki::{Authority, Leaf};
use tempfile::TempDir;

use crate::estate::{Shape, host};

/// What an authority has signed for the hosts of a shape.
pub(crate) struct Certificates {
    pub(crate) authority: Authority,
    leaves: Vec<Leaf>,
    folder: TempDir,
}

impl Certificates {
    /// Makes and writes them.
    pub(crate) fn new(shape: Shape) -> Result<Self> {
        let authority = Authority::new("bench");
        let folder = TempDir::with_prefix("portcullis-bench-certificates-").context("a folder")?;
        let hosts: Vec<String> = (0..shape.hosts()).map(host).collect();
        let each = shape.hosts().div_ceil(shape.certificates().max(1));
        let mut leaves = Vec::new();
        fs::create_dir(folder.path().join(BUNDLES))?;
        for (number, names) in hosts.chunks(each).enumerate() {
            let leaf = authority.server(&names.iter().map(String::as_str).collect::<Vec<_>>());
            leaf.write(folder.path(), &stem(number))?;
            let bundle = format!("{}{}", leaf.certificate_pem, leaf.key_pem);
            fs::write(folder.path().join(BUNDLES).join(format!("{}.pem", stem(number))), bundle)?;
            leaves.push(leaf);
        }
        Ok(Self { authority, leaves, folder })
    }

    /// The Secret of a number.
    pub(crate) fn secret(&self, number: usize) -> String {
        self.leaves[number].tls_secret(NAMESPACE, &stem(number))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.leaves.len()
    }

    /// The files of a number: certificate and key.
    pub(crate) fn files(&self, number: usize) -> (PathBuf, PathBuf) {
        let file = |ending: &str| self.folder.path().join(format!("{}.{ending}", stem(number)));
        (file("crt"), file("key"))
    }

    /// A folder with certificate and key of each in one file.
    pub(crate) fn bundles(&self) -> PathBuf {
        Path::new(self.folder.path()).join(BUNDLES)
    }
}

/// The name of a Secret, and of files.
pub(crate) fn stem(number: usize) -> String {
    format!("tls-{number}")
}

const BUNDLES: &str = "bundles";
