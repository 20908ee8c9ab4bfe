//! One change after another: what the [`Compiler`] makes of each state is what compiling that state alone makes, and
//! what a change does not touch stays the same object.

mod generate;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use portcullis_api::Object;
use portcullis_compile::{Compiler, Environment, Objects, Work, compile};
use portcullis_snapshot::action::{Destination, Destinations, HeaderOps, Target};
use portcullis_snapshot::listener::{ChainService, FilterChain};
use portcullis_snapshot::{ClusterId, Snapshot};
use proptest::prelude::*;

use crate::generate::{Step, object, step};

/// There from the beginning on: Gateways with every kind of server, and something behind them.
const BASE: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: second, namespace: istio-system}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.com'], tls: {httpsRedirect: true}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tls, namespace: istio-system}
spec:
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: cert}}
  - {port: {number: 443, name: other, protocol: HTTPS}, hosts: ['*.com'], tls: {mode: SIMPLE, credentialName: cert}}
  - {port: {number: 443, name: pass, protocol: TLS}, hosts: [b.com], tls: {mode: PASSTHROUGH}}
  - {port: {number: 5432, name: tcp, protocol: TCP}, hosts: ['*']}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: app}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: app}
spec: {ports: [{name: tcp, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: base, namespace: app}
spec: {hosts: [base.com, a.com], gateways: [istio-system/gw], http: [{route: [{destination: {host: a}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bytes, namespace: app}
spec: {hosts: ['*'], gateways: [istio-system/tls], tcp: [{route: [{destination: {host: b}}]}]}
";

fn loaded(text: &str) -> Vec<Object> {
    portcullis_api::load("changes.yaml", text).objects
}

fn take(step: &Step, objects: &mut Objects, environment: &mut Environment) {
    match step {
        Step::Put(texts) => {
            for object in loaded(&texts.join("\n---\n")) {
                objects.update(object);
            }
        }
        Step::Remove(kind, at) => {
            let names = objects.names(*kind);
            if let Some((namespace, name)) = names.get(at.index(names.len().max(1))) {
                let (namespace, name) = ((*namespace).to_owned(), (*name).to_owned());
                objects.remove(*kind, &namespace, &name);
            }
        }
        // Another object that says the same: only the line it stands on differs.
        Step::Reread => {
            for object in loaded(&format!("\n\n{BASE}")) {
                objects.update(object);
            }
        }
        Step::Answer(which) => {
            let addresses = [&["10.2.0.1"][..], &["10.2.0.2", "10.2.0.1"], &[]][usize::from(*which)];
            let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
            environment.resolved.insert("name.example".to_owned(), addresses);
        }
        Step::World(0) => environment.now += Duration::from_secs(1),
        Step::World(1) => environment.ports = None,
        Step::World(_) => {
            environment.workload.labels.insert("version".to_owned(), "v2".to_owned());
        }
    }
}

/// Everything that serving depends on, with clusters by name: identifiers may differ.
fn whole(snapshot: &Snapshot) -> String {
    let mut out = portcullis_snapshot::text::snapshot(snapshot);
    for listener in &snapshot.listeners {
        let _ = writeln!(out, "{:?} {:?} {:?}", listener.key(), listener.name, listener.proxy_protocol);
        let tls = listener.tls.sorted().into_iter().map(|(_, chain)| chain);
        for chain in listener.plain.iter().chain(tls) {
            chain_text(&mut out, snapshot, chain);
        }
    }
    for cluster in snapshot.clusters.iter() {
        let _ = writeln!(out, "{cluster:?}");
        assert!(Arc::ptr_eq(cluster, snapshot.cluster_named(&cluster.name).expect("by name")));
    }
    let _ = writeln!(out, "{:?}", snapshot.settings);
    out
}

fn chain_text(out: &mut String, snapshot: &Snapshot, chain: &FilterChain) {
    let _ = writeln!(out, "{} {} {} {:?}", chain.name, chain.origin, chain.declared_port, chain.tls);
    match &chain.service {
        ChainService::Http(table) => {
            let _ = writeln!(out, "{} {} {:?}", table.name, table.grpc_web, table.left_out);
            for (pattern, host) in table.hosts.sorted() {
                let _ = writeln!(out, "{pattern} {} {}", host.name, host.require_tls);
                for route in host.routes() {
                    let _ = writeln!(out, "{}", named(&format!("{route:?}"), snapshot));
                }
            }
        }
        service => {
            let _ = writeln!(out, "{}", named(&format!("{service:?}"), snapshot));
        }
    }
}

/// `text` with names in place of identifiers.
fn named(text: &str, snapshot: &Snapshot) -> String {
    let mut parts = text.split("ClusterId(");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (id, rest) = part.split_once(')').expect("a number in brackets");
        let id = ClusterId(id.parse().expect("a number"));
        out += &portcullis_snapshot::text::destinations(
            snapshot,
            &Destinations::One(Destination {
                target: Target::Cluster(id),
                request_headers: HeaderOps::default(),
                response_headers: HeaderOps::default(),
            }),
        );
        out += rest;
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_state_is_compiled_as_if_it_were_the_first(
        start in prop::collection::vec(object(), 0..20),
        steps in prop::collection::vec(step(), 1..24),
        services in any::<bool>(),
    ) {
        let mut environment = Environment::for_tests();
        if services {
            environment.ports = None;
        }
        environment.now = UNIX_EPOCH;
        let mut objects: Objects = loaded(BASE).into_iter().collect();
        take(&Step::Put(start), &mut objects, &mut environment);
        let mut compiler = Compiler::default();
        compiler.compile(&objects, &environment);
        for step in &steps {
            take(step, &mut objects, &mut environment);
            let built = compiler.compile(&objects, &environment);
            let expected = compile(&objects, &environment);
            prop_assert_eq!(whole(&built.snapshot), whole(&expected.snapshot), "after {:?}", step);
            prop_assert_eq!(built.wanted_names, expected.wanted_names);
            prop_assert_eq!(built.dns_refresh_rate, expected.dns_refresh_rate);
        }
    }
}

/// Applications `app-0` to `app-99`, each with a host of its own.
fn many() -> Objects {
    let mut texts = vec![BASE.to_owned()];
    for number in 0..100 {
        texts.push(app_service(number) + &app_slice(number, 1) + &app_route(number, "5s"));
    }
    loaded(&texts.join("\n---\n")).into_iter().collect()
}

fn app_service(number: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: app-{number}, namespace: app}}\nspec: {{ports: [{{name: \
         http, port: 80}}]}}\n---\n"
    )
}

fn app_slice(number: usize, last: usize) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: app-{number}, namespace: app, labels: \
         {{kubernetes.io/service-name: app-{number}}}}}\naddressType: IPv4\nports: [{{name: http, port: 80}}]\n\
         endpoints: [{{addresses: [10.0.{number}.{last}]}}]\n---\n"
    )
}

