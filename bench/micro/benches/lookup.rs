//! What it costs to find a host, a chain and a route, by how many there are; and to compile them.
//!
//! Look-ups must not grow with the configuration: the figures for 10 and for 10,000 differ by what the processor's
//! caches no longer hold.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis_compile::{Environment, Objects, compile};
use portcullis_snapshot::action::{Action, DirectResponse, HeaderOps};
use portcullis_snapshot::headers::Headers;
use portcullis_snapshot::host::HostIndex;
use portcullis_snapshot::matcher::{NamedMatch, PathMatch, RequestView, RouteMatcher, StringMatch};
use portcullis_snapshot::route::{Origin, RuleList};
use portcullis_snapshot::{Route, VirtualHost};

/// The binary's, so that compiling costs what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Different questions asked in turn, so that no answer is predicted.
const QUESTIONS: usize = 64;

fn route(matcher: RouteMatcher) -> Route {
    Route {
        name: "".into(),
        origin: Origin {
            object: "VirtualService default/bench".into(),
            list: RuleList::Http,
            rule: 0,
            entry: None,
        },
        matcher,
        action: Action::Respond(Box::new(DirectResponse {
            status: http::StatusCode::OK,
            body: bytes::Bytes::new(),
        })),
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
        cors: None,
        fault: None,
    }
}

/// The conditions of route `number`.
type Matcher = fn(usize) -> RouteMatcher;

fn exact(number: usize) -> RouteMatcher {
    RouteMatcher { path: PathMatch::Exact(path(number).into()), ..RouteMatcher::default() }
}

fn prefix(number: usize) -> RouteMatcher {
    RouteMatcher { path: PathMatch::Prefix(format!("{}/", path(number)).into()), ..RouteMatcher::default() }
}

/// As in a large virtual host: mostly prefixes, some exact paths, every fourth with a condition on a header.
fn mixed(number: usize) -> RouteMatcher {
    let mut matcher = if number.is_multiple_of(3) { exact(number) } else { prefix(number) };
    if number.is_multiple_of(4) {
        let value = StringMatch::Exact("canary".into());
        matcher.headers = [NamedMatch { name: "x-version".into(), value }].into();
    }
    matcher
}

fn path(number: usize) -> String {
    format!("/team-{}/service-{number}/v1", number % 17)
}

/// Numbers spread over all of `count`.
fn spread(count: usize) -> impl Iterator<Item = usize> {
    (0..QUESTIONS).map(move |turn| turn * 7919 % count)
}

fn routes(criterion: &mut Criterion) {
    let kinds =
        [("exact", exact as Matcher, ""), ("prefix", prefix, "/cart/items"), ("mixed", mixed, "/cart/items")];
    let mut headers = Headers::default();
    for (name, value) in [("user-agent", "bench"), ("accept", "*/*"), ("x-version", "canary")] {
        headers.append(name, value);
    }
    for (name, matcher, rest) in kinds {
        let mut group = criterion.benchmark_group(format!("route by {name} path"));
        for count in [10, 1_000, 10_000] {
            let host = VirtualHost::new("bench", false, (0..count).map(matcher).map(route).collect());
            let asked = |number: usize| match matcher(number).path {
                PathMatch::Exact(path) => path.into_string(),
                _ => path(number) + rest,
            };
            let paths: Vec<String> = spread(count).map(asked).collect();
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                let mut paths = paths.iter().cycle();
                bencher.iter(|| {
                    let path = paths.next().map_or("", String::as_str);
                    let request = RequestView {
                        method: "GET",
                        scheme: "https",
                        authority: "shop.example.com",
                        path,
                        query: None,
                        headers: &headers,
                    };
                    black_box(host.find(black_box(&request)).expect("a route")).0
                });
            });
        }
        group.finish();
    }
}

fn hosts(criterion: &mut Criterion) {
    // Virtual hosts by Host header and chains by server name are found by the same index.
    for (name, pattern, asked) in [
        ("host or server name, exact", "", ""),
        ("host or server name, wildcard", "*.", "www."),
        ("host or server name, unknown", "", "no."),
    ] {
        let mut group = criterion.benchmark_group(name);
        for count in [10, 10_000] {
            let mut index = HostIndex::default();
            for number in 0..count {
                let inserted = index.insert(&format!("{pattern}app-{number}.example.com"), Arc::new(number));
                inserted.expect("every name is another");
            }
            let names: Vec<_> =
                spread(count).map(|number| format!("{asked}app-{number}.example.com")).collect();
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                let mut names = names.iter().cycle();
                bencher.iter(|| black_box(index.find(black_box(names.next().map_or("", String::as_str)))));
            });
        }
        group.finish();
    }
}

/// As many VirtualServices as asked for, each with a host and two routes, over a hundred Services.
fn virtual_services(count: usize) -> String {
    const SERVICES: usize = 100;
    let mut text = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]"
        .to_owned();
    for number in 0..SERVICES {
        let _ = write!(
            text,
            "
---
apiVersion: v1
kind: Service
metadata: {{name: service-{number}, namespace: default}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: service-{number}, namespace: default, labels: {{kubernetes.io/service-name: service-{number}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints: [{{addresses: ['10.0.0.{number}'], conditions: {{ready: true}}}}]"
        );
    }
    for number in 0..count {
        let service = number % SERVICES;
        let _ = write!(
            text,
            "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app-{number}, namespace: default}}
spec:
  hosts: [app-{number}.example.com]
  gateways: [istio-system/edge]
  http:
  - match: [{{uri: {{prefix: /api/}}}}]
    rewrite: {{uri: /}}
    timeout: 5s
    route: [{{destination: {{host: service-{service}, port: {{number: 80}}}}}}]
  - route: [{{destination: {{host: service-{service}, port: {{number: 80}}}}}}]"
        );
    }
    text
}

fn compiling(criterion: &mut Criterion) {
    let mut reading = criterion.benchmark_group("VirtualServices, YAML to objects");
    reading.sample_size(10).warm_up_time(Duration::from_secs(1));
    for count in [1_000, 10_000] {
        let text = virtual_services(count);
        let id = BenchmarkId::from_parameter(count);
        reading.bench_function(id, |bencher| bencher.iter(|| portcullis_api::load("bench", &text)));
    }
    reading.finish();
    let mut group = criterion.benchmark_group("VirtualServices, objects to snapshot");
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    for count in [1_000, 10_000] {
        let objects: Objects =
            portcullis_api::load("bench", &virtual_services(count)).objects.into_iter().collect();
        let environment = Environment::for_tests();
        let compiled = compile(&objects, &environment);
        assert_eq!(compiled.diagnostics, [], "the configuration is good");
        let id = BenchmarkId::from_parameter(count);
        group.bench_function(id, |bencher| bencher.iter(|| compile(&objects, &environment)));
    }
    group.finish();
}

criterion_group!(benches, routes, hosts, compiling);
criterion_main!(benches);
