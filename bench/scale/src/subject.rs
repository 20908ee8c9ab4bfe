//! A running subject on a core of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use portcullis_bench_load::machine::cores::open_files;
use portcullis_bench_load::{Choice, end, last_lines};
use portcullis_tests::gateway::Held;
use portcullis_tests::process::signal;
use tempfile::TempDir;

use crate::dialect::{Dialect, File, Place};
use crate::estate::Estate;
use crate::interrupt;

/// How long it may take until it serves everything.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A reload that is seen to work is over after this long.
const RELOADED: Duration = Duration::from_millis(300);
/// Files that it needs for other things than connections.
const OTHER_FILES: u64 = 600;

/// Ends when dropped, and its folder with it.
pub(crate) struct Subject {
    child: Child,
    pub(crate) place: Place,
    dialect: &'static dyn Dialect,
    /// From its start until it served the last host.
    pub(crate) ready: Duration,
    _ports: [Held; 3],
    _folder: TempDir,
}

impl Subject {
    /// Starts it and asks until it serves. What asks gives nothing while the answer is another one.
    pub(crate) fn start(
        choice: &Choice,
        dialect: &'static dyn Dialect,
        estate: &Estate<'_>,
        core: usize,
        serves: impl Fn(&Place) -> Option<()>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("portcullis-bench-{}-", choice.name))
            .tempdir_in(shelf())
            .context("a folder")?;
        let ports = [Held::new(), Held::new(), Held::new()];
        let place = Place {
            folder: folder.path().to_owned(),
            plain: ports[0].port,
            tls: ports[1].port,
            admin: ports[2].port,
            clients: open_files().saturating_sub(OTHER_FILES) / 2,
        };
        fs::create_dir(folder.path().join(DRAFTS))?;
        fs::create_dir(folder.path().join(SAID))?;
        for file in dialect.files(&place, estate)? {
            let path = folder.path().join(&file.path);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, &file.text).with_context(|| format!("writing {}", file.path))?;
        }
        let mut command = command(choice, dialect, &place, core)?;
        let begun = Instant::now();
        let child = command.spawn().context("setpriv and taskset (util-linux) cannot be started")?;
        let mut subject =
            Self { child, place, dialect, ready: Duration::ZERO, _ports: ports, _folder: folder };
        subject.await_serving(begun, serves)?;
        Ok(subject)
    }

    fn await_serving(&mut self, begun: Instant, serves: impl Fn(&Place) -> Option<()>) -> Result<()> {
        while serves(&self.place).is_none() {
            interrupt::look()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("it has ended ({status}); it said:\n{}", self.complaint());
            }
            if begun.elapsed() > START_LIMIT {
                bail!("it does not serve after {START_LIMIT:?}; it said:\n{}", self.complaint());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.ready = begun.elapsed();
        Ok(())
    }

    /// The process whose time and memory count, with its children.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Where it takes plaintext.
    pub(crate) fn plain(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.place.plain).into()
    }

    /// Where it takes TLS.
    pub(crate) fn tls(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.place.tls).into()
    }

    /// Waits a moment where a reload may still be going on: HAProxy's master forgets one that it is asked for meanwhile.
    pub(crate) fn rest(&self) {
        if self.dialect.reload().is_some() {
            std::thread::sleep(RELOADED);
        }
    }

    /// Writes what is to be changed beside its configuration, where it does not look.
    pub(crate) fn draft(&self, files: &[File]) -> Result<()> {
        for (number, file) in files.iter().enumerate() {
            fs::write(self.place.folder.join(DRAFTS).join(number.to_string()), &file.text)?;
        }
        Ok(())
    }

    /// Renames the drafts of the same files into their places, and says so where it wants to be told. Gives when it began.
    pub(crate) fn change(&self, files: &[File]) -> Result<Instant> {
        let begun = Instant::now();
        for (number, file) in files.iter().enumerate() {
            let draft = self.place.folder.join(DRAFTS).join(number.to_string());
            fs::rename(draft, self.place.folder.join(&file.path))?;
        }
        if let Some(reload) = self.dialect.reload() {
            signal(&self.child, reload)?;
        }
        Ok(begun)
    }

    /// Renames the drafts of the same files into a place that nobody follows: what changes cost those who make them.
    pub(crate) fn change_nothing(&self, files: &[File]) -> Result<()> {
        let drafts = self.place.folder.join(DRAFTS);
        for number in 0..files.len() {
            fs::rename(drafts.join(number.to_string()), drafts.join("nothing"))?;
        }
        Ok(())
    }

    /// The end of what it has said: why something failed.
    pub(crate) fn complaint(&self) -> String {
        let text = |file: &str| fs::read_to_string(self.place.folder.join(file)).unwrap_or_default();
        let said: String =
            ["said/stderr", "error.log", "traefik.log"].iter().map(|file| text(file)).collect();
        last_lines(&said)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Where folders are made. Memory, where there is a file system of it: a thousand files a second written to a disk, each
/// renamed over another, take all of the core that the load comes from.
fn shelf() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// Where drafts are written, on the file system of the configuration.
const DRAFTS: &str = "drafts";

/// Where what it says goes: a folder that nobody watches, as a pipe would be.
const SAID: &str = "said";

/// It ends when this program does, however that ends.
fn command(choice: &Choice, dialect: &dyn Dialect, place: &Place, core: usize) -> Result<Command> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &core.to_string()]).arg(choice.program());
    command.args(dialect.arguments().iter().map(|argument| place.fill(argument)));
    // Settings of whoever runs the bench would be measured, too.
    let settings = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTCULLIS_"));
    for (name, _) in settings {
        command.env_remove(name);
    }
    command.envs(dialect.environment().iter().map(|(name, value)| (name, place.fill(value))));
    let log =
        |file: &str| fs::File::create(place.folder.join(SAID).join(file)).context("a file for what it says");
    command.current_dir(&place.folder).stdin(Stdio::null()).stdout(log("stdout")?).stderr(log("stderr")?);
    Ok(command)
}
