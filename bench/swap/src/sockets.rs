//! The listening sockets behind ports, by the numbers the kernel gives them.
//!
//! A socket that is closed and bound again has another inode number: the same numbers before and after mean
//! that the same sockets listen.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

/// Listening sockets by port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listening(BTreeMap<u16, BTreeSet<u64>>);

impl Listening {
    /// Those of these ports.
    ///
    /// # Errors
    /// When the system does not say.
    pub(crate) fn of(ports: &[u16]) -> anyhow::Result<Self> {
        let mut found = BTreeMap::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = std::fs::read_to_string(table).with_context(|| format!("reading {table}"))?;
            read(&text, ports, &mut found);
        }
        Ok(Self(found))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }
}

/// The columns of `/proc/net/tcp`: number, local address, remote address, state, …, inode as the tenth.
fn read(text: &str, ports: &[u16], found: &mut BTreeMap<u16, BTreeSet<u64>>) {
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(&LISTEN), Some(inode)) = (columns.get(1), columns.get(3), columns.get(9))
        else {
            continue;
        };
        let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        if let (Some(port), Ok(inode)) = (port.filter(|port| ports.contains(port)), inode.parse()) {
            found.entry(port).or_default().insert(inode);
        }
    }
}

/// `TCP_LISTEN`.
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_bound_again_is_another() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let first = Listening::of(&[address.port()]).unwrap();
        assert_eq!(first.count(), 1);
        assert_eq!(first, Listening::of(&[address.port()]).unwrap());
        drop(listener);
        assert_eq!(Listening::of(&[address.port()]).unwrap().count(), 0);
        // Another socket first, so that the number cannot be the old one.
        let _other = TcpListener::bind("127.0.0.1:0").unwrap();
        let _again = TcpListener::bind(address).unwrap();
        assert_ne!(first, Listening::of(&[address.port()]).unwrap());
    }
}
