//! A large configuration at rest: how long it takes to load, what it holds, and what a request or a handshake costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use portcullis_bench_load::machine::cores::together;
use portcullis_bench_load::machine::{cpu, memory};
use portcullis_bench_load::{Choice, tls};
use rustls::{ClientConfig, HandshakeKind};

use super::Stage;
use crate::certificates::Certificates;
use crate::client::{Client, ask_once};
use crate::dialect;
use crate::estate::{Estate, Question, Shape};
use crate::figures::{Figure, Figures};
use crate::interrupt;
use crate::subject::Subject;

/// Clients at the same time.
const CLIENTS: usize = 8;
/// The longest measurement: a subject that needs milliseconds for a request does fewer.
const LONGEST: Duration = Duration::from_secs(2);
/// The longest first pass, in which every host is asked once.
const LONGEST_PASS: Duration = Duration::from_secs(5);
/// Connections of one measurement of handshakes.
const HANDSHAKES: usize = 500;
/// Connections before it.
const FIRST_HANDSHAKES: usize = 64;
/// The longest that a client waits.
const LIMIT: Duration = Duration::from_secs(20);

/// Everything about one subject with one shape.
pub(crate) fn run(
    stage: &Stage,
    choice: &Choice,
    shape: Shape,
    certificates: Option<&Certificates>,
) -> Result<Figures> {
    let estate = Estate::new(shape, &stage.backend.addresses, certificates);
    let mut figures = Figures::default();
    let subject = match certificates {
        Some(certificates) => start_with_tls(stage, choice, &estate, certificates)?,
        None => stage.start(choice, &estate)?,
    };
    figures.add_ms(Figure::ReadyMs, subject.ready);
    thread::sleep(stage.extent.settled);
    figures.add(Figure::MemoryMib, mebibytes(&subject)?);
    let measured = match certificates {
        Some(certificates) => handshakes(stage, choice, &estate, &subject, certificates),
        None => requests(stage, choice, &estate, &subject),
    };
    match measured {
        Ok(measured) => figures.extend(measured),
        Err(error) => bail!("{error:#}; it said:\n{}", subject.complaint()),
    }
    figures.add(Figure::UsedMib, mebibytes(&subject)?);
    Ok(figures)
}

fn mebibytes(subject: &Subject) -> Result<f64> {
    Ok(memory::kibibytes(subject.process())? as f64 / 1024.0)
}

/// Requests over all hosts, in turn with those of a second process that has one.
fn requests(stage: &Stage, choice: &Choice, estate: &Estate<'_>, subject: &Subject) -> Result<Figures> {
    let one = Estate::new(estate.shape.base(), &stage.backend.addresses, None);
    let base = if estate.shape == one.shape { None } else { Some(stage.start(choice, &one)?) };
    let mut figures = Figures::default();
    for (own, figure) in [(false, Figure::CpuUs), (true, Figure::OwnCpuUs)] {
        if own && !dialect::of(&choice.name).answers() {
            continue;
        }
        let mut all = Pass::new(estate.questions(own));
        all.next(subject, all.questions.len(), LONGEST_PASS)?;
        let mut single = Pass::new(one.questions(own));
        if let Some(base) = &base {
            single.next(base, stage.extent.requests, LONGEST)?;
        }
        for _ in 0..stage.extent.samples {
            figures.add(figure, all.next(subject, stage.extent.requests, LONGEST)?);
            if let (Some(base), Some(of_one)) = (&base, figure.of_one()) {
                figures.add(of_one, single.next(base, stage.extent.requests, LONGEST)?);
            }
        }
    }
    Ok(figures)
}

/// Questions one after the other, beginning where the last measurement ended.
struct Pass {
    questions: Vec<Question>,
    at: usize,
}

impl Pass {
    fn new(questions: Vec<Question>) -> Self {
        Self { questions, at: 0 }
    }

