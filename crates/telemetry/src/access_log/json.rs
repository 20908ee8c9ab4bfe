//! Istio's default JSON line: keys sorted, `null` where nothing is known.

use std::net::SocketAddr;

use portcullis_snapshot::cluster::Address;

use super::USUAL_LINE;
use super::escape;
use super::fields::{Fields, milliseconds, number, socket_address};
use super::timestamp::Timestamps;
use crate::record::Reason;

/// Appends the object, without a line feed.
pub(super) fn write(fields: &Fields<'_>, timestamps: &mut Timestamps, out: &mut Vec<u8>) {
    out.reserve(USUAL_LINE);
    request_half(fields, out);
    response_half(fields, timestamps, out);
    upstream_part(fields, out);
    out.push(b'}');
}

fn request_half(fields: &Fields<'_>, out: &mut Vec<u8>) {
    text(br#"{"authority":"#, fields.authority, out);
    key(br#","bytes_received":"#, out);
    number(fields.bytes_received, out);
    key(br#","bytes_sent":"#, out);
    number(fields.bytes_sent, out);
    string(br#","connection_termination_details":"#, fields.connection_termination_details, out);
    address(br#","downstream_local_address":"#, fields.downstream_local_address, out);
    address(br#","downstream_remote_address":"#, fields.downstream_remote_address, out);
    key(br#","duration":"#, out);
    milliseconds(fields.duration, out);
    text(br#","method":"#, fields.method, out);
    text(br#","path":"#, fields.path, out);
    if let Some(reason) = fields.portcullis_reason {
        why(reason, out);
    }
    string(br#","protocol":"#, fields.protocol, out);
    text(br#","request_id":"#, fields.request_id, out);
    string(br#","requested_server_name":"#, fields.requested_server_name, out);
}

fn response_half(fields: &Fields<'_>, timestamps: &mut Timestamps, out: &mut Vec<u8>) {
    key(br#","response_code":"#, out);
    number(u64::from(fields.response_code), out);
    string(br#","response_code_details":"#, fields.response_code_details, out);
    key(br#","response_flags":""#, out);
    fields.response_flags.write_short(out);
    key(b"\"", out);
    string(br#","route_name":"#, fields.route_name, out);
    key(br#","start_time":""#, out);
    timestamps.write(fields.start_time, out);
    key(b"\"", out);
}

fn upstream_part(fields: &Fields<'_>, out: &mut Vec<u8>) {
    string(br#","upstream_cluster":"#, fields.upstream_cluster, out);
    match fields.upstream_host {
        Some(Address::Unix(path)) => string(br#","upstream_host":"#, Some(&path.to_string_lossy()), out),
        other => address(br#","upstream_host":"#, other.and_then(Address::inet), out),
    }
    address(br#","upstream_local_address":"#, fields.upstream_local_address, out);
    key(br#","upstream_service_time":"#, out);
    match fields.upstream_service_time {
        // A header's value, hence a string.
        Some(time) => {
            out.push(b'"');
            number(time, out);
            out.push(b'"');
        }
        None => key(b"null", out),
    }
    string(br#","upstream_transport_failure_reason":"#, fields.upstream_transport_failure_reason, out);
    text(br#","user_agent":"#, fields.user_agent, out);
    text(br#","x_forwarded_for":"#, fields.x_forwarded_for, out);
}

/// Fragments are told by their length, so that each is written by a few instructions of its own.
fn key<const N: usize>(fragment: &[u8; N], out: &mut Vec<u8>) {
    out.extend_from_slice(fragment);
}

fn text<const N: usize>(fragment: &[u8; N], value: Option<&[u8]>, out: &mut Vec<u8>) {
    key(fragment, out);
    let Some(value) = value else { return key(b"null", out) };
    out.push(b'"');
    escape::json(value, out);
    out.push(b'"');
}

fn string<const N: usize>(fragment: &[u8; N], value: Option<&str>, out: &mut Vec<u8>) {
    text(fragment, value.map(str::as_bytes), out);
}

fn address<const N: usize>(fragment: &[u8; N], value: Option<SocketAddr>, out: &mut Vec<u8>) {
    key(fragment, out);
    let Some(value) = value else { return key(b"null", out) };
    out.push(b'"');
    socket_address(value, out);
    out.push(b'"');
}

fn why(reason: &Reason, out: &mut Vec<u8>) {
    key(br#","portcullis_reason":""#, out);
    if let Some(object) = &reason.object {
        escape::json(object.as_bytes(), out);
        out.extend_from_slice(b": ");
    }
    escape::json(reason.why.as_bytes(), out);
    out.push(b'"');
}
