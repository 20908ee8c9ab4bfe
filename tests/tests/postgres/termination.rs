//! TLS that ends at the gateway: its certificate, then the server as the DestinationRule says.
//!
//! With TLS on both sides, SCRAM's channel binding compares the certificate that the client saw with the
//! server's own (RFC 5929 §4, `tls-server-end-point`). So a client must either not bind, or the gateway
//! must show the server's certificate.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::objects::{NAMESPACE, destination_rule, gateway, server, service, tcp_route};
use portcullis_tests::pki::{Authority, Leaf};
use portcullis_tests::postgres::{Postgres, Psql, Which};

use crate::clients::{psycopg, tokio_postgres};
use crate::rig::{PORT, WHO, reasoned, running};

/// Verifies the server's certificate by the Secret `ca`.
const VERIFIED: &str = "{tls: {mode: SIMPLE, sni: db.test, credentialName: ca, subjectAltNames: [db.test]}}";

/// Server `db` at `address`, behind a gateway that ends TLS as `pg.test` with `mode`, showing this
/// certificate, and speaks to it as `policy` says.
fn ending(mode: &str, (leaf, ca): (&Leaf, &Authority), policy: Option<&str>, address: SocketAddr) -> Gateway {
    let tls = format!("{{mode: {mode}, credentialName: pg}}");
    let objects = gateway("pg", &[server(PORT, "TLS", &["pg.test"], &tls)])
        + &tcp_route("pg", "pg", PORT, "pg.test", "db")
        + &service("db", PORT, "tcp-postgres", address)
        + &policy.map_or_else(String::new, |policy| destination_rule("db", policy))
        + "\n---\n"
        + &leaf.mutual_secret(NAMESPACE, "pg", ca)
        + "\n---\n"
        + &ca.secret(NAMESPACE, "ca");
    Setup::new(objects, &[PORT]).start()
}

fn psql(gateway: &Gateway, root: &Path) -> Psql {
    Psql::new("pg.test", gateway.port(PORT)).ssl_mode("verify-full").root(root)
}

#[tokio::test]
async fn simple_tls_ends_here_and_the_server_gets_what_its_rule_says() {
    let ca = Authority::new("gateway and databases");
    let folder = tempfile::tempdir().unwrap();
    let root = ca.write(folder.path(), "ca").unwrap();
    let leaf = ca.server(&["pg.test"]);
    let Some(db) = Postgres::start(Which::System, "db", &ca.server(&["db.test"])) else { return };
    for (policy, encrypted) in [(None, "f"), (Some(VERIFIED), "t")] {
        let gateway = ending("SIMPLE", (&leaf, &ca), policy, db.address());
        for mode in ["prefer", "require", "verify-full"] {
            let unbound = psql(&gateway, &root).ssl_mode(mode).with("channel_binding", "disable");
            let answer = unbound.run(WHO).unwrap();
            assert_eq!(answer.stdout, format!("db|{encrypted}\n"), "{policy:?} {mode}: {}", answer.stderr);
        }
        let name = tokio_postgres("pg.test", gateway.port(PORT), ca.der(), "disable").await;
        assert_eq!(name.unwrap(), "db");
        let clear = psql(&gateway, &root).ssl_mode("disable").run(WHO).unwrap();
        assert!(clear.stderr.contains("sslmode=require"), "{}", clear.stderr);
    }
}

#[test]
fn a_password_can_be_bound_to_a_certificate_that_both_show() {
    let ca = Authority::new("gateway and databases");
    let folder = tempfile::tempdir().unwrap();
    let root = ca.write(folder.path(), "ca").unwrap();
    let leaf = ca.server(&["db.test", "pg.test"]);
    let Some(db) = Postgres::start(Which::System, "db", &leaf) else { return };
    let gateway = ending("SIMPLE", (&leaf, &ca), Some(VERIFIED), db.address());
    let bound = psql(&gateway, &root).with("channel_binding", "require").run(WHO).unwrap();
    assert_eq!(bound.stdout, "db|t\n", "{}", bound.stderr);
    let gateway = ending("SIMPLE", (&ca.server(&["pg.test"]), &ca), Some(VERIFIED), db.address());
    let refused = psql(&gateway, &root).run(WHO).unwrap();
    assert!(refused.stderr.contains("SCRAM channel binding check failed"), "{}", refused.stderr);
}

