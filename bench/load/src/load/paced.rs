//! Requests at a fixed rate, and how long they take.
//!
//! Each connection has its own timetable. What counts is the time since a request was due, not since it could be sent:
//! when a subject stalls, all requests that should have been sent meanwhile have waited, too (this is what is called
//! coordinated omission where it is left out).

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::set_current_timer_slack;

use super::h2load::H2load;
use super::{client, measured};
use crate::figures::{Figures, Metric, percentiles};
use crate::machine::cores::together;
use crate::site::HOST;
use crate::subject::{Port, Subject};

/// Connections, each with a thread of its own.
const CLIENTS: usize = 32;
/// What load and backend can do beside each other on one core without being late themselves.
const MOST: f64 = 8_000.0;
/// Requests by which it is found what a subject can do.
const TRIAL: u64 = 4_000;
/// The clock of the system would wake a thread up to 50 µs late.
const SLACK_NS: u64 = 1;
/// Before the first request is due.
const LEAD: Duration = Duration::from_millis(50);

/// At half of what the subject's core can do.
pub(super) fn run_at_half(subject: &Subject, time: Duration) -> Result<Figures> {
    let load = H2load { tls: false, path: "/small", arguments: &["--h1", "-c", "32"], body: None };
    let cost = load.run(subject, TRIAL).context("the trial run")?[&Metric::CpuUs];
    ensure!(cost > 0.0, "a request costs nothing");
    run(subject, (1e6 / cost / 2.0).min(MOST), time)
}

/// At this many requests a second.
pub(super) fn run(subject: &Subject, rate: f64, time: Duration) -> Result<Figures> {
    let each = (rate * time.as_secs_f64() / CLIENTS as f64).ceil().max(1.0) as u32;
    let gap = Duration::from_secs_f64(CLIENTS as f64 / rate);
    let request = format!("GET /small HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let streams = together(CLIENTS, |_| client::connect(subject.address(Port::Plain)))?;
    let begun = Instant::now() + LEAD;
    let work = || {
        together(CLIENTS, |client| {
            set_current_timer_slack(SLACK_NS.try_into().ok()).context("a precise timer")?;
            let mut stream = streams[client].try_clone().context("a connection")?;
            let mut due = begun + gap.mul_f64(client as f64 / CLIENTS as f64);
            let mut took = Vec::with_capacity(each as usize);
            for _ in 0..each {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                client::exchange(&mut stream, request.as_bytes())?;
                took.push(due.elapsed());
                due += gap;
            }
            Ok(took)
        })
    };
    let (mut figures, took) = measured(subject, f64::from(each) * CLIENTS as f64, work)?;
    figures.extend(percentiles(took.concat()));
    Ok(figures)
}
