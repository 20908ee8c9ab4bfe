//! The last good state of a cluster on disk, for a start while its API server is away.
//!
//! What is saved are the objects, as they were read, and not the snapshot: another version of the gateway compiles them its
//! own way, or refuses the file as a whole by its first line.
//!
//! ```text
//! portcullis cache 1                                     format
//! <SHA-256 of everything below, in hex>
//! {"cluster": …, "confirmed": …, "objects": …, "plain": …, "sealed": …, "nonce": …}
//! one object a line, in JSON
//! the Secrets, in the same form, sealed with AES-256-GCM; nothing without a key
//! ```
//!
//! Secrets are left out unless a key is given: what lies on a disk outlives the pod and the rules of the cluster. The key is
//! for the operator to keep elsewhere than the file.

pub(crate) mod file;
pub(crate) mod keeper;
pub(crate) mod shelf;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use portcullis_api::{Origin, from_json_value};
use portcullis_compile::Objects;
use serde_json::{Value, json};

pub use file::read_key;

/// What a file of this format begins with.
const MAGIC: &str = "portcullis cache 1";
/// What a file of any format begins with.
const ANY_MAGIC: &str = "portcullis cache ";
/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Where the last good state is kept.
#[derive(Debug, Clone)]
pub struct Place {
    /// The folder; made if it is not there.
    pub folder: PathBuf,
    /// With what Secrets are sealed; without it they are left out.
    pub key: Option<Key>,
}

/// A key for Secrets.
#[derive(Clone)]
pub struct Key(Arc<[u8; KEY_BYTES]>);

impl Key {
    /// A key of these bytes; none where they are too few or too many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Some(Self(Arc::new(bytes.try_into().ok()?)))
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, String> {
        RandomizedNonceKey::new(&AES_256_GCM, &*self.0).map_err(|_| "the key cannot be used".to_owned())
    }
}

impl fmt::Debug for Key {
    /// Without the key.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(…)")
    }
}

/// What was saved.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The objects.
    pub(crate) objects: Objects,
    /// When they were last known to be the cluster's.
    pub(crate) confirmed: SystemTime,
    /// Why Secrets are not among them.
    pub(crate) without_secrets: Option<String>,
}

/// What is to be saved.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) plain: Vec<Arc<str>>,
    pub(crate) secret: Vec<Arc<str>>,
}

/// A file of these objects.
pub(crate) fn encode(
    texts: &Texts,
    cluster: &str,
    confirmed: SystemTime,
    key: Option<&Key>,
) -> Result<Vec<u8>, String> {
    let plain = lines(&texts.plain);
    let (sealed, nonce) = match key {
        Some(key) => seal(key, lines(&texts.secret), cluster)?,
        None => (Vec::new(), String::new()),
    };
    let header = json!({
        "cluster": cluster,
        "confirmed": confirmed.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        "program": env!("CARGO_PKG_VERSION"),
        "objects": texts.plain.len() + if key.is_some() { texts.secret.len() } else { 0 },
        "plain": plain.len(),
        "sealed": sealed.len(),
        "nonce": nonce,
    });
    let mut body = format!("{header}\n").into_bytes();
    body.extend(plain);
    body.extend(sealed);
    let mut file =
        format!("{MAGIC}\n{}\n", hex(digest::digest(&digest::SHA256, &body).as_ref())).into_bytes();
    file.extend(body);
    Ok(file)
}

/// Reads a file. `cluster` is the one that is followed: what was saved of another one, or of other namespaces, is of no use.
pub(crate) fn decode(file: &[u8], cluster: &str, key: Option<&Key>) -> Result<Saved, String> {
    let (magic, rest) = line(file).ok_or("is no cache of this program")?;
    match std::str::from_utf8(magic) {
        Ok(MAGIC) => {}
        Ok(other) if other.starts_with(ANY_MAGIC) => {
            return Err(format!("was written by another version, in the format {other:?}"));
        }
        _ => return Err("is no cache of this program".to_owned()),
    }
    let (sum, body) = line(rest).ok_or("is cut off")?;
    if hex(digest::digest(&digest::SHA256, body).as_ref()).as_bytes() != sum {
        return Err("is damaged: its checksum is wrong".to_owned());
    }
    let (header, payload) = line(body).ok_or("is cut off")?;
    let header: Value = serde_json::from_slice(header).map_err(|error| format!("is damaged: {error}"))?;
    if header["cluster"] != cluster {
        return Err("is of another cluster, or of other namespaces of it".to_owned());
    }
    let plain = header["plain"].as_u64().and_then(|length| usize::try_from(length).ok());
    let (plain, sealed) =
        plain.and_then(|length| payload.split_at_checked(length)).ok_or("is damaged: it is too short")?;
    let mut objects = Objects::default();
    read_lines(plain, &mut objects)?;
    let nonce = header["nonce"].as_str().unwrap_or_default();
    let without_secrets = match key {
        _ if nonce.is_empty() => Some("they were left out when it was written, without a key".to_owned()),
        None => Some("there is no key to open them with".to_owned()),
        Some(key) => match open(key, nonce, sealed, cluster) {
            Ok(secrets) => read_lines(&secrets, &mut objects).err(),
            Err(reason) => Some(reason),
        },
    };
    let confirmed = header["confirmed"].as_u64().unwrap_or_default();
    Ok(Saved { objects, confirmed: UNIX_EPOCH + Duration::from_secs(confirmed), without_secrets })
}