#[test]
fn libpq_18_finds_its_protocol_in_either_negotiation() {
    let ca = Authority::new("gateway and databases");
    let folder = tempfile::tempdir().unwrap();
    let root = ca.write(folder.path(), "ca").unwrap();
    let leaf = ca.server(&["db.test", "pg.test"]);
    let Some(db) = Postgres::start(Which::System, "db", &leaf) else { return };
    for (policy, encrypted) in [(None, "False"), (Some(VERIFIED), "True")] {
        let gateway = ending("SIMPLE", (&leaf, &ca), policy, db.address());
        for negotiation in ["direct", "postgres"] {
            let parameters = format!("host='pg.test', sslmode='verify-full', sslnegotiation='{negotiation}'");
            let Some(answer) = psycopg(gateway.port(PORT), &root, &parameters) else { return };
            let expected = format!("\ndb {encrypted}\n");
            assert!(answer.stdout.ends_with(&expected), "{negotiation}: {}{}", answer.stdout, answer.stderr);
        }
    }
}

#[test]
fn a_session_whose_tls_ends_here_can_be_cancelled() {
    let ca = Authority::new("gateway and databases");
    let folder = tempfile::tempdir().unwrap();
    let root = ca.write(folder.path(), "ca").unwrap();
    let leaf = ca.server(&["db.test", "pg.test"]);
    let Some(db) = Postgres::start(Which::System, "db", &leaf) else { return };
    let direct = Psql::new("direct.test", db.port());
    for policy in [None, Some(VERIFIED)] {
        let gateway = ending("SIMPLE", (&leaf, &ca), policy, db.address());
        let sleeper = psql(&gateway, &root).spawn("select pg_sleep(603)").unwrap();
        assert!(running(&direct, "select pg_sleep(603)", "1"));
        sleeper.interrupt().unwrap();
        let finished = sleeper.finish(Duration::from_secs(20)).unwrap();
        assert!(finished.stderr.contains("canceling statement due to user request"), "{}", finished.stderr);
        assert!(running(&direct, "select pg_sleep(603)", "0"));
    }
}

#[test]
fn mutual_tls_wants_the_clients_certificate() {
    let ca = Authority::new("gateway and databases");
    let folder = tempfile::tempdir().unwrap();
    let root = ca.write(folder.path(), "ca").unwrap();
    let (certificate, key) = ca.client("ann", &["ann.test"]).write(folder.path(), "ann").unwrap();
    let (other, other_key) =
        Authority::new("other").client("eve", &["eve.test"]).write(folder.path(), "eve").unwrap();
    let leaf = ca.server(&["db.test", "pg.test"]);
    let Some(db) = Postgres::start(Which::System, "db", &leaf) else { return };
    for (policy, encrypted) in [(None, "f"), (Some(VERIFIED), "t")] {
        let gateway = ending("MUTUAL", (&leaf, &ca), policy, db.address());
        let with = psql(&gateway, &root).certificate(&certificate, &key).run(WHO).unwrap();
        assert_eq!(with.stdout, format!("db|{encrypted}\n"), "{}", with.stderr);
        for refused in [psql(&gateway, &root), psql(&gateway, &root).certificate(&other, &other_key)] {
            assert_eq!(refused.run(WHO).unwrap().code(), 2);
        }
        reasoned(&gateway, "TLS handshake failed");
    }
}

#[test]
fn a_client_whose_tls_ends_here_is_told_that_the_server_is_away() {
    let ca = Authority::new("gateway");
    let folder = tempfile::tempdir().unwrap();
    let root = ca.write(folder.path(), "ca").unwrap();
    // Nobody listens there: the port of the discard service.
    let gateway = ending("SIMPLE", (&ca.server(&["pg.test"]), &ca), None, ([127, 0, 0, 1], 9).into());
    let answer = psql(&gateway, &root).run(WHO).unwrap();
    let told = "FATAL:  the gateway could not connect to the database server";
    assert!(answer.stderr.contains(told), "{}", answer.stderr);
    let line = reasoned(&gateway, "VirtualService default/pg: remote connection failure");
    assert_eq!(
        (&line["response_flags"], &line["requested_server_name"]),
        (&"URX,UF".into(), &"pg.test".into())
    );
}
