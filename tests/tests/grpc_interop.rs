//! gRPC's own interoperability tests, client and server from grpc-go, with the gateway between them.
//!
//! The list is that of the interop test descriptions in the grpc repository, without the cases that need an
//! account at a cloud or more than one server.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{LIMIT, Setup};
use portcullis_tests::http::{routes, server, service, to};
use portcullis_tests::objects::{self, destination_rule};
use portcullis_tests::pki::Authority;
use portcullis_tests::process::{Running, poll};

const CASES: &[&str] = &[
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
    "channel_soak",
];

/// The folder of the programs; `None`, with a word on standard error, where they were not built.
fn programs() -> Option<PathBuf> {
    let folder = std::env::var_os("PORTCULLIS_TEST_GRPC_INTEROP").map(PathBuf::from);
    if folder.is_none() {
        // Past the macros, whose output the test runner hides from a test that passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the interop tests need PORTCULLIS_TEST_GRPC_INTEROP (cargo xtask test)"
        );
    }
    folder
}

/// The server, on a port that was free a moment ago: it cannot be given a socket, so when somebody else was
/// quicker it is tried again.
fn start_server(program: &Path, arguments: &[&str]) -> (Running, SocketAddr) {
    for _ in 0..5 {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let port = format!("-port={}", free.port());
        let server = Running::spawn(Command::new(program).arg(port).args(arguments)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        if poll(deadline, || TcpStream::connect(free).ok()).is_some() {
            return (server, free);
        }
    }
    panic!("the server does not listen");
}

/// Runs every case at the same time, and names all that failed.
fn run_cases(program: &Path, arguments: &[String]) {
    let start = |case: &&'static str| {
        let mut command = Command::new(program);
        command.args(arguments).arg(format!("-test_case={case}"));
        // Many clients at once on few cores are slow without being wrong.
        command.args(["-soak_iterations=50", "-soak_per_iteration_max_acceptable_latency_ms=10000"]);
        command.arg("-soak_overall_timeout_seconds=30");
        (*case, Running::spawn(&mut command).unwrap())
    };
    let running: Vec<_> = CASES.iter().map(start).collect();
    let ended = running.into_iter().map(|(case, client)| (case, client.finish(2 * LIMIT).unwrap()));
    let failed: Vec<_> = ended.filter(|(_, finished)| finished.code() != 0).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_case_passes_in_plaintext() {
    let Some(programs) = programs() else { return };
    let (_server, address) = start_server(&programs.join("server"), &[]);
    let yaml = objects::gateway("gw", &[server(80, &["*"])])
        + &routes("grpc", &["*"], &[to("grpc", "")])
        + &service("grpc", "grpc", &[address]);
    let gateway = Setup::new(yaml, &[80]).start();
    let host = ["-server_host=127.0.0.1".to_owned(), format!("-server_port={}", gateway.port(80))];
    run_cases(&programs.join("client"), &host);
    let samples = gateway.samples();
    for status in ["0", "2", "12"] {
        let labels = [("request_protocol", "grpc"), ("grpc_response_status", status)];
        assert!(samples.sum("istio_requests_total", &labels) >= 1.0, "{status}: {}", samples.counters());
    }
}

/// TLS on both sides, each with its own authority.
#[test]
fn every_case_passes_over_tls() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (outside, inside) = (Authority::new("outside"), Authority::new("inside"));
    let (certificate, key) =
        inside.server(&["grpc.default.svc.cluster.local"]).write(folder.path(), "server").unwrap();
    let certificate = format!("-tls_cert_file={}", certificate.display());
    let key = format!("-tls_key_file={}", key.display());
    let (_server, address) = start_server(&programs.join("server"), &["-use_tls", &certificate, &key]);
    let https = objects::server(443, "HTTPS", &["grpc.test"], "{mode: SIMPLE, credentialName: outside}");
    let policy = "{tls: {mode: SIMPLE, credentialName: inside, sni: grpc.default.svc.cluster.local, \
                   subjectAltNames: [grpc.default.svc.cluster.local]}}";
    let yaml = objects::gateway("gw", &[https])
        + &routes("grpc", &["grpc.test"], &[to("grpc", "")])
        + &service("grpc", "grpc", &[address])
        + &destination_rule("grpc", policy)
        + "\n---\n"
        + &outside.server(&["grpc.test"]).tls_secret(objects::NAMESPACE, "outside")
        + "\n---\n"
        + &inside.secret(objects::NAMESPACE, "inside");
    let gateway = Setup::new(yaml, &[443]).start();
    let authority = outside.write(folder.path(), "outside").unwrap();
    run_cases(
        &programs.join("client"),
        &[
            "-server_host=127.0.0.1".to_owned(),
            format!("-server_port={}", gateway.port(443)),
            "-use_tls".to_owned(),
            "-use_test_ca".to_owned(),
            format!("-ca_file={}", authority.display()),
            "-server_host_override=grpc.test".to_owned(),
        ],
    );
}
