//! Kept connections that broke over a request, remembered for a moment by endpoint.

use std::cell::RefCell;
use std::time::Duration;

use portcullis_snapshot::FastMap;
use portcullis_snapshot::cluster::Address;
use tokio::time::Instant;

use crate::upstream::link::Link;

/// Within which the connections of an upstream that ends break after one another.
const TOGETHER: Duration = Duration::from_millis(25);

/// The connection of each endpoint that broke last.
#[derive(Default)]
pub(super) struct Broken(RefCell<FastMap<Address, Last>>);

#[derive(Clone, Copy)]
struct Last {
    /// Number of the connection ([`Link::number`]).
    connection: u64,
    at: Instant,
}

impl Broken {
    /// Notes that `link` to `address` broke at `now`. Whether another connection that was open beside it had done
    /// so just before.
    pub(super) fn note(&self, address: &Address, link: &Link, now: Instant) -> bool {
        let beside = self.is_beside(address, link, now);
        self.0.borrow_mut().insert(address.clone(), Last { connection: link.number, at: now });
        beside
    }

    /// Whether another connection to `address` than `link` broke within [`TOGETHER`] of `now`, while `link` was open.
    pub(super) fn is_beside(&self, address: &Address, link: &Link, now: Instant) -> bool {
        let Some(opened) = link.opened else { return false };
        self.0.borrow().get(address).is_some_and(|last| {
            last.connection != link.number
                && last.at > opened.connected
                && now.saturating_duration_since(last.at) <= TOGETHER
        })
    }

    /// Forgets what nobody asks for any more.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, last| now.saturating_duration_since(last.at) <= TOGETHER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::connect::Opened;

    #[test]
    fn connections_break_together_if_they_were_open_together() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let link = |number, opened| {
            let opened = Some(Opened { begun: opened, connected: opened });
            Link { local: None, number, tls: None, opened, counts: None }
        };
        let address: Address = Address::Inet(([127, 0, 0, 1], 80).into());
        let other: Address = Address::Inet(([127, 0, 0, 2], 80).into());
        let broken = Broken::default();
        let (first, second) = (link(1, at(0)), link(2, at(1)));
        assert!(!broken.note(&address, &first, at(100)), "the first is alone");
        assert!(!broken.is_beside(&address, &first, at(101)), "and not beside itself");
        assert!(!broken.note(&other, &second, at(101)), "another endpoint");
        assert!(!broken.is_beside(&address, &link(3, at(101)), at(102)), "opened afterwards");
        assert!(!broken.is_beside(&address, &second, at(126)), "long after");
        assert!(broken.note(&address, &second, at(125)));
        assert!(broken.is_beside(&address, &first, at(126)), "the first is not alone any more");
        broken.sweep(at(160));
        assert!(broken.0.borrow().is_empty());
    }
}