fn app_route(number: usize, timeout: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: app-{number}, namespace: \
         app}}\nspec: {{hosts: [app-{number}.com], gateways: [istio-system/gw], http: [{{timeout: {timeout}, route: \
         [{{destination: {{host: app-{number}}}}}]}}]}}\n"
    )
}

/// The snapshots before and after these objects are put beside many, and what was done for the second.
fn before_and_after(texts: &str) -> (Snapshot, Snapshot, Work) {
    let (mut objects, environment, mut compiler) = (many(), Environment::for_tests(), Compiler::default());
    let before = compiler.compile(&objects, &environment);
    assert_eq!(before.work, Work::Whole);
    for object in loaded(texts) {
        objects.update(object);
    }
    let after = compiler.compile(&objects, &environment);
    assert_eq!(whole(&after.snapshot), whole(&compile(&objects, &environment).snapshot));
    (before.snapshot, after.snapshot, after.work)
}

/// Names of the clusters that are another object than before.
fn other_clusters<'a>(before: &Snapshot, after: &'a Snapshot) -> Vec<&'a str> {
    let same = |name: &str, cluster| before.cluster_named(name).is_some_and(|old| Arc::ptr_eq(old, cluster));
    after
        .clusters
        .iter()
        .filter(|cluster| !same(&cluster.name, cluster))
        .map(|cluster| &*cluster.name)
        .collect()
}

/// Patterns of the virtual hosts of port 80 that are another object than before.
fn other_hosts(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let [before, after] = [before, after].map(|snapshot| {
        match &snapshot.listeners[0].plain.as_ref().expect("a chain").service {
            ChainService::Http(table) => Arc::clone(table),
            service => panic!("{service:?}"),
        }
    });
    let other = |(pattern, host): (String, &Arc<_>)| {
        let same = before.hosts.pattern(&pattern).is_some_and(|old| Arc::ptr_eq(old, host));
        (!same).then_some(pattern)
    };
    after.hosts.sorted().into_iter().filter_map(other).collect()
}

#[test]
fn an_endpoint_makes_one_cluster_and_no_route() {
    let (before, after, work) = before_and_after(&app_slice(7, 2));
    assert_eq!(work, Work::Part { cluster_hosts: 1, virtual_hosts: 0 });
    assert_eq!(other_clusters(&before, &after), ["outbound|80||app-7.app.svc.cluster.local"]);
    assert!(before.listeners.iter().zip(&after.listeners).all(|(old, new)| Arc::ptr_eq(old, new)));
}

#[test]
fn a_virtual_service_makes_its_own_hosts_and_no_cluster() {
    let (before, after, work) = before_and_after(&app_route(7, "6s"));
    assert_eq!(work, Work::Part { cluster_hosts: 0, virtual_hosts: 1 });
    assert_eq!(other_clusters(&before, &after), [""; 0]);
    assert_eq!(other_hosts(&before, &after), ["app-7.com"]);
}

#[test]
fn an_application_that_comes_changes_nothing_of_the_others() {
    let new = app_service(500) + &app_slice(50, 9).replace("app-50", "app-500") + &app_route(500, "5s");
    let (before, after, work) = before_and_after(&new);
    assert_eq!(work, Work::Part { cluster_hosts: 1, virtual_hosts: 1 });
    assert_eq!(other_clusters(&before, &after), ["outbound|80||app-500.app.svc.cluster.local"]);
    assert_eq!(other_hosts(&before, &after), ["app-500.com"]);
}

#[test]
fn what_is_read_again_and_says_the_same_is_no_change() {
    let (before, after, work) = before_and_after(&format!("\n\n{}{}", app_service(7), app_slice(7, 1)));
    assert_eq!(work, Work::Part { cluster_hosts: 0, virtual_hosts: 0 });
    assert_eq!(other_clusters(&before, &after), [""; 0]);
}
