//! One host after the other is added, and asked until it is there: 404, then 200, and nothing else.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use portcullis_bench_load::Choice;

use super::Stage;
use crate::client::{Answer, Client};
use crate::dialect;
use crate::estate::{Estate, Question, Shape};
use crate::figures::{Figure, Figures, quantile};
use crate::interrupt;
use crate::subject::Subject;

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_micros(250);
/// The longest that a change is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// The gateway itself is given more than a peer.
const GATEWAY: &str = "portcullis";

/// All additions to so many hosts.
pub(crate) fn run(stage: &Stage, choice: &Choice, hosts: usize) -> Result<Figures> {
    let mut estate = Estate::new(Shape::Hosts { count: hosts, members: 1 }, &stage.backend.addresses, None);
    let subject = stage.start(choice, &estate)?;
    let (ours, a_peer_s) = stage.extent.additions;
    let (most, limit) = match dialect::of(&choice.name).name() == GATEWAY {
        true => (ours, stage.extent.adding),
        false => (a_peer_s, stage.extent.adding / 2),
    };
    let mut client = Client::strangers(subject.plain());
    let mut times = Vec::new();
    let begun = Instant::now();
    while times.len() < most && begun.elapsed() < limit {
        interrupt::look()?;
        match add(choice, &subject, &mut estate, &mut client) {
            Ok(took) => times.push(took),
            Err(error) => bail!("addition {}: {error:#}; it said:\n{}", times.len() + 1, subject.complaint()),
        }
    }
    let mut figures = Figures::default();
    tell(&mut figures, &mut times);
    Ok(figures)
}

/// How long changes took to be seen.
pub(crate) fn tell(figures: &mut Figures, times: &mut [Duration]) {
    figures.add(Figure::Changes, times.len() as f64);
    figures.add_ms(Figure::MedianMs, quantile(times, 500));
    figures.add_ms(Figure::P99Ms, quantile(times, 990));
    figures.add_ms(Figure::LongestMs, quantile(times, 1_000));
}

/// Adds one host and waits for it.
pub(crate) fn add(
    choice: &Choice,
    subject: &Subject,
    estate: &mut Estate<'_>,
    client: &mut Client,
) -> Result<Duration> {
    estate.add();
    let question = Question::new(&estate.last().host(), &estate.last().paths[0]);
    let files = dialect::of(&choice.name).added(&subject.place, estate);
    subject.draft(&files)?;
    subject.rest();
    let before = client.ask(&question.bytes)?;
    ensure!(before.status == 404, "a host that is not there yet answered {}", before.status);
    let begun = subject.change(&files)?;
    await_answer(client, &question, begun, |answer| match answer.status {
        200 => Ok(true),
        404 => Ok(false),
        other => bail!("neither 404 nor 200 but {other}"),
    })
}

/// Has the first host's answers say another turn, and waits for that.
pub(crate) fn alter(
    choice: &Choice,
    subject: &Subject,
    estate: &mut Estate<'_>,
    client: &mut Client,
    turn: usize,
) -> Result<Duration> {
    estate.alter(turn);
    let question = Question::new(&estate.sites[0].host(), &estate.sites[0].paths[0]);
    let files = dialect::of(&choice.name).altered(&subject.place, estate);
    subject.draft(&files)?;
    subject.rest();
    let begun = subject.change(&files)?;
    await_answer(client, &question, begun, |answer| {
        ensure!(answer.status == 200, "not 200 but {}", answer.status);
        Ok(answer.turn == Some(turn))
    })
}

/// Asks until the answer is as wanted, and gives the time since `begun`.
pub(crate) fn await_answer(
    client: &mut Client,
    question: &Question,
    begun: Instant,
    wanted: impl Fn(&Answer) -> Result<bool>,
) -> Result<Duration> {
    loop {
        let answer = client.ask(&question.bytes)?;
        let took = begun.elapsed();
        if wanted(&answer)? {
            return Ok(took);
        }
        ensure!(took < LIMIT, "{} is not seen after {LIMIT:?}", question.host);
        interrupt::look()?;
        thread::sleep(ASK_EVERY);
    }
}
