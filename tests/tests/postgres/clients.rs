//! Other clients than `psql`: libpq 18 from Python, tokio-postgres, node-postgres.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use portcullis_tests::postgres::{PASSWORD, USER, Which};
use portcullis_tests::process::{Finished, run};
use rustls::pki_types::CertificateDer;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::rig::{Databases, PORT, WHO};

const LIMIT: Duration = Duration::from_secs(60);

/// The Python that has psycopg.
pub(crate) fn python() -> Option<PathBuf> {
    part("PORTCULLIS_TEST_PYTHON", "python/bin/python")
}

/// A part that `cargo xtask setup` brings, where it says or where it customarily puts it.
fn part(variable: &str, place: &str) -> Option<PathBuf> {
    let customary = || {
        [Some("/var/cache".into()), home_cache()]
            .into_iter()
            .flatten()
            .map(|cache: PathBuf| cache.join("portcullis").join(place))
    };
    let found =
        std::env::var_os(variable).map(PathBuf::from).or_else(|| customary().find(|path| path.exists()));
    if found.is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {variable} is not set; `cargo xtask setup` fetches the part"
        );
    }
    found
}

fn home_cache() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))
}

/// What psycopg, with a libpq of its own, gets from [`WHO`].
pub(crate) fn psycopg(port: u16, root: &Path, parameters: &str) -> Option<Finished> {
    let script = format!(
        "import psycopg; print(psycopg.pq.version()); print(*psycopg.connect(hostaddr='127.0.0.1', port={}, \
         user='{USER}', password='{PASSWORD}', dbname='{USER}', sslrootcert='{}', {parameters}).execute(\"{WHO}\").fetchone())",
        port,
        root.display()
    );
    Some(run(Command::new(python()?).args(["-c", &script]), LIMIT).unwrap())
}

#[test]
fn libpq_18_negotiates_either_way() {
    let Some(databases) = Databases::start(Which::Embedded18, &["a.test", "b.test"]) else { return };
    for negotiation in ["direct", "postgres"] {
        for host in ["a", "b"] {
            let parameters =
                format!("host='{host}.test', sslmode='verify-full', sslnegotiation='{negotiation}'");
            let Some(answer) = psycopg(databases.gateway.port(PORT), &databases.root, &parameters) else {
                return;
            };
            assert!(
                answer.stdout.ends_with(&format!("\n{host} True\n")),
                "{}{}",
                answer.stdout,
                answer.stderr
            );
        }
    }
    let refused = psycopg(
        databases.gateway.port(PORT),
        &databases.root,
        "host='c.test', sslmode='require', sslnegotiation='direct'",
    )
    .unwrap();
    assert!(refused.stderr.contains("unrecognized name"), "{}", refused.stderr);
    let clear =
        psycopg(databases.gateway.port(PORT), &databases.root, "host='a.test', sslmode='disable'").unwrap();
    assert!(clear.stderr.contains("sslmode=require"), "{}", clear.stderr);
}

/// What tokio-postgres gets by TLS that trusts this root, with libpq's `channel_binding`.
pub(crate) async fn tokio_postgres(
    host: &str,
    port: u16,
    root: Vec<u8>,
    binding: &str,
) -> Result<String, tokio_postgres::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(root)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config: tokio_postgres::Config = format!("channel_binding={binding}").parse()?;
    config.host(host).hostaddr([127, 0, 0, 1].into()).port(port).user(USER).password(PASSWORD);
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
    let driver = tokio::spawn(connection);
    let name = client.query_one("select current_setting('cluster_name')", &[]).await?.get(0);
    drop(client);
    driver.await.unwrap()?;
    Ok(name)
}

#[tokio::test]
async fn tokio_postgres_binds_its_channel_to_the_server() {
    let Some(databases) = Databases::start(Which::System, &["a.test", "b.test"]) else { return };
    for host in ["a", "b"] {
        let answer = tokio_postgres(
            &format!("{host}.test"),
            databases.gateway.port(PORT),
            databases.ca.der(),
            "require",
        )
        .await;
        assert_eq!(answer.unwrap(), host);
    }
}

#[test]
fn node_postgres_connects_by_name() {
    let Some(modules) = part("PORTCULLIS_TEST_NODE_MODULES", "node/node_modules") else { return };
    let Some(databases) = Databases::start(Which::System, &["a.test", "b.test"]) else { return };
    let script = format!(
        "
const {{ Client }} = require('pg');
const fs = require('fs');
(async () => {{
  for (const name of ['a', 'b']) {{
    const client = new Client({{ host: '127.0.0.1', port: {}, user: '{USER}', password: '{PASSWORD}',
      ssl: {{ ca: fs.readFileSync('{}'), servername: name + '.test' }} }});
    await client.connect();
    console.log((await client.query('show cluster_name')).rows[0].cluster_name);
    await client.end();
  }}
}})();",
        databases.gateway.port(PORT),
        databases.root.display()
    );
    let answer = run(Command::new("node").env("NODE_PATH", modules).args(["-e", &script]), LIMIT).unwrap();
    assert_eq!(answer.stdout, "a\nb\n", "{}", answer.stderr);
}
