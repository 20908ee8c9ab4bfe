//! The gateway beside a real API server: statuses of many routes, one route after the other, and changes among many.
//!
//! Nothing is sent to endpoints here: an API server takes none at loopback, so routes answer by themselves. What the tests'
//! cluster cannot do panics, which the bench reports as a failure.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use portcullis_bench_load::machine::cores::Pinned;
use portcullis_bench_load::machine::{cpu, memory};
use portcullis_tests::cluster::ApiServer;
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http;
use serde_json::Value;

use super::{Stage, probe};
use crate::client::Client;
use crate::dialect::portcullis::{objects, service};
use crate::estate::{OWN, Question, Site, host, name};
use crate::figures::{Figure, Figures, quantile};
use crate::interrupt;

/// Connections that write objects.
const WRITERS: usize = 4;
/// The longest that anything is waited for.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at all statuses.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two changes among many routes.
const CHURN_EVERY: Duration = Duration::from_millis(100);
/// Additions while there are many routes.
const ADDITIONS: usize = 100;
const ROUTES: &str = "/apis/networking.istio.io/v1/namespaces/default/virtualservices";

/// An API server with the kinds and the gateway's account.
struct Cluster {
    server: ApiServer,
    kubeconfig: std::path::PathBuf,
}

impl Cluster {
    fn start() -> Result<Self> {
        let server = ApiServer::start().context("there is no API server (cargo xtask test builds it)")?;
        let kubeconfig = server.account();
        server.install_crds();
        server.apply(&(http::gateway() + &http::service(&name(0), "http", &[])));
        Ok(Self { server, kubeconfig })
    }

    /// Starts the gateway on the subject's core.
    fn gateway(&self, stage: &Stage) -> Result<Gateway> {
        let _pinned = Pinned::to(stage.cores.subject)?;
        let arguments = ["--kubernetes", "--write-status"];
        let setup = Setup::new("", &[80]).arguments(&arguments).variable("KUBECONFIG", &self.kubeconfig);
        Ok(setup.start())
    }

    /// Writes one text for each number, over several connections.
    fn write(&self, count: usize, text: impl Fn(usize) -> String + Sync) -> Result<()> {
        let text = &text;
        thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let mut client = self.server.client();
                    scope.spawn(move || {
                        for number in (writer..count).step_by(WRITERS) {
                            if interrupt::asked() {
                                return;
                            }
                            client.apply(&text(number));
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().map_err(|_| anyhow::anyhow!("the API server refused an object"))?;
            }
            interrupt::look()
        })
    }
}

fn site(number: usize, service: usize) -> Site {
    Site { number, paths: vec!["/".to_owned()], service, certificate: None, turn: None }
}

/// A route that answers by itself below [`OWN`].
fn route(number: usize) -> String {
    objects(&site(number, 0), None)
}

/// A route with a Service and an endpoint of its own, none of which is asked.
fn application(number: usize, member: u8) -> String {
    let address = ([10, (number / 250 % 250) as u8, (number % 250) as u8, member], 8080).into();
    objects(&site(number, number), None) + &service(&name(number), &[address])
}

fn question(number: usize) -> Question {
    Question::new(&host(number), OWN)
}

/// Waits until a host is there, or is not.
fn await_status(client: &mut Client, number: usize, status: u16, begun: Instant) -> Result<Duration> {
    probe::await_answer(client, &question(number), begun, |answer| match answer.status {
        200 | 404 => Ok(answer.status == status),
        other => bail!("neither 404 nor 200 but {other}"),
    })
}

/// Many routes at once: how soon each says that it is served, and how soon none is when all are deleted.
pub(crate) fn attached(stage: &Stage) -> Result<Figures> {
    let count = stage.extent.routes;
    let cluster = Cluster::start()?;
    let gateway = cluster.gateway(stage)?;
    gateway.await_samples("it writes statuses", |samples| {
        samples.sum("portcullis_reporting_leader", &[]) == 1.0
    });
    let mut figures = Figures::default();
    let (busy, begun) = (cpu::nanoseconds(gateway.process())?, Instant::now());
    cluster.write(count, route)?;
    let created = Instant::now();
    await_statuses(&gateway, count)?;
    while !all_programmed(&cluster, count)? {
        ensure!(created.elapsed() < LIMIT, "not every route has its status after {LIMIT:?}");
        interrupt::look()?;
        thread::sleep(LOOK_EVERY);
    }
    figures.add_ms(Figure::SetupMs, created.elapsed());
    let spent = cpu::nanoseconds(gateway.process())?.saturating_sub(busy);
    figures.add(Figure::CpuPercent, spent as f64 / begun.elapsed().as_nanos() as f64 * 100.0);
    figures.add(Figure::Writes, statuses(&gateway));
    let mut client = Client::strangers(gateway.address(80));
    let deleted = Instant::now();
    let (status, answer) = cluster.server.client().request("DELETE", ROUTES, "", "");
    ensure!(status == 200, "the API server deletes nothing: {answer}");
    for number in 0..count {
        await_status(&mut client, number, 404, deleted)?;
    }
    figures.add_ms(Figure::TeardownMs, deleted.elapsed());
    Ok(figures)
}

