//! Constant traffic, and what it notices of changes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portcullis_bench_load::Choice;
use rustix::thread::set_current_timer_slack;

use super::{Stage, probe};
use crate::client::Client;
use crate::estate::{Estate, Question, Shape};
use crate::figures::{Figure, Figures, quantile};
use crate::interrupt;

/// Connections, each with a thread and a timetable of its own.
const CLIENTS: usize = 16;
/// Requests a second over all of them.
pub(crate) const RATE: f64 = 1_000.0;
/// Between two changes, at least: nobody changes more often by hand, and a reload is not asked for during another.
const CHANGE_EVERY: Duration = Duration::from_millis(50);
/// The clock of the system would wake a thread up to 50 µs late.
const SLACK_NS: u64 = 1;

/// What the traffic came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Since each request was due, whatever became of it.
    pub(crate) took: Vec<Duration>,
    pub(crate) failed: u64,
    /// The first of those.
    pub(crate) why: Option<String>,
    pub(crate) resent: u64,
}

impl Tally {
    fn extend(&mut self, other: Self) {
        self.took.extend(other.took);
        self.failed += other.failed;
        self.why = self.why.take().or(other.why);
        self.resent += other.resent;
    }

    /// What 99 of 100 took at most, in microseconds.
    pub(crate) fn p99_us(&mut self) -> f64 {
        quantile(&mut self.took, 990).as_secs_f64() * 1e6
    }
}

/// Keeps traffic up while `work` is done.
pub(crate) fn under<T>(
    to: SocketAddr,
    questions: &[Question],
    rate: f64,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Tally)> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let done = &done;
        let begun = Instant::now();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || client(to, questions, rate, number, begun, done)))
            .collect();
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for client in clients {
            let found = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
            tally.extend(found);
        }
        Ok((worked?, tally))
    })
}

fn client(
    to: SocketAddr,
    questions: &[Question],
    rate: f64,
    number: usize,
    begun: Instant,
    done: &AtomicBool,
) -> Tally {
    // Without it latencies are a little longer, for everybody.
    let _ = set_current_timer_slack(SLACK_NS.try_into().ok());
    let gap = Duration::from_secs_f64(CLIENTS as f64 / rate);
    let mut due = begun + gap.mul_f64(number as f64 / CLIENTS as f64);
    let (mut client, mut tally) = (Client::new(to), Tally::default());
    let mut at = number;
    while !done.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let failure = match client.ask(&questions[at % questions.len()].bytes) {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("answered {}", answer.status)),
            Err(error) => Some(format!("{error:#}")),
        };
        tally.took.push(due.elapsed());
        if let Some(failure) = failure {
            tally.failed += 1;
            tally.why.get_or_insert(failure);
        }
        due += gap;
        at += CLIENTS;
    }
    tally.resent = client.resent;
    tally
}

/// What changes while the traffic goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changing {
    /// Hosts that nobody asks are added.
    Others,
    /// The very route that is asked for.
    Itself,
}

/// First without changes, then with them.
pub(crate) fn run(stage: &Stage, choice: &Choice, hosts: usize, changing: Changing) -> Result<Figures> {
    let mut estate = Estate::new(Shape::Hosts { count: hosts, members: 1 }, &stage.backend.addresses, None);
    let subject = stage.start(choice, &estate)?;
    let all = match changing {
        Changing::Itself => 1,
        Changing::Others => hosts.min(ASKED),
    };
    let questions: Vec<Question> = (0..all).map(|number| estate.question(number, false)).collect();
    under(subject.plain(), &questions, RATE, || pause(stage.extent.phase / 4))
        .context("the first requests")?;
    let ((), mut quiet) = under(subject.plain(), &questions, RATE, || pause(stage.extent.phase))?;
    let mut client = Client::strangers(subject.plain());
    let changes = || {
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < stage.extent.phase {
            let next = Instant::now() + CHANGE_EVERY;
            let took = match changing {
                Changing::Others => probe::add(choice, &subject, &mut estate, &mut client),
                Changing::Itself => probe::alter(choice, &subject, &mut estate, &mut client, times.len() + 1),
            };
            times.push(took?);
            interrupt::look()?;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(times)
    };
    let (mut times, mut tally) = under(subject.plain(), &questions, RATE, changes)?;
    let mut figures = Figures::default();
    probe::tell(&mut figures, &mut times);
    tell(&mut figures, &mut quiet, &mut tally)?;
    Ok(figures)
}

/// The traffic's figures. A request that failed is an error: whoever changes a configuration must not lose one.
pub(crate) fn tell(figures: &mut Figures, quiet: &mut Tally, changing: &mut Tally) -> Result<()> {
    for tally in [&*quiet, &*changing] {
        ensure!(
            tally.failed == 0,
            "{} of {} requests failed, the first: {}",
            tally.failed,
            tally.took.len(),
            tally.why.as_deref().unwrap_or_default()
        );
    }
    figures.add(Figure::Requests, changing.took.len() as f64);
    figures.add(Figure::Failed, changing.failed as f64);
    figures.add(Figure::Resent, changing.resent as f64);
    figures.add(Figure::QuietP99Us, quiet.p99_us());
    figures.add(Figure::ChangingP99Us, changing.p99_us());
    Ok(())
}

/// Waits, unless the bench is to end.
pub(crate) fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        interrupt::look()?;
        thread::sleep(end.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
    }
    Ok(())
}

/// Hosts that traffic goes to.
const ASKED: usize = 32;
/// Between two looks whether the bench is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