/// SHA-256 in hex.
pub(crate) fn digest_of(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    hex(context.finish().as_ref())
}

fn seal(key: &Key, mut text: Vec<u8>, cluster: &str) -> Result<(Vec<u8>, String), String> {
    let sealed = key.cipher()?.seal_in_place_append_tag(Aad::from(cluster.as_bytes()), &mut text);
    let nonce = sealed.map_err(|_| "Secrets cannot be sealed".to_owned())?;
    Ok((text, hex(nonce.as_ref())))
}

fn open(key: &Key, nonce: &str, sealed: &[u8], cluster: &str) -> Result<Vec<u8>, String> {
    let wrong = || "they cannot be opened: the key is another one".to_owned();
    let nonce: [u8; NONCE_LEN] = unhex(nonce).and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)?;
    let mut text = sealed.to_vec();
    let opened = key
        .cipher()?
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(cluster.as_bytes()), &mut text)
        .map_err(|_| wrong())?;
    Ok(opened.to_vec())
}

fn read_lines(text: &[u8], objects: &mut Objects) -> Result<(), String> {
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let value = serde_json::from_slice(line).map_err(|error| format!("is damaged: {error}"))?;
        for object in from_json_value(Origin::CLUSTER, value).objects {
            objects.update(object);
        }
    }
    Ok(())
}

/// JSON without line breaks: one object a line.
fn lines(texts: &[Arc<str>]) -> Vec<u8> {
    let mut all = Vec::with_capacity(texts.iter().map(|text| text.len() + 1).sum());
    for text in texts {
        all.extend_from_slice(text.as_bytes());
        all.push(b'\n');
    }
    all
}

fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use portcullis_api::Kind;

    use super::*;

    fn object(kind: &str, name: &str) -> Arc<str> {
        let metadata = json!({"name": name, "namespace": "a"});
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": {}, "data": {}})
            .to_string()
            .into()
    }

    fn texts() -> Texts {
        Texts {
            plain: vec![object("Service", "one"), object("Service", "two")],
            secret: vec![object("Secret", "cert")],
        }
    }

    fn key(byte: u8) -> Key {
        Key::new(&[byte; KEY_BYTES]).expect("a key")
    }

    fn counts(saved: &Saved) -> (usize, usize) {
        (saved.objects.count(Kind::Service), saved.objects.count(Kind::Secret))
    }

    #[test]
    fn what_is_written_is_read_and_secrets_only_with_their_key() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let open = encode(&texts(), "c", now, None).expect("a file");
        let saved = decode(&open, "c", Some(&key(1))).expect("saved");
        assert_eq!((counts(&saved), saved.confirmed), ((2, 0), now));
        assert!(saved.without_secrets.is_some());

        let sealed = encode(&texts(), "c", now, Some(&key(1))).expect("a file");
        assert!(!String::from_utf8_lossy(&sealed).contains("cert"), "no name of a Secret either");
        let saved = decode(&sealed, "c", Some(&key(1))).expect("saved");
        assert_eq!((counts(&saved), &saved.without_secrets), ((2, 1), &None));
        for wrong in [None, Some(&key(2))] {
            let saved = decode(&sealed, "c", wrong).expect("saved");
            assert_eq!(counts(&saved), (2, 0));
            assert!(saved.without_secrets.is_some());
        }
        // Two files of the same are sealed differently.
        assert_ne!(sealed, encode(&texts(), "c", now, Some(&key(1))).expect("a file"));
    }

    #[test]
    fn what_is_damaged_cut_off_or_foreign_is_refused_with_a_reason() {
        let file = encode(&texts(), "c", UNIX_EPOCH, Some(&key(1))).expect("a file");
        for end in 0..file.len() {
            assert!(decode(&file[..end], "c", Some(&key(1))).is_err(), "cut off at {end}");
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged, "c", Some(&key(1))).is_err(), "damaged at {at}");
        }
        let refused = |file: &[u8], cluster| decode(file, cluster, None).expect_err("refused");
        assert!(refused(&file, "other").contains("another cluster"));
        assert!(refused(b"portcullis cache 2\nwhatever", "c").contains("another version"));
        assert!(refused(b"#!/bin/sh\n", "c").contains("no cache"));
        assert!(refused(b"", "c").contains("no cache"));
    }

    #[test]
    fn no_key_is_shown() {
        assert_eq!(format!("{:?}", key(7)), "Key(…)");
        assert!(Key::new(b"short").is_none());
    }
}
