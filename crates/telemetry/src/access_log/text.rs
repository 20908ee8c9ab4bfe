//! Istio's default TEXT line: 22 columns in a fixed order, one space between them.

use std::net::SocketAddr;

use portcullis_snapshot::cluster::Address;

use super::escape;
use super::fields::{Fields, milliseconds, number, socket_address};
use super::timestamp::Timestamps;

/// Appends the columns, without a line feed.
pub(super) fn write(fields: &Fields<'_>, timestamps: &mut Timestamps, out: &mut Vec<u8>) {
    out.push(b'[');
    timestamps.write(fields.start_time, out);
    out.extend_from_slice(b"] \"");
    within_quotes(fields.method, out);
    out.push(b' ');
    within_quotes(fields.path, out);
    out.push(b' ');
    within_quotes(fields.protocol.map(str::as_bytes), out);
    out.extend_from_slice(b"\" ");
    number(u64::from(fields.response_code), out);
    out.push(b' ');
    fields.response_flags.write_short(out);
    bare(fields.response_code_details, out);
    bare(fields.connection_termination_details, out);
    quoted(fields.upstream_transport_failure_reason.map(str::as_bytes), out);
    for count in [fields.bytes_received, fields.bytes_sent] {
        out.push(b' ');
        number(count, out);
    }
    out.push(b' ');
    milliseconds(fields.duration, out);
    out.push(b' ');
    match fields.upstream_service_time {
        Some(time) => number(time, out),
        None => out.push(b'-'),
    }
    for header in [fields.x_forwarded_for, fields.user_agent, fields.request_id, fields.authority] {
        quoted(header, out);
    }
    upstream_host(fields.upstream_host, out);
    bare(fields.upstream_cluster, out);
    let addresses =
        [fields.upstream_local_address, fields.downstream_local_address, fields.downstream_remote_address];
    for value in addresses {
        out.push(b' ');
        address(value, out);
    }
    bare(fields.requested_server_name, out);
    bare(fields.route_name, out);
}

fn within_quotes(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => escape::quoted(value, out),
        None => out.push(b'-'),
    }
}

fn quoted(value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b" \"");
    within_quotes(value, out);
    out.push(b'"');
}

fn bare(value: Option<&str>, out: &mut Vec<u8>) {
    out.push(b' ');
    match value {
        Some(value) => escape::bare(value.as_bytes(), out),
        None => out.push(b'-'),
    }
}

fn address(value: Option<SocketAddr>, out: &mut Vec<u8>) {
    match value {
        Some(value) => socket_address(value, out),
        None => out.push(b'-'),
    }
}

fn upstream_host(host: Option<&Address>, out: &mut Vec<u8>) {
    out.extend_from_slice(b" \"");
    match host {
        Some(Address::Unix(path)) => escape::quoted(path.to_string_lossy().as_bytes(), out),
        other => match other.and_then(Address::inet) {
            Some(inet) => socket_address(inet, out),
            None => out.push(b'-'),
        },
    }
    out.push(b'"');
}
