//! Resources come, change and go, and the gateway with them.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use portcullis_tests::cluster::namespace_address;
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{routes, server, service, site, to};
use portcullis_tests::objects;
use portcullis_tests::pki::Authority;
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::{any_cluster, await_answer, await_following, await_watches, follow};

/// Asks a host over TLS; none while the handshake fails. Trusts `authority` alone, and so tells which certificate is served.
pub(crate) fn over_tls(gateway: &Gateway, host: &str, authority: &Authority) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
    let mut stream = TcpStream::connect(gateway.address(443)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    tls.complete_io(&mut stream).ok()?;
    Some(Raw::over(StreamOwned::new(tls, stream)).get("/", host).text())
}

#[test]
fn what_is_applied_is_served_and_what_is_deleted_is_not() {
    let Some((_turn, cluster)) = any_cluster() else { return };
    let address = namespace_address();
    let (one, two) = (Upstream::serve_on(address, |_| ok("one")), Upstream::serve_on(address, |_| ok("two")));
    let gateway = follow(&cluster, &cluster.account(), &[80, 443]);
    if cluster.is_own() {
        // The kinds are not installed yet.
        await_watches(&gateway, "not_installed", 6.0);
    }
    cluster.install_crds();
    await_following(&gateway);

    let (old, new) = (Authority::new("old root"), Authority::new("new root"));
    let https = objects::server(443, "HTTPS", &["a.test"], "{mode: SIMPLE, credentialName: a}");
    cluster.apply(&old.server(&["a.test"]).tls_secret("istio-system", "a"));
    cluster.apply(&objects::gateway("gw", &[server(80, &["*"]), https]));
    cluster.apply(&service("one", "http", &[one.address()]));
    cluster.apply(&service("two", "http", &[two.address()]));
    cluster.apply(&routes("app", &["a.test"], &[to("one", "")]));
    await_answer("a route is live", &gateway, "a.test", |answer| answer.text() == "one");
    let secure = poll(Instant::now() + LIMIT, || over_tls(&gateway, "a.test", &old));
    assert_eq!(secure.as_deref(), Some("one"));

    cluster.apply(&routes("app", &["a.test"], &[to("two", "")]));
    await_answer("a route has changed", &gateway, "a.test", |answer| answer.text() == "two");

    cluster.apply(&new.server(&["a.test"]).tls_secret("istio-system", "a"));
    assert_eq!(poll(Instant::now() + LIMIT, || over_tls(&gateway, "a.test", &new)).as_deref(), Some("two"));
    assert_eq!(over_tls(&gateway, "a.test", &old), None, "the old certificate is gone");

    cluster.delete("VirtualService", "default", "app");
    await_answer("a route is gone", &gateway, "a.test", |answer| answer.status == 404);
    // The project's rules are enough.
    let log = gateway.errors().to_lowercase();
    assert!(!log.contains("forbidden"), "{log}");
}

#[test]
fn rights_that_come_late_are_made_use_of() {
    let Some((_turn, cluster)) = any_cluster() else { return };
    let address = namespace_address();
    let upstream = Upstream::serve_on(address, |_| ok("app"));
    let kubeconfig = cluster.account();
    cluster.install_crds();
    cluster.apply(&site(upstream.address(), ""));
    cluster.delete("ClusterRoleBinding", "", "portcullis");
    // Refusals are doubted for a while, and then told.
    let gateway = follow(&cluster, &kubeconfig, &[80]);
    await_watches(&gateway, "forbidden", 8.0);
    assert!(gateway.page("Admin", "/diagnostics").text().contains("WatchForbidden"));
    cluster.account();
    await_answer("the route is live", &gateway, "a.test", |answer| answer.text() == "app");
}

/// Lets the gateway's account read one namespace.
fn binding(namespace: &str) -> String {
    format!(
        "
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: routing, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: portcullis}}
subjects: [{{kind: ServiceAccount, name: portcullis, namespace: istio-system}}]"
    )
}

#[test]
fn a_restricted_gateway_needs_no_right_beyond_its_namespaces() {
    let Some((_turn, cluster)) = any_cluster() else { return };
    let address = namespace_address();
    let upstream = Upstream::serve_on(address, |_| ok("app"));
    let kubeconfig = cluster.account();
    cluster.install_crds();
    cluster.delete("ClusterRoleBinding", "", "portcullis");
    cluster.apply(&(binding("istio-system") + &binding("default")));
    // Gateways select the labels of the gateway's own Pod.
    let site = site(upstream.address(), "").replace("istio: ingressgateway", "istio: edge");
    cluster.apply(&site);
    cluster.apply(
        &routes("app", &["b.test"], &[to("app.default.svc.cluster.local", "")])
            .replace("app, namespace: default", "b, namespace: kube-public"),
    );
    cluster.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: edge-1, namespace: istio-system, labels: {istio: edge}}
spec: {serviceAccountName: portcullis, containers: [{name: gateway, image: portcullis}]}",
    );
    let arguments = ["--kubernetes", "--watch-namespace", &cluster.name_of("default"), "--pod", "edge-1"];
    let setup = Setup::new("", &[80]).arguments(&arguments).variable("KUBECONFIG", &kubeconfig);
    let gateway = cluster.place(setup).start();
    gateway.await_samples("everything is followed", |samples| {
        samples.sum("portcullis_cluster_watches", &[("state", "following")]) >= 19.0
    });
    await_watches(&gateway, "forbidden", 0.0);
    await_answer("the route is live", &gateway, "a.test", |answer| answer.text() == "app");
    let all = gateway.page("Admin", "/config_dump").text();
    let app = cluster.name_of("app.default.svc.cluster.local");
    assert!(all.contains(&app) && !all.contains("b.test"), "{all}");
}
