//! The fields of a line, borrowed from either kind of record.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use portcullis_snapshot::cluster::Address;

use crate::flags::Flags;
use crate::record::{Reason, RequestRecord, TcpRecord};

/// What both forms print. Names are the JSON keys.
pub(super) struct Fields<'a> {
    pub(super) start_time: SystemTime,
    pub(super) method: Option<&'a [u8]>,
    pub(super) path: Option<&'a [u8]>,
    pub(super) protocol: Option<&'static str>,
    pub(super) response_code: u16,
    pub(super) response_flags: Flags,
    pub(super) response_code_details: Option<&'a str>,
    pub(super) connection_termination_details: Option<&'a str>,
    pub(super) upstream_transport_failure_reason: Option<&'a str>,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) duration: Duration,
    pub(super) upstream_service_time: Option<u64>,
    pub(super) x_forwarded_for: Option<&'a [u8]>,
    pub(super) user_agent: Option<&'a [u8]>,
    pub(super) request_id: Option<&'a [u8]>,
    pub(super) authority: Option<&'a [u8]>,
    pub(super) upstream_host: Option<&'a Address>,
    pub(super) upstream_cluster: Option<&'a str>,
    pub(super) upstream_local_address: Option<SocketAddr>,
    pub(super) downstream_local_address: Option<SocketAddr>,
    pub(super) downstream_remote_address: Option<SocketAddr>,
    pub(super) requested_server_name: Option<&'a str>,
    pub(super) route_name: Option<&'a str>,
    pub(super) portcullis_reason: Option<&'a Reason>,
}

impl<'a> Fields<'a> {
    pub(super) fn of_request(record: &'a RequestRecord) -> Self {
        Self {
            start_time: record.started,
            method: record.method.as_deref(),
            path: record.path.as_deref(),
            protocol: record.protocol.map(crate::record::Protocol::as_str),
            response_code: record.response_code,
            response_flags: record.flags,
            response_code_details: record.details.as_ref().map(crate::details::Details::as_str),
            connection_termination_details: record.connection_termination_details.as_deref(),
            upstream_transport_failure_reason: record.upstream_transport_failure_reason.as_deref(),
            bytes_received: record.bytes_received,
            bytes_sent: record.bytes_sent,
            duration: record.duration,
            upstream_service_time: record.upstream_service_time,
            x_forwarded_for: record.x_forwarded_for.as_deref(),
            user_agent: record.user_agent.as_deref(),
            request_id: record.request_id.as_deref(),
            authority: record.authority.as_deref(),
            upstream_host: record.endpoint.as_ref().map(|endpoint| &endpoint.address),
            upstream_cluster: record.cluster.as_ref().map(|cluster| &*cluster.name),
            upstream_local_address: record.upstream_local_address,
            downstream_local_address: record.downstream_local_address,
            downstream_remote_address: record.downstream_remote_address,
            requested_server_name: record.sni.as_deref(),
            route_name: record.route_name.as_deref().filter(|name| !name.is_empty()),
            portcullis_reason: record.reason.as_deref(),
        }
    }

    pub(super) fn of_tcp(record: &'a TcpRecord) -> Self {
        Self {
            start_time: record.started,
            method: None,
            path: None,
            protocol: None,
            response_code: 0,
            response_flags: record.flags,
            response_code_details: record.details.as_ref().map(crate::details::Details::as_str),
            connection_termination_details: record.connection_termination_details.as_deref(),
            upstream_transport_failure_reason: record.upstream_transport_failure_reason.as_deref(),
            bytes_received: record.bytes_received,
            bytes_sent: record.bytes_sent,
            duration: record.duration,
            upstream_service_time: None,
            x_forwarded_for: None,
            user_agent: None,
            request_id: None,
            authority: None,
            upstream_host: record.endpoint.as_ref().map(|endpoint| &endpoint.address),
            upstream_cluster: record.cluster.as_ref().map(|cluster| &*cluster.name),
            upstream_local_address: record.upstream_local_address,
            downstream_local_address: record.downstream_local_address,
            downstream_remote_address: record.downstream_remote_address,
            requested_server_name: record.sni.as_deref(),
            route_name: record.route_name.as_deref().filter(|name| !name.is_empty()),
            portcullis_reason: record.reason.as_ref(),
        }
    }
}

/// Appends a number in decimal.
pub(super) fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends whole milliseconds.
pub(super) fn milliseconds(value: Duration, out: &mut Vec<u8>) {
    number(u64::try_from(value.as_millis()).unwrap_or(u64::MAX), out);
}

/// Bytes of the longest IPv4 address with the colon behind it.
const LONGEST_V4: usize = 16;

/// Appends `ip:port`. IPv4 by hand: a line has up to four of them, and the formatter of the
/// standard library would take a third of its time.
pub(super) fn socket_address(address: SocketAddr, out: &mut Vec<u8>) {
    if let IpAddr::V4(ip) = address.ip() {
        let mut text = [0; LONGEST_V4];
        let mut length = 0;
        for octet in ip.octets() {
            if octet >= 100 {
                text[length] = b'0' + octet / 100;
                length += 1;
            }
            if octet >= 10 {
                text[length] = b'0' + octet / 10 % 10;
                length += 1;
            }
            text[length] = b'0' + octet % 10;
            text[length + 1] = b'.';
            length += 2;
        }
        text[length - 1] = b':';
        out.extend_from_slice(&text[..length]);
        out.extend_from_slice(itoa::Buffer::new().format(address.port()).as_bytes());
    } else {
        write!(out, "{address}").expect("writing to a vector cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_are_written_as_the_standard_library_would(ip in any::<[u8; 4]>(), port in any::<u16>()) {
            let address = SocketAddr::from((ip, port));
            let mut out = Vec::new();
            socket_address(address, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), address.to_string());
        }
    }
}
