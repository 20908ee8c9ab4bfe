//! Prometheus' text format 0.0.4 from the shards' numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::labels::label;
use super::series::{BUCKETS, HistogramTotal, Labelled, Table};

/// The two halves of a label text.
type Labels = (Arc<str>, Arc<str>);

/// Istio's families: a TYPE line each and no HELP, as the gateway's own exporter writes them.
pub(super) fn istio(tables: &[Arc<Table>], version: &str, out: &mut String) {
    out.push_str("# TYPE istio_build gauge\nistio_build{");
    label("component", "proxy", out);
    out.push(',');
    label("tag", version, out);
    out.push_str("} 1\n");
    requests(tables, out);
    messages(tables, out);
    tcp(tables, out);
}

/// Our own families that are counted by workers.
pub(super) fn workers(tables: &[Arc<Table>], out: &mut String) {
    listeners(tables, out);
    pools(tables, out);
}

/// Appends the HELP and TYPE lines of a family of our own.
pub(super) fn family(name: &str, kind: &str, help: &str, out: &mut String) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect(STRING);
}

#[derive(Default)]
struct RequestTotals {
    duration: HistogramTotal,
    request_bytes: HistogramTotal,
    response_bytes: HistogramTotal,
}

fn requests(tables: &[Arc<Table>], out: &mut String) {
    let mut totals: BTreeMap<Labels, RequestTotals> = BTreeMap::new();
    for table in tables {
        table.requests.each(|labelled| {
            let total = totals.entry(key(labelled)).or_default();
            labelled.series.duration.add_to(&mut total.duration);
            labelled.series.request_bytes.add_to(&mut total.request_bytes);
            labelled.series.response_bytes.add_to(&mut total.response_bytes);
        });
    }
    let counts = totals.iter().map(|(key, total)| (key, total.duration.buckets.iter().sum()));
    counters("istio_requests_total", counts, out);
    let durations = totals.iter().map(|(key, total)| (key, &total.duration));
    histograms("istio_request_duration_milliseconds", durations, out);
    let sizes = totals.iter().map(|(key, total)| (key, &total.request_bytes));
    histograms("istio_request_bytes", sizes, out);
    let sizes = totals.iter().map(|(key, total)| (key, &total.response_bytes));
    histograms("istio_response_bytes", sizes, out);
}

fn messages(tables: &[Arc<Table>], out: &mut String) {
    let mut totals: BTreeMap<Labels, [u64; 2]> = BTreeMap::new();
    for table in tables {
        table.messages.each(|labelled| {
            let total = totals.entry(key(labelled)).or_default();
            total[0] += labelled.series.request.value();
            total[1] += labelled.series.response.value();
        });
    }
    for (at, name) in
        ["istio_request_messages_total", "istio_response_messages_total"].into_iter().enumerate()
    {
        counters(name, totals.iter().map(|(key, total)| (key, total[at])), out);
    }
}

fn tcp(tables: &[Arc<Table>], out: &mut String) {
    let mut totals: BTreeMap<Labels, [u64; 4]> = BTreeMap::new();
    for table in tables {
        table.tcp.each(|labelled| {
            let series = &labelled.series;
            let values = [&series.opened, &series.closed, &series.sent, &series.received];
            let total = totals.entry(key(labelled)).or_default();
            total.iter_mut().zip(values).for_each(|(total, value)| *total += value.value());
        });
    }
    let names = [
        "istio_tcp_connections_opened_total",
        "istio_tcp_connections_closed_total",
        "istio_tcp_sent_bytes_total",
        "istio_tcp_received_bytes_total",
    ];
    for (at, name) in names.into_iter().enumerate() {
        // A connection is opened under one set of flags and may be closed under another: only what
        // moved is shown.
        let moved = totals.iter().map(|(key, total)| (key, total[at])).filter(|(_, count)| *count > 0);
        counters(name, moved, out);
    }
}

