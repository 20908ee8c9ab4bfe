//! `demo`: a gateway with backends, certificates and configuration of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use portcullis_compile::Environment;
use portcullis_control::SettleTimes;
use portcullis_dataplane::{Compat, Limits};
use portcullis_telemetry::access_log::Format;
use portcullis_telemetry::metrics::Options;
use tempfile::TempDir;

use super::run::{Serve, serve};
use crate::admin::{Bound, Port, bind};
use crate::args::DemoArgs;
use crate::demo::configuration::{self, BackendPorts, GatewayPorts};
use crate::demo::echo::{self, Transport};
use crate::demo::guide::{self, Own};
use crate::demo::pki::Authority;
use crate::demo::postgres::Postgres;
use crate::gateway::{self, Plan};
use crate::{Exit, limits, logging};

/// Busy connections may go on this long after Ctrl-C.
const FINISH: Duration = Duration::from_secs(2);

/// Bytes of access log that may wait for a terminal.
const LOG_BUFFER: usize = 1 << 20;

/// Runs the command.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    let log = logging::start(&args.log, false)?;
    limits::raise_open_files();
    let folder = TempDir::with_prefix("portcullis-demo-").context("no folder for the demo's files")?;
    // The database server may run as another user, who must get through.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let authority = Authority::new()?;
    fs::write(folder.path().join("ca.crt"), authority.pem())?;
    let postgres = match args.no_postgres {
        true => None,
        false => Postgres::start(&folder.path().join("postgres"), &authority.server("db.localhost")?)?,
    };
    let ports = GatewayPorts::choose()?;
    let backends = runtime.block_on(backends(&authority, postgres.as_ref().map(|server| server.port)))?;
    let config = folder.path().join("config");
    configuration::write(&config, ports, backends, &authority.server("shop.localhost")?)?;
    let (admin, metrics, health) =
        (own(Port::Admin, 15_000)?, own(Port::Metrics, 15_020)?, own(Port::Health, 15_021)?);
    let addresses = Own { admin: admin.address()?, metrics: metrics.address()? };
    let guide = guide::text(ports, &addresses, folder.path(), postgres.is_some());
    let exit = serve(
        &runtime,
        Serve {
            plan: plan(&config, ports)?,
            ports: vec![admin, metrics, health],
            log,
            started: SystemTime::now(),
            drain: Duration::ZERO,
            finish: FINISH,
            on_ready: Box::new(move || println!("{guide}")),
        },
    );
    drop(postgres);
    folder.close().context("the demo's files cannot be removed")?;
    exit
}

async fn backends(authority: &Authority, database: Option<u16>) -> anyhow::Result<BackendPorts> {
    let vault = Transport::Tls(authority.server("vault.localhost")?);
    Ok(BackendPorts {
        v1: echo::start("shop v1", Transport::Plain).await?.port(),
        v2: echo::start("shop v2", Transport::Plain).await?.port(),
        vault: echo::start("vault", vault).await?.port(),
        database,
    })
}

/// The usual port, or another where that is taken.
fn own(port: Port, usual: u16) -> anyhow::Result<Bound> {
    let at = |number| SocketAddr::from((Ipv4Addr::LOCALHOST, number));
    bind(port, at(usual)).or_else(|_| bind(port, at(0)))
}

fn plan(config: &Path, ports: GatewayPorts) -> anyhow::Result<Plan> {
    let mut environment = Environment::file_mode_default(gateway::tls()?, SystemTime::now());
    environment.ports = Some(ports.map());
    Ok(Plan {
        cluster: None,
        paths: vec![config.to_owned()],
        settle: SettleTimes::DEFAULT,
        environment,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        limits: Limits::default(),
        compat: Compat::default(),
        access_log: Some(Format::Text),
        access_log_buffer: LOG_BUFFER,
        max_series: Options::DEFAULT_MAX_SERIES,
    })
}
