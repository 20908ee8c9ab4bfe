//! The rig tried on itself: both servers, reached without a gateway.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::*;
use crate::pki::Authority;
use crate::process::Running;

const WHO: &str = "select current_setting('cluster_name'), ssl from pg_stat_ssl where pid = pg_backend_pid()";

/// A server for `db.test`, its root's file, and the folder that holds it.
fn start(which: Which, name: &str) -> Option<(Postgres, PathBuf, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new("test root");
    let server = Postgres::start(which, name, &ca.server(&["db.test"]))?;
    let root = ca.write(folder.path(), "ca").unwrap();
    Some((server, root, folder))
}

fn answers(which: Which, major: &str) {
    let Some((server, root, _folder)) = start(which, "first") else { return };
    let verified = Psql::new("db.test", server.port()).ssl_mode("verify-full").root(&root);
    let who = verified.run(WHO).unwrap();
    assert_eq!((who.code(), who.stdout.as_str()), (0, "first|t\n"), "{}", who.stderr);
    let version = verified.run("show server_version").unwrap().stdout;
    assert!(major.is_empty() || version.starts_with(major), "{version}");

    let bound = verified.clone().with("channel_binding", "require").run(WHO).unwrap();
    assert_eq!(bound.stdout, "first|t\n", "{}", bound.stderr);
    let plain = verified.ssl_mode("disable").run(WHO).unwrap();
    assert_eq!(plain.stdout, "first|f\n", "{}", plain.stderr);

    let other = Psql::new("other.test", server.port()).ssl_mode("verify-full").root(&root).run(WHO).unwrap();
    assert_eq!(other.code(), 2);
    assert!(other.stderr.contains("does not match host name \"other.test\""), "{}", other.stderr);
    assert!(server.log().contains("connection authenticated"), "{}", server.log());
}

#[test]
fn the_system_server_answers_by_verified_tls() {
    answers(Which::System, "");
}

#[test]
fn the_embedded_server_answers_by_verified_tls() {
    answers(Which::Embedded18, "18");
}

#[test]
fn two_servers_run_side_by_side_and_end_with_their_values() {
    let Some((first, ..)) = start(Which::System, "first") else { return };
    let Some((second, ..)) = start(Which::System, "second") else { return };
    let name =
        |server: &Postgres| Psql::new("db.test", server.port()).run("show cluster_name").unwrap().stdout;
    assert_eq!((name(&first).as_str(), name(&second).as_str()), ("first\n", "second\n"));
    let (address, folder) = (first.address(), first.folder.path().to_owned());
    drop(first);
    assert!(TcpStream::connect(address).is_err());
    assert!(!folder.exists());
    assert_eq!(name(&second), "second\n");
}

#[test]
fn an_interrupted_query_stops_at_the_server() {
    let Some((server, root, _folder)) = start(Which::System, "first") else { return };
    let psql = Psql::new("db.test", server.port()).ssl_mode("verify-full").root(&root);
    let sleeper = psql.spawn("select pg_sleep(60)").unwrap();
    let count =
        "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'";
    let running = |expected: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        poll(deadline, || (psql.run(count).unwrap().stdout == expected).then_some(())).is_some()
    };
    assert!(running("1\n"), "the query began");
    sleeper.interrupt().unwrap();
    let finished = sleeper.finish(Duration::from_secs(20)).unwrap();
    assert!(finished.stderr.contains("canceling statement due to user request"), "{}", finished.stderr);
    assert!(running("0\n"), "the query ended");
}

#[test]
fn much_can_be_copied_through_a_pipe() {
    let Some((server, root, _folder)) = start(Which::System, "first") else { return };
    let psql = Psql::new("db.test", server.port()).ssl_mode("require").root(&root);
    let sql = "copy (select repeat('x', 1000) from generate_series(1, 10000)) to stdout";
    let copied =
        Running::spawn(psql.command().args(["-c", sql]).stdin(Stdio::null())).unwrap().finish(psql::LIMIT);
    assert_eq!(copied.unwrap().stdout.len(), 10_010_000);
}
