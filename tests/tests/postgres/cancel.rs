//! Ctrl-C stops the query at the server, whichever way the request to cancel comes.

use std::process::Command;
use std::time::{Duration, Instant};

use portcullis_tests::postgres::{PASSWORD, Psql, USER, Which};
use portcullis_tests::process::{Running, poll};

use crate::clients::python;
use crate::rig::{Databases, PORT, logged, reasoned, running};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn psql_cancels_its_own_query_only() {
    let Some(databases) = Databases::start(Which::System, &["a.test", "b.test"]) else { return };
    let [a, b] = [0, 1].map(|place| Psql::new("direct.test", databases.servers[place].port()));
    let first = databases.psql("a.test", "verify-full").spawn("select pg_sleep(600)").unwrap();
    let _second = databases.psql("b.test", "require").spawn("select pg_sleep(601)").unwrap();
    assert!(running(&a, "select pg_sleep(600)", "1") && running(&b, "select pg_sleep(601)", "1"));
    first.interrupt().unwrap();
    let finished = first.finish(LIMIT).unwrap();
    assert!(finished.stderr.contains("canceling statement due to user request"), "{}", finished.stderr);
    assert!(running(&a, "select pg_sleep(600)", "0"), "the query stopped at the server");
    assert!(running(&b, "select pg_sleep(601)", "1"), "the other goes on");
    // libpq 17 and later encrypt the request; then it is a session like any other.
    if logged_cancel(&databases) {
        reasoned(&databases.gateway, "taken by 2 of 2 servers");
    }
}

fn logged_cancel(databases: &Databases) -> bool {
    let line = logged(&databases.gateway, "end of the request to cancel", |_| true);
    line["requested_server_name"].is_null()
}

#[test]
fn an_encrypted_request_to_cancel_passes_as_tls() {
    let Some(databases) = Databases::start(Which::Embedded18, &["a.test"]) else { return };
    let Some(python) = python() else { return };
    let direct = Psql::new("direct.test", databases.servers[0].port());
    let script = format!(
        "
import psycopg, threading
connection = psycopg.connect(host='a.test', hostaddr='127.0.0.1', port={}, user='{USER}', password='{PASSWORD}',
                             dbname='{USER}', sslmode='verify-full', sslrootcert='{}')
sleeping = threading.Event()
def cancel():
    input()
    connection.cancel_safe(timeout=10)
threading.Thread(target=cancel).start()
try:
    connection.execute('select pg_sleep(602)')
except psycopg.errors.QueryCanceled as error:
    print(error)
",
        databases.gateway.port(PORT),
        databases.root.display()
    );
    let (stop, stopped) = std::io::pipe().map(|(read, write)| (write, read)).unwrap();
    let mut command = Command::new(python);
    command.args(["-c", &script]).stdin(stopped);
    let client = Running::spawn(&mut command).unwrap();
    drop(command);
    assert!(running(&direct, "select pg_sleep(602)", "1"));
    drop_line(stop);
    let finished = client.finish(LIMIT).unwrap();
    assert!(finished.stdout.contains("canceling statement"), "{}{}", finished.stdout, finished.stderr);
    let named = |lines: &[serde_json::Value]| {
        lines.iter().filter(|line| line["requested_server_name"] == "a.test").count() == 2
    };
    databases.gateway.log_until("two connections with a name", named);
}

/// Lets the script read a line.
fn drop_line(mut pipe: impl std::io::Write) {
    writeln!(pipe).unwrap();
}

#[test]
fn sessions_are_forgotten_when_they_end() {
    let Some(databases) = Databases::start(Which::System, &["a.test", "b.test"]) else { return };
    for host in ["a.test", "b.test"] {
        assert_eq!(databases.psql(host, "require").run("select 1").unwrap().stdout, "1\n");
    }
    databases.gateway.log_lines(2);
    let mut stream = std::net::TcpStream::connect(databases.gateway.address(PORT)).unwrap();
    std::io::Write::write_all(&mut stream, b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x01").unwrap();
    let closed = poll(Instant::now() + LIMIT, || {
        matches!(std::io::Read::read(&mut stream, &mut [0]), Ok(0)).then_some(())
    });
    assert!(closed.is_some());
    reasoned(&databases.gateway, "cancel process 1 from an address without sessions");
}
