//! A thousand changes of endpoints a second, and what traffic notices of them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use portcullis_bench_load::Choice;
use portcullis_bench_load::machine::cpu;

use super::traffic::{self, RATE, pause};
use super::{Stage, probe};
use crate::client::Client;
use crate::dialect::portcullis::with_members;
use crate::estate::{Estate, Question, Shape};
use crate::figures::{Figure, Figures};
use crate::interrupt;

/// Endpoints of each service.
const MEMBERS: usize = 5;
/// Between two changes.
const EVERY: Duration = Duration::from_millis(1);
/// Hosts that traffic goes to, and that stay as they are.
const ASKED: usize = 32;

/// Endpoints leave and come back, each in its service's file.
pub(crate) fn run(stage: &Stage, choice: &Choice, hosts: usize) -> Result<Figures> {
    let shape = Shape::Hosts { count: hosts, members: MEMBERS };
    let mut estate = Estate::new(shape, &stage.backend.addresses, None);
    let subject = stage.start(choice, &estate)?;
    let questions: Vec<Question> = (0..ASKED).map(|number| estate.question(number, false)).collect();
    // Each of the hosts' endpoints gets its connection.
    traffic::under(subject.plain(), &questions, RATE, || pause(stage.extent.phase / 4))?;
    let ((), mut quiet) = traffic::under(subject.plain(), &questions, RATE, || pause(stage.extent.phase))?;
    let (before, begun) = (cpu::nanoseconds(subject.process())?, Instant::now());
    let changes = || {
        let mut count = 0_usize;
        while begun.elapsed() < stage.extent.phase {
            let site = &estate.sites[ASKED + count % (hosts - ASKED)];
            let left = MEMBERS - (count / (hosts - ASKED) + 1) % 2;
            let files = [with_members(site, &estate.members[..left])];
            subject.draft(&files)?;
            subject.change(&files)?;
            count += 1;
            interrupt::look()?;
            let due = begun + EVERY * u32::try_from(count)?;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let took = begun.elapsed();
        // What came last is seen last.
        Ok((
            count,
            took,
            probe::alter(choice, &subject, &mut estate, &mut Client::strangers(subject.plain()), 1)?,
        ))
    };
    let ((count, took, lag), mut changing) = traffic::under(subject.plain(), &questions, RATE, changes)?;
    let spent = cpu::nanoseconds(subject.process())?.saturating_sub(before);
    let mut figures = Figures::default();
    figures.add(Figure::ChangesPerSecond, count as f64 / took.as_secs_f64());
    figures.add_ms(Figure::LagMs, lag);
    figures.add(Figure::CpuPercent, spent as f64 / begun.elapsed().as_nanos() as f64 * 100.0);
    traffic::tell(&mut figures, &mut quiet, &mut changing)?;
    Ok(figures)
}