fn listeners(tables: &[Arc<Table>], out: &mut String) {
    let mut totals: BTreeMap<Labels, [u64; 2]> = BTreeMap::new();
    let mut requests = 0;
    for table in tables {
        requests += table.active.started.value().saturating_sub(table.active.ended.value());
        table.listeners.each(|labelled| {
            let (opened, closed) = (labelled.series.opened.value(), labelled.series.closed.value());
            let total = totals.entry(key(labelled)).or_default();
            total[0] += opened;
            total[1] += opened.saturating_sub(closed);
        });
    }
    let name = "portcullis_downstream_connections_total";
    own(name, ("counter", "Connections accepted."), ("listener", 0), &totals, out);
    let name = "portcullis_downstream_connections_active";
    own(name, ("gauge", "Connections open."), ("listener", 1), &totals, out);
    let name = "portcullis_downstream_requests_active";
    family(name, "gauge", "HTTP requests in progress.", out);
    writeln!(out, "{name} {requests}").expect(STRING);
}

fn pools(tables: &[Arc<Table>], out: &mut String) {
    let mut totals: BTreeMap<Labels, [u64; 4]> = BTreeMap::new();
    for table in tables {
        table.pools.each(|labelled| {
            let series = &labelled.series;
            let opened = series.opened.value();
            let active = opened.saturating_sub(series.closed.value());
            let pending = series.queued.value().saturating_sub(series.dequeued.value());
            let total = totals.entry(key(labelled)).or_default();
            let values = [opened, series.failed.value(), active, pending];
            total.iter_mut().zip(values).for_each(|(total, value)| *total += value);
        });
    }
    for (at, (name, kind, help)) in [
        ("portcullis_upstream_connections_total", "counter", "Connections opened."),
        ("portcullis_upstream_connections_failed_total", "counter", "Connections that could not be opened."),
        ("portcullis_upstream_connections_active", "gauge", "Connections open, idle ones too."),
        ("portcullis_upstream_requests_pending", "gauge", "Requests that wait for a connection."),
    ]
    .into_iter()
    .enumerate()
    {
        own(name, (kind, help), ("cluster", at), &totals, out);
    }
}

fn key<T>(labelled: &Labelled<T>) -> Labels {
    (Arc::clone(&labelled.head), Arc::clone(&labelled.tail))
}

/// A family of our own with one label, `column` of the totals.
fn own<const N: usize>(
    name: &str,
    (kind, help): (&str, &str),
    (label_name, column): (&str, usize),
    totals: &BTreeMap<Labels, [u64; N]>,
    out: &mut String,
) {
    family(name, kind, help, out);
    for ((value, _), total) in totals {
        out.push_str(name);
        out.push('{');
        label(label_name, value, out);
        writeln!(out, "}} {}", total[column]).expect(STRING);
    }
}

/// One of Istio's counters; nothing at all while it has no series.
fn counters<'a>(name: &str, rows: impl Iterator<Item = (&'a Labels, u64)>, out: &mut String) {
    for (at, ((head, tail), count)) in rows.enumerate() {
        if at == 0 {
            writeln!(out, "# TYPE {name} counter").expect(STRING);
        }
        writeln!(out, "{name}{{{head}{tail}}} {count}").expect(STRING);
    }
}

/// One of Istio's histograms; nothing at all while it has no series.
fn histograms<'a>(
    name: &str,
    rows: impl Iterator<Item = (&'a Labels, &'a HistogramTotal)>,
    out: &mut String,
) {
    for (at, ((head, tail), total)) in rows.enumerate() {
        if at == 0 {
            writeln!(out, "# TYPE {name} histogram").expect(STRING);
        }
        let mut count = 0;
        for (bound, bucket) in BUCKETS.iter().copied().chain(["+Inf"]).zip(total.buckets) {
            count += bucket;
            writeln!(out, "{name}_bucket{{{head}{tail},le=\"{bound}\"}} {count}").expect(STRING);
        }
        writeln!(out, "{name}_sum{{{head}{tail}}} {}", total.sum).expect(STRING);
        writeln!(out, "{name}_count{{{head}{tail}}} {count}").expect(STRING);
    }
}

const STRING: &str = "writing to a string cannot fail";
