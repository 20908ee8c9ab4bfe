//! One of four endpoints goes away and comes back: what clients notice, and how soon it is used again.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use portcullis_bench_load::Choice;
use portcullis_tests::objects::destination_rule;

use super::traffic::{self, pause};
use super::{Stage, probe};
use crate::backend::Backend;
use crate::client::Client;
use crate::dialect::portcullis::with_members;
use crate::estate::{Estate, Question, Shape, TURN, name};
use crate::figures::{Figure, Figures};
use crate::interrupt;

/// Endpoints that stay.
const STAY: u8 = 3;
/// Requests a second.
const RATE: f64 = 200.0;
/// How long the endpoint is away.
const AWAY: Duration = Duration::from_secs(4);
/// The longest that it is waited for: an ejection lasts ten seconds for each time.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks whether it is used.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What the gateway is told to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing, and no retries.
    Nothing,
    /// Retries as they are by default.
    Retries,
    /// No retries; five failures eject an endpoint for ten seconds.
    Ejection,
    /// No retries; it asks each endpoint every second.
    Checks,
}

impl Policy {
    fn retries(self) -> &'static str {
        match self {
            Self::Retries => "",
            Self::Nothing | Self::Ejection | Self::Checks => "retries: {attempts: 0}, ",
        }
    }

    fn rule(self) -> String {
        let service = name(0);
        match self {
            Self::Nothing | Self::Retries => String::new(),
            Self::Ejection => destination_rule(
                &service,
                "{outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 10s, maxEjectionPercent: 100}}",
            ),
            Self::Checks => {
                let check = "{http: {path: /}, interval: 1s, timeout: 1s, unhealthyThreshold: 1, healthyThreshold: 1}";
                destination_rule(&service, "{}").replace(
                    &format!("metadata: {{name: {service}, namespace: default}}"),
                    &format!(
                        "metadata: {{name: {service}, namespace: default, annotations: {{portcullis.dev/health-check: '{check}'}}}}"
                    ),
                )
            }
        }
    }
}

/// Away and back, as often as the extent says.
pub(crate) fn run(stage: &Stage, choice: &Choice, policy: Policy) -> Result<Figures> {
    let stay = Backend::start(STAY)?;
    let port = stay.addresses[0].port();
    let coming_and_going = SocketAddr::from(([127, 0, 0, STAY + 1], port));
    let mut there = Some(Backend::start_at(coming_and_going)?);
    let members: Vec<SocketAddr> = stay.addresses.iter().copied().chain([coming_and_going]).collect();
    let mut estate = Estate::new(Shape::Hosts { count: 1, members: members.len() }, &members, None);
    let subject = stage.start(choice, &estate)?;
    estate.alter(1);
    let mut file = with_members(&estate.sites[0], &members);
    file.text = file.text.replace("route: [", &format!("{}route: [", policy.retries())) + &policy.rule();
    ensure!(file.text.contains(TURN), "the policy is not in the file");
    subject.draft(std::slice::from_ref(&file))?;
    let question = Question::new(&estate.sites[0].host(), "/");
    let begun = subject.change(&[file])?;
    probe::await_answer(&mut Client::strangers(subject.plain()), &question, begun, |answer| {
        Ok(answer.turn == Some(1))
    })?;
    let questions = [question];
    let mut figures = Figures::default();
    for _ in 0..stage.extent.outages {
        let back = || in_use(there.as_ref());
        let (_, well) = traffic::under(subject.plain(), &questions, RATE, back)?;
        ensure!(well.failed == 0, "failed while all were well: {:?}", well.why);
        let away = || {
            drop(there.take());
            pause(AWAY)
        };
        let ((), tally) = traffic::under(subject.plain(), &questions, RATE, away)?;
        let asked = tally.took.len() as f64;
        figures.add(Figure::DownFailedPercent, tally.failed as f64 / asked * 100.0);
        let back = || {
            let backend = there.insert(Backend::start_at(coming_and_going)?);
            in_use(Some(backend))
        };
        let (took, _) = traffic::under(subject.plain(), &questions, RATE, back)?;
        figures.add_ms(Figure::ReturnedMs, took);
    }
    Ok(figures)
}

/// Waits until a backend has answered something more.
fn in_use(backend: Option<&Backend>) -> Result<Duration> {
    let begun = Instant::now();
    let before = backend.map_or(0, Backend::answered);
    while backend.is_some_and(|backend| backend.answered() <= before) {
        interrupt::look()?;
        ensure!(begun.elapsed() < LIMIT, "an endpoint is not used after {LIMIT:?}");
        thread::sleep(LOOK_EVERY);
    }
    Ok(begun.elapsed())
}