    /// Asks so many, or as many as there is time for; gives the CPU time of one in microseconds.
    fn next(&mut self, subject: &Subject, count: usize, limit: Duration) -> Result<f64> {
        interrupt::look()?;
        let to = subject.plain();
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::new(to)).collect();
        // The connections stand before the clock begins.
        clients
            .iter_mut()
            .try_for_each(|client| success(client, &self.questions[self.at % self.questions.len()]))?;
        let clients: Vec<_> = clients.into_iter().map(std::sync::Mutex::new).collect();
        let before = cpu::nanoseconds(subject.process())?;
        let begun = Instant::now();
        let done = together(CLIENTS, |number| {
            let mut client = clients[number].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut done = 0_usize;
            for turn in (number..count).step_by(CLIENTS) {
                if begun.elapsed() > limit {
                    break;
                }
                success(&mut client, &self.questions[(self.at + turn) % self.questions.len()])?;
                done += 1;
            }
            Ok(done)
        })?;
        let spent = cpu::nanoseconds(subject.process())?.saturating_sub(before);
        let done: usize = done.iter().sum();
        self.at += done;
        Ok(spent as f64 / 1e3 / done.max(1) as f64)
    }
}

fn success(client: &mut Client, question: &Question) -> Result<()> {
    let answer = client.ask(&question.bytes).with_context(|| format!("asking {}", question.host))?;
    ensure!(answer.status == 200, "{} answered {}", question.host, answer.status);
    Ok(())
}

fn start_with_tls(
    stage: &Stage,
    choice: &Choice,
    estate: &Estate<'_>,
    certificates: &Certificates,
) -> Result<Subject> {
    let config = tls::config(&certificates.authority, false, "http/1.1")?;
    let question = estate.question(estate.sites.len() - 1, false);
    Subject::start(choice, dialect::of(&choice.name), estate, stage.cores.subject, |place| {
        shake(&config, ([127, 0, 0, 1], place.tls).into(), &question).ok()
    })
}

/// New connections over all names, in turn with those of a second process that has one.
fn handshakes(
    stage: &Stage,
    choice: &Choice,
    estate: &Estate<'_>,
    subject: &Subject,
    certificates: &Certificates,
) -> Result<Figures> {
    let single = Certificates::new(estate.shape.base())?;
    let one = Estate::new(estate.shape.base(), &stage.backend.addresses, Some(&single));
    let base = start_with_tls(stage, choice, &one, &single)?;
    let config = tls::config(&certificates.authority, false, "http/1.1")?;
    let config_of_one = tls::config(&single.authority, false, "http/1.1")?;
    let (questions, question) = (estate.questions(false), one.questions(false));
    let mut figures = Figures::default();
    let mut at = 0;
    let mut next = |subject: &Subject, config, questions: &[Question], count: usize| {
        at += count;
        shake_many(subject, config, questions, at, count)
    };
    next(subject, &config, &questions, FIRST_HANDSHAKES)?;
    next(&base, &config_of_one, &question, FIRST_HANDSHAKES)?;
    for _ in 0..stage.extent.samples {
        figures.add(Figure::HandshakeUs, next(subject, &config, &questions, HANDSHAKES)?);
        figures.add(Figure::OneHandshakeUs, next(&base, &config_of_one, &question, HANDSHAKES)?);
    }
    Ok(figures)
}

fn shake_many(
    subject: &Subject,
    config: &Arc<ClientConfig>,
    questions: &[Question],
    from: usize,
    count: usize,
) -> Result<f64> {
    interrupt::look()?;
    let before = cpu::nanoseconds(subject.process())?;
    together(CLIENTS, |number| {
        (number..count)
            .step_by(CLIENTS)
            .try_for_each(|turn| shake(config, subject.tls(), &questions[(from + turn) % questions.len()]))
    })?;
    let spent = cpu::nanoseconds(subject.process())?.saturating_sub(before);
    Ok(spent as f64 / 1e3 / count as f64)
}

/// A connection whose certificate is the right one, with one request.
fn shake(config: &Arc<ClientConfig>, to: SocketAddr, question: &Question) -> Result<()> {
    let stream = std::net::TcpStream::connect(to).context("connecting")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut stream = tls::connect(config, &question.host, stream, HandshakeKind::Full)
        .with_context(|| format!("shaking hands with {}", question.host))?;
    let answer = ask_once(&mut stream, &question.bytes)?;
    tls::close(stream);
    ensure!(answer.status == 200, "{} answered {}", question.host, answer.status);
    Ok(())
}
