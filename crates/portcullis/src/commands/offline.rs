//! Compiling files without serving them.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use portcullis_api::Severity;
use portcullis_compile::{Environment, admission, compile};
use portcullis_control::{Notice, notice, once};
use portcullis_snapshot::Snapshot;

use super::unite;

/// Longest text read from standard input, in bytes.
const MAX_INPUT: u64 = 64 << 20;

/// Findings shown beside a request's fate.
const MAX_HINTS: usize = 10;

/// What configuration comes to.
pub(crate) struct Compiled {
    pub(crate) snapshot: Snapshot,
    /// What an API server and Istio's webhook would say of each object by itself, the worst first.
    pub(crate) verdicts: Vec<Notice>,
    /// What else there is to say: what the objects come to together at this gateway; the worst first.
    pub(crate) notices: Vec<Notice>,
    /// One object alone, of whatever kind: what it refers to cannot be here.
    pub(crate) alone: bool,
    pub(crate) files: usize,
    pub(crate) objects: usize,
}

impl Compiled {
    /// What may be the reason for a request's fate, the worst first.
    pub(crate) fn hints(&self) -> Vec<Notice> {
        let notices = self.verdicts.iter().chain(&self.notices);
        notices.filter(|notice| notice.severity >= Severity::Warning).take(MAX_HINTS).cloned().collect()
    }
}

/// Reads and compiles `paths`; `-` is standard input.
pub(crate) fn load(paths: &[PathBuf], environment: &Environment) -> anyhow::Result<Compiled> {
    let mut texts = Vec::new();
    let (input, files): (Vec<_>, Vec<_>) = paths.iter().cloned().partition(|path| path.as_os_str() == "-");
    if !input.is_empty() {
        texts.push(("<stdin>", standard_input().context("standard input cannot be read")?));
    }
    let read = once::read(&files, texts).context("configuration cannot be read")?;
    let environment = Environment { files: read.named, ..environment.clone() };
    let compiled = compile(&read.objects, &environment);
    let mut verdicts = read.notices;
    let admitted = admission(&read.objects).into_iter().map(Notice::from);
    unite::add(&mut verdicts, admitted.collect());
    let mut notices: Vec<_> = compiled.diagnostics.into_iter().map(Notice::from).collect();
    notices.retain(|notice| !unite::is_said(notice, &verdicts));
    notice::sort(&mut verdicts);
    notice::sort(&mut notices);
    Ok(Compiled {
        snapshot: compiled.snapshot,
        verdicts,
        notices,
        alone: read.objects.is_one(),
        files: read.files,
        objects: read.objects.len(),
    })
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(MAX_INPUT + 1).read_to_string(&mut text)?;
    anyhow::ensure!(text.len() as u64 <= MAX_INPUT, "more than {MAX_INPUT} bytes");
    Ok(text)
}
