//! `dist`: what is shipped, as files of one folder: the static binary, an image that needs no other, the chart's archive,
//! the list of what is in the binary, and the checksums of all of them.
//!
//! No Docker is needed, and the same commit makes the same bytes, by the same counts of what the program does
//! (`program.rs`): times are the commit's, and entries stand in order.

mod archive;
mod authorities;
mod chart;
mod image;
pub(crate) mod program;
mod sbom;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::process::{output, step};
use crate::workspace::{Workspace, root};
use archive::{hex, sha256};
use program::{Built, Guide};

/// What is shipped, and where.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Take this program instead of building one.
    #[arg(long, conflicts_with_all = ["guide", "plain"])]
    binary: Option<PathBuf>,
    /// Compile by these counts of what the program does, of an earlier `dist`, instead of counting anew.
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    guide: Option<PathBuf>,
    /// Compile without such counts: one build instead of two, and a program that takes more time for each request.
    #[arg(long)]
    plain: bool,
    /// The folder to write to.
    #[arg(long, default_value = "dist")]
    out: PathBuf,
}

/// No image is larger.
const LARGEST_IMAGE: usize = 25 << 20;

/// Which state of the project is shipped.
pub(crate) struct Release {
    version: String,
    /// The commit, where there is one.
    revision: String,
    /// When it was made, in seconds since 1970.
    time: u64,
}

impl Release {
    fn load() -> Result<Self> {
        let git =
            |args: &[&str]| output(Command::new("git").args(args).current_dir(root())).unwrap_or_default();
        let committed = || git(&["log", "-1", "--format=%ct"]).trim().parse().ok();
        // https://reproducible-builds.org/specs/source-date-epoch/
        let told = env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
        Ok(Self {
            version: version()?,
            revision: git(&["rev-parse", "HEAD"]).trim().to_owned(),
            time: told.or_else(committed).unwrap_or(0),
        })
    }

    /// Its time as RFC 3339 has it.
    fn created(&self) -> Result<String> {
        let shown = output(Command::new("date").args([
            "-u",
            "-d",
            &format!("@{}", self.time),
            "+%Y-%m-%dT%H:%M:%SZ",
        ]));
        Ok(shown.context("writing the time of the release")?.trim().to_owned())
    }
}

/// The command.
pub(crate) fn command(options: &Options) -> Result<()> {
    let release = Release::load()?;
    let guide = match &options.guide {
        Some(path) => Guide::File(path.clone()),
        None if options.plain => Guide::None,
        None => Guide::Counted,
    };
    let built = match &options.binary {
        Some(path) => Built { program: path.clone(), counts: None },
        None => program::build(&guide)?,
    };
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let binary = read(&built.program)?;
    let version = &release.version;
    step("image, chart and bill of materials");
    let image = image::archive(&release, &binary)?;
    if options.binary.is_none() {
        ensure!(
            image.len() <= LARGEST_IMAGE,
            "the image has {} bytes, more than {LARGEST_IMAGE}",
            image.len()
        );
    }
    let mut files = vec![
        (format!("portcullis-{version}-linux-{}", image::architecture()), binary),
        (format!("portcullis-{version}-image-{}.tar", image::architecture()), image),
        (format!("portcullis-{version}.tgz"), chart::archive(&release)?),
        (format!("portcullis-{version}.cdx.json"), sbom::document(&release)?.into_bytes()),
    ];
    if let Some(counts) = &built.counts {
        files.push((format!("portcullis-{version}.profdata"), read(counts)?));
    }
    write(&options.out, &files)
}

fn version() -> Result<String> {
    let workspace = Workspace::load()?;
    let gateway = workspace.members().find(|package| package.name == "portcullis");
    Ok(gateway.context("the workspace has no package portcullis")?.version.clone())
}

/// Writes the files and their checksums, in the form that `sha256sum --check` reads.
fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    let folder = root().join(folder);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut sums = String::new();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).with_context(|| format!("writing {name}"))?;
        sums.push_str(&format!("{}  {name}\n", hex(&sha256(bytes))));
        println!("dist: {name}, {} KiB", bytes.len().div_ceil(1024));
    }
    make_executable(&folder.join(&files[0].0))?;
    fs::write(folder.join("SHA256SUMS"), sums).context("writing the checksums")
}

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).context("making the program executable")
}