/// Whether there are so many, and each says that this generation of it is served.
fn all_programmed(cluster: &Cluster, count: usize) -> Result<bool> {
    let (status, list) = cluster.server.client().request("GET", ROUTES, "", "");
    ensure!(status == 200, "the API server lists nothing: {list}");
    let items = list["items"].as_array().context("a list")?;
    let programmed = |object: &&Value| {
        let generation = &object["metadata"]["generation"];
        object["status"]["conditions"].as_array().into_iter().flatten().any(|condition| {
            condition["type"] == "Programmed"
                && condition["status"] == "True"
                && condition["observedGeneration"] == *generation
        })
    };
    Ok(items.iter().filter(programmed).count() == count)
}

/// One route after the other: from its way to the API server, and from the server's answer, to the first answer of its host.
pub(crate) fn probe(stage: &Stage) -> Result<Figures> {
    let cluster = Cluster::start()?;
    let gateway = cluster.gateway(stage)?;
    cluster.write(1, route)?;
    await_status(&mut Client::strangers(gateway.address(80)), 0, 200, Instant::now())?;
    let mut figures = Figures::default();
    add(stage, &cluster, &gateway, 1, stage.extent.routes, &mut figures)?;
    Ok(figures)
}

fn add(
    stage: &Stage,
    cluster: &Cluster,
    gateway: &Gateway,
    from: usize,
    count: usize,
    figures: &mut Figures,
) -> Result<()> {
    let (mut client, mut writer) = (Client::strangers(gateway.address(80)), cluster.server.client());
    let (mut sent, mut accepted) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for number in from..from + count {
        if begun.elapsed() > stage.extent.adding {
            break;
        }
        interrupt::look()?;
        let before = client.ask(&question(number).bytes)?;
        ensure!(before.status == 404, "a route that is not there yet answered {}", before.status);
        let began = Instant::now();
        writer.apply(&route(number));
        let answered = Instant::now();
        sent.push(await_status(&mut client, number, 200, began)?);
        accepted.push(answered.elapsed());
    }
    probe::tell(figures, &mut sent);
    figures.add_ms(Figure::AcceptedMedianMs, quantile(&mut accepted, 500));
    figures.add_ms(Figure::AcceptedP99Ms, quantile(&mut accepted, 990));
    Ok(())
}

/// Many routes with Services and endpoints: start, memory, what changes among them cost, and one route more among them.
pub(crate) fn scale(stage: &Stage) -> Result<Figures> {
    let count = stage.extent.routes * SCALE;
    let cluster = Cluster::start()?;
    cluster.write(count, |number| application(number, 1))?;
    let begun = Instant::now();
    let gateway = cluster.gateway(stage)?;
    let mut client = Client::strangers(gateway.address(80));
    await_status(&mut client, count - 1, 200, begun)?;
    let mut figures = Figures::default();
    figures.add_ms(Figure::ReadyMs, begun.elapsed());
    // What comes then is measured without the writing of statuses.
    await_statuses(&gateway, count)?;
    let memory = || Ok::<_, anyhow::Error>(memory::kibibytes(gateway.process())? as f64 / 1024.0);
    figures.add(Figure::MemoryMib, memory()?);
    let (busy, begun) = (cpu::nanoseconds(gateway.process())?, Instant::now());
    let mut writer = cluster.server.client();
    let mut changes = 0_usize;
    while begun.elapsed() < stage.extent.phase {
        interrupt::look()?;
        let number = changes * 7 % count;
        writer.apply(&application(number, 2 + (changes / count % 200) as u8));
        changes += 1;
        thread::sleep(
            (begun + CHURN_EVERY * u32::try_from(changes)?).saturating_duration_since(Instant::now()),
        );
    }
    let spent = cpu::nanoseconds(gateway.process())?.saturating_sub(busy);
    figures.add(Figure::ChangesPerSecond, changes as f64 / begun.elapsed().as_secs_f64());
    figures.add(Figure::CpuPercent, spent as f64 / begun.elapsed().as_nanos() as f64 * 100.0);
    figures.add(Figure::UsedMib, memory()?);
    add(stage, &cluster, &gateway, count, ADDITIONS, &mut figures)?;
    Ok(figures)
}

/// Waits until so many statuses were written: to list them all again and again would be a load of its own.
fn await_statuses(gateway: &Gateway, count: usize) -> Result<()> {
    let begun = Instant::now();
    while statuses(gateway) < count as f64 {
        ensure!(begun.elapsed() < LIMIT, "not every route has its status after {LIMIT:?}");
        interrupt::look()?;
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Statuses written so far.
fn statuses(gateway: &Gateway) -> f64 {
    let written = [("object", "status"), ("result", "done")];
    gateway.samples().sum("portcullis_reporting_writes_total", &written)
}

/// How many times as many routes there are when their number is what counts.
const SCALE: usize = 2;
