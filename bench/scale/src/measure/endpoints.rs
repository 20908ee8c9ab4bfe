//! A thousand changes of endpoints a second, and what traffic notices of them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use portcullis_bench_load::Choice;
use portcullis_bench_load::machine::cpu;

use super::traffic::{self, RATE, pause};
use super::{Stage, probe};
use crate::client::Client;
use crate::dialect::File;
use crate::dialect::portcullis::with_members;
use crate::estate::{Estate, Question, Shape};
use crate::figures::{Figure, Figures};
use crate::interrupt;
use crate::subject::Subject;

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
    let length = stage.extent.phase;
    // The files are written there, too, on the core of the load.
    let (_, mut quiet) = traffic::under(subject.plain(), &questions, RATE, || {
        keep_changing(&subject, &estate, length, Subject::change_nothing)
    })?;
    let (before, begun) = (cpu::nanoseconds(subject.process())?, Instant::now());
    let changes = || {
        let changed =
            keep_changing(&subject, &estate, length, |subject, files| subject.change(files).map(drop))?;
        let rate = changed as f64 / begun.elapsed().as_secs_f64();
        // What came last is seen last.
        let mut client = Client::strangers(subject.plain());
        Ok((rate, probe::alter(choice, &subject, &mut estate, &mut client, 1)?))
    };
    let ((rate, lag), mut changing) = traffic::under(subject.plain(), &questions, RATE, changes)?;
    let spent = cpu::nanoseconds(subject.process())?.saturating_sub(before) as f64;
    let mut figures = Figures::default();
    figures.add(Figure::ChangesPerSecond, rate);
    figures.add_ms(Figure::LagMs, lag);
    figures.add(Figure::CpuPercent, spent / begun.elapsed().as_nanos() as f64 * 100.0);
    traffic::tell(&mut figures, &mut quiet, &mut changing)?;
    Ok(figures)
}

/// Drafts the file of one host after another with other endpoints than before, and has `change` do something with it,
/// for `length`. Gives how many there were.
fn keep_changing(
    subject: &Subject,
    estate: &Estate<'_>,
    length: Duration,
    change: impl Fn(&Subject, &[File]) -> Result<()>,
) -> Result<usize> {
    let sites = &estate.sites[ASKED..];
    let begun = Instant::now();
    let mut count = 0_usize;
    while begun.elapsed() < length {
        let left = MEMBERS - (count / sites.len() + 1) % 2;
        let files = [with_members(&sites[count % sites.len()], &estate.members[..left])];
        subject.draft(&files)?;
        change(subject, &files)?;
        count += 1;
        interrupt::look()?;
        let due = begun + EVERY * u32::try_from(count)?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(count)
}
