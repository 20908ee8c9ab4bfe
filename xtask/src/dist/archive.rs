//! Archives whose bytes depend on nothing but their content.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context, Result};
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// A tar archive in the making; everything belongs to root, and has one time.
pub(super) struct Archive {
    builder: Builder<Vec<u8>>,
    time: u64,
}

impl Archive {
    pub(super) fn new(time: u64) -> Self {
        Self { builder: Builder::new(Vec::new()), time }
    }

    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entry(EntryType::Regular, path, mode, content)
    }

    /// Adds a folder.
    pub(super) fn folder(&mut self, path: &str) -> Result<()> {
        self.entry(EntryType::Directory, path, 0o755, &[])
    }

    fn entry(&mut self, kind: EntryType, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(self.time);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(u64::try_from(content.len()).context("a file of a sensible size")?);
        self.builder.append_data(&mut header, path, content).with_context(|| format!("archiving {path}"))
    }

    /// The archive.
    pub(super) fn finish(self) -> Result<Vec<u8>> {
        self.builder.into_inner().context("finishing an archive")
    }
}

/// `bytes` as gzip has them, without a name or a time.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder: GzEncoder<Vec<u8>> = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).context("compressing")
}

/// The digest of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes as people write a digest.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_makes_the_same_bytes() {
        let make = || {
            let mut archive = Archive::new(7);
            archive.folder("a/").unwrap();
            archive.file("a/b", 0o644, b"content").unwrap();
            gzip(&archive.finish().unwrap()).unwrap()
        };
        assert_eq!(make(), make());
        assert_eq!(hex(&sha256(b"")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
