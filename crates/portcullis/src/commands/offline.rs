//! Compiling files without serving them.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use portcullis_compile::{Environment, compile};
use portcullis_control::{Notice, notice, once};
use portcullis_snapshot::Snapshot;

/// Longest text read from standard input, in bytes.
const MAX_INPUT: u64 = 64 << 20;

/// What configuration comes to.
pub(crate) struct Compiled {
    pub(crate) snapshot: Snapshot,
    /// Everything there is to say, the worst first.
    pub(crate) notices: Vec<Notice>,
    pub(crate) files: usize,
    pub(crate) objects: usize,
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
    let mut notices: Vec<_> = compiled.diagnostics.into_iter().map(Notice::from).collect();
    notices.extend(read.notices);
    notice::sort(&mut notices);
    Ok(Compiled { snapshot: compiled.snapshot, notices, files: read.files, objects: read.objects.len() })
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(MAX_INPUT + 1).read_to_string(&mut text)?;
    anyhow::ensure!(text.len() as u64 <= MAX_INPUT, "more than {MAX_INPUT} bytes");
    Ok(text)
}
