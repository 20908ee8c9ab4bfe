//! The process' own log on standard error.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Changes what is logged while the process runs.
#[derive(Clone)]
pub(crate) struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
}

/// Starts logging what `filter` lets through (`info`, or `target=level,…`), as text or as JSON lines.
///
/// # Errors
/// When the filter cannot be read.
pub(crate) fn start(filter: &str, json: bool) -> anyhow::Result<LogLevel> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let stderr = fmt::layer().with_writer(std::io::stderr);
    let started = if json {
        registry.with(stderr.json()).try_init()
    } else {
        let colour = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        registry.with(stderr.with_ansi(colour)).try_init()
    };
    started.context("logging cannot be started")?;
    Ok(LogLevel { handle })
}

impl LogLevel {
    /// Logs what `filter` lets through from now on.
    ///
    /// # Errors
    /// When the filter cannot be read.
    pub(crate) fn set(&self, filter: &str) -> anyhow::Result<()> {
        self.handle.reload(parse(filter)?).context("logging has ended")
    }

    /// The filter in force.
    pub(crate) fn shown(&self) -> String {
        self.handle.with_current(ToString::to_string).unwrap_or_default()
    }
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::builder().parse(filter);
    filter.context("log level: write error, warn, info, debug or trace, or target=level,…")
}
