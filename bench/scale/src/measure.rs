//! What is done with subjects.

pub(crate) mod cluster;
pub(crate) mod endpoints;
pub(crate) mod failover;
pub(crate) mod load;
pub(crate) mod probe;
pub(crate) mod traffic;

use std::time::Duration;

use anyhow::Result;
use portcullis_bench_load::Choice;
use portcullis_bench_load::machine::cores::Cores;

use crate::backend::Backend;
use crate::client::Client;
use crate::dialect;
use crate::estate::{Estate, Question};
use crate::subject::Subject;

/// Where everything happens.
pub(crate) struct Stage {
    pub(crate) cores: Cores,
    pub(crate) backend: Backend,
    pub(crate) extent: Extent,
}

/// How thoroughly it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// From the first answer to the look at memory: what a start needed is given back to the system by then.
    pub settled: Duration,
    /// Measurements of CPU time in each round.
    pub samples: usize,
    /// The most requests of one measurement.
    pub requests: usize,
    /// The most additions of the gateway and of a peer, which is slower, or stops at its time.
    pub additions: (usize, usize),
    /// The longest that the gateway's additions go on; a peer has half of it.
    pub adding: Duration,
    /// How long traffic lasts without changes, and then with them.
    pub phase: Duration,
    /// VirtualServices in an API server.
    pub routes: usize,
    /// Times that an endpoint goes away and comes back.
    pub outages: usize,
}

impl Stage {
    /// Starts a subject and waits until it serves plaintext of its last host.
    fn start(&self, choice: &Choice, estate: &Estate<'_>) -> Result<Subject> {
        let site = estate.last();
        let question = Question::new(&site.host(), &site.paths[site.paths.len() - 1]);
        Subject::start(choice, dialect::of(&choice.name), estate, self.cores.subject, |place| {
            let answer = Client::new(([127, 0, 0, 1], place.plain).into()).ask(&question.bytes).ok()?;
            (answer.status == 200).then_some(())
        })
    }
}
