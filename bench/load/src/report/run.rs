//! What a run was: where, when and of what its figures come.

use serde::{Deserialize, Serialize};

use crate::machine::host::{self, Host};
use crate::subject::Choice;

/// The subject that this tree makes.
const GATEWAY: &str = "portcullis";
/// More load than this is told. It need not be other things: the bench's own build, or a run before, may be part of it.
const LOADED: f64 = 0.5;
/// With more of its own to do than the two cores of a measurement can, a machine measures nothing.
const BUSY: f64 = 2.0;

/// What was measured, when, where and how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The commit, marked if the tree had changes.
    pub commit: String,
    /// When it began (RFC 3339).
    pub date: String,
    /// Where.
    pub host: Host,
    /// How many processes wanted to run there in the minute before the start.
    load_before: f64,
    /// The filter, where not everything was measured.
    pub only: Option<String>,
    /// Whether it was a short one.
    quick: bool,
    /// How the gateway was built.
    #[serde(default)]
    built: String,
    rounds: u32,
    subjects: Vec<Entry>,
}

/// A subject, as kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    name: String,
    version: String,
}

impl Run {
    /// One that begins now, here, without subjects.
    pub fn new(only: Option<&str>, quick: bool, built: &str, rounds: u32) -> Self {
        Self {
            commit: host::commit(),
            date: host::date(),
            host: Host::this(),
            load_before: host::load(),
            only: only.map(str::to_owned),
            quick,
            built: built.to_owned(),
            rounds,
            subjects: Vec::new(),
        }
    }

    /// Adds a subject, after asking it for its version.
    pub fn add(&mut self, choice: &Choice) {
        self.subjects.push(Entry { name: choice.name.clone(), version: choice.version() });
    }

    /// The names of the subjects.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.subjects.iter().map(|entry| entry.name.as_str())
    }

    /// The day on which it began.
    pub fn day(&self) -> &str {
        self.date.split('T').next().unwrap_or_default()
    }

    /// One line for where it comes from, with what else is to be said of how it was measured.
    pub fn origin(&self, further: &str) -> String {
        let quick = if self.quick { "quick run, " } else { "" };
        let busy = match self.load_before {
            load if load > BUSY => {
                format!(" The machine was busy with other things (load {load:.0}): a first look, no more.")
            }
            load if load > LOADED => format!(" Load in the minute before it: {load:.1}."),
            _ => String::new(),
        };
        format!(
            "Measured on {} at commit `{}`: {quick}{} rounds, {further}{}, {} cores, {}.{busy}",
            self.day(),
            self.commit,
            self.rounds,
            self.host.cpu,
            self.host.cores,
            self.host.kernel
        )
    }

    /// The subjects and their versions; of the gateway also how it was built.
    pub fn versions(&self) -> String {
        let named = |Entry { name, version }: &Entry| match self.built.as_str() {
            built if name == GATEWAY && !built.is_empty() => format!("{name} {version} ({built})"),
            _ => format!("{name} {version}"),
        };
        self.subjects.iter().map(named).collect::<Vec<_>>().join(", ")
    }

    /// The head of a table with a column for each subject.
    pub fn columns(&self) -> String {
        let names: Vec<&str> = self.subjects().collect();
        format!("| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()))
    }
}
