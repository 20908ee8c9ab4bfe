//! What `psql` gets in each `sslmode`, and what the log says of it.

use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis_tests::objects::{gateway, server, tcp_route};
use portcullis_tests::postgres::{Psql, Which};
use portcullis_tests::process::run;

use crate::rig::{Databases, PORT, WHO, drops, logged, reasoned, running};

#[test]
fn every_sslmode_reaches_the_server_or_says_why_not() {
    let Some(databases) = Databases::start(Which::System, &["a.test", "b.test"]) else { return };
    for mode in ["allow", "prefer", "require", "verify-ca", "verify-full"] {
        for (host, name) in [("a.test", "a"), ("B.Test", "b")] {
            let answer = databases.psql(host, mode).run(WHO).unwrap();
            assert_eq!(answer.stdout, format!("{name}|t\n"), "{mode} {host}: {}", answer.stderr);
        }
    }
    // The certificate is the server's own, so SCRAM can be bound to it.
    let bound = databases.psql("a.test", "verify-full").with("channel_binding", "require").run(WHO).unwrap();
    assert_eq!(bound.stdout, "a|t\n", "{}", bound.stderr);

    let clear = databases.psql("a.test", "disable").run(WHO).unwrap();
    assert_eq!(clear.code(), 2);
    for part in ["FATAL:  this port accepts PostgreSQL sessions only with TLS", "SNI", "sslmode=require"] {
        assert!(clear.stderr.contains(part), "{part} in {}", clear.stderr);
    }
    let line = reasoned(&databases.gateway, "a PostgreSQL session without TLS");
    assert_eq!(line["response_flags"], "NR");
    assert_eq!(line["response_code_details"], "filter_chain_not_found");
}

#[test]
fn a_session_leaves_one_line_and_its_counts() {
    let Some(databases) = Databases::start(Which::System, &["a.test"]) else { return };
    assert_eq!(databases.psql("a.test", "require").run("select 1").unwrap().stdout, "1\n");
    let lines = databases.gateway.log_lines(1);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!(line["response_flags"], "-");
    assert_eq!(line["requested_server_name"], "a.test");
    assert_eq!(line["upstream_cluster"], "outbound|5432||a.default.svc.cluster.local");
    assert_eq!(line["upstream_host"], databases.servers[0].address().to_string());
    let (received, sent) = (line["bytes_received"].as_f64().unwrap(), line["bytes_sent"].as_f64().unwrap());
    assert!(received > 500.0 && sent > 500.0, "{line}");
    let samples = databases.gateway.samples();
    let labels = [
        ("destination_service", "a.default.svc.cluster.local"),
        ("request_protocol", "tcp"),
        ("response_flags", "-"),
    ];
    for (family, expected) in [
        ("istio_tcp_connections_opened_total", 1.0),
        ("istio_tcp_connections_closed_total", 1.0),
        ("istio_tcp_received_bytes_total", received),
        ("istio_tcp_sent_bytes_total", sent),
    ] {
        assert_eq!(samples.sum(family, &labels), expected, "{family}");
    }
}

#[test]
fn unknown_and_missing_names_get_an_alert_and_the_log_names_the_hosts() {
    let Some(databases) = Databases::start(Which::System, &["a.test", "b.test"]) else { return };
    let unknown = databases.psql("nobody.test", "require").run(WHO).unwrap();
    assert_eq!(unknown.code(), 2);
    assert!(unknown.stderr.contains("unrecognized name"), "{}", unknown.stderr);
    let line =
        logged(&databases.gateway, "nobody.test", |line| line["requested_server_name"] == "nobody.test");
    assert_eq!(line["response_flags"], "NR");
    let reason = line["portcullis_reason"].as_str().unwrap();
    assert!(reason.starts_with("no server has this host name; hosts of port "), "{reason}");
    assert!(reason.ends_with(": a.test b.test"), "{reason}");

    let without = databases.psql("a.test", "require").with("sslsni", "0").run(WHO).unwrap();
    assert!(without.stderr.contains("unrecognized name"), "{}", without.stderr);
    databases
        .gateway
        .logged(|line| line["portcullis_reason"].as_str().is_some_and(|why| why.contains("(SNI)")));
    // A client that prefers TLS asks again in clear, and shows both answers.
    let prefers = databases.psql("nobody.test", "prefer").run(WHO).unwrap();
    assert!(prefers.stderr.contains("only with TLS"), "{}", prefers.stderr);
    assert_eq!(drops(&databases.gateway, "no_filter_chain"), 3.0);
    assert_eq!(drops(&databases.gateway, "postgres_no_route"), 1.0);
    assert_eq!(databases.gateway.samples().sum("istio_tcp_connections_opened_total", &[]), 0.0);
}

#[test]
fn a_plaintext_server_may_share_the_port() {
    let Some(databases) = Databases::start(Which::System, &["a.test", "clear.test"]) else { return };
    let tcp = server(PORT, "TCP", &["*"], "{}").replace(", tls: {}", "");
    // Older Gateways come first, then names: behind TLS a plaintext server is taken in, before it TLS is not.
    let objects = gateway("plain", &[tcp]) + &tcp_route("plain", "plain", PORT, "clear.test", "clear");
    databases.gateway.apply("clear.yaml", &objects);
    for (host, mode, expected) in [
        ("a.test", "require", "a|t\n"),
        ("a.test", "disable", "clear|f\n"),
        ("unknown.test", "prefer", "clear|f\n"),
    ] {
        let answer = databases.psql(host, mode).run(WHO).unwrap();
        assert_eq!(answer.stdout, expected, "{host} {mode}: {}", answer.stderr);
    }
    // A session in clear is cancelled as any other.
    let direct = Psql::new("direct.test", databases.servers[1].port());
    let sleeper = databases.psql("clear.test", "disable").spawn("select pg_sleep(604)").unwrap();
    assert!(running(&direct, "select pg_sleep(604)", "1"));
    sleeper.interrupt().unwrap();
    let finished = sleeper.finish(Duration::from_secs(20)).unwrap();
    assert!(finished.stderr.contains("canceling statement due to user request"), "{}", finished.stderr);
}

#[test]
fn openssl_sees_the_databases_own_certificate() {
    for which in [Which::System, Which::Embedded18] {
        let Some(databases) = Databases::start(which, &["a.test"]) else { continue };
        shows_certificate(&databases, &["-starttls", "postgres"], &[]);
        // Servers since 17 take TLS from the first byte.
        if which == Which::Embedded18 {
            shows_certificate(&databases, &["-alpn", "postgresql"], &["ALPN protocol: postgresql"]);
        }
    }
}

fn shows_certificate(databases: &Databases, arguments: &[&str], parts: &[&str]) {
    let address = databases.gateway.address(PORT).to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-servername", "a.test"]).args(arguments);
    command.arg("-CAfile").arg(&databases.root).stdin(Stdio::null());
    let shown = run(&mut command, Duration::from_secs(20)).unwrap();
    for part in ["subject=CN = a.test", "Verification: OK"].iter().chain(parts) {
        assert!(shown.stdout.contains(part), "{part} in {}{}", shown.stdout, shown.stderr);
    }
}
