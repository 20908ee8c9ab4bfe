//! `dist`: what is shipped, as files of one folder: the static binary, an image that needs no other, the chart's archive,
//! the list of what is in the binary, and the checksums of all of them.
//!
//! Neither Docker nor a network is needed, and the same commit makes the same bytes: times are the commit's, and entries
//! stand in order.

mod archive;
mod authorities;
mod chart;
mod image;
mod sbom;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::process::{cargo, output, run, step};
use crate::workspace::{Workspace, root};
use archive::{hex, sha256};

/// What is shipped, and where.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Take this program instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The folder to write to.
    #[arg(long, default_value = "dist")]
    out: PathBuf,
}

/// No image is larger.
const LARGEST_IMAGE: usize = 25 << 20;
/// What a program is built as: libc is in it, so that it runs where there is nothing.
const STATIC: &str = "-C target-feature=+crt-static";

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
    let built = match &options.binary {
        Some(path) => path.clone(),
        None => build()?,
    };
    let binary = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
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
    let files = [
        (format!("portcullis-{version}-linux-{}", image::architecture()), binary),
        (format!("portcullis-{version}-image-{}.tar", image::architecture()), image),
        (format!("portcullis-{version}.tgz"), chart::archive(&release)?),
        (format!("portcullis-{version}.cdx.json"), sbom::document(&release)?.into_bytes()),
    ];
    write(&options.out, &files)
}

fn version() -> Result<String> {
    let workspace = Workspace::load()?;
    let gateway = workspace.members().find(|package| package.name == "portcullis");
    Ok(gateway.context("the workspace has no package portcullis")?.version.clone())
}

/// Builds the program as it is shipped.
fn build() -> Result<PathBuf> {
    step("building the static program: ten minutes and more");
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut build = cargo();
    build.args(["build", "--locked", "--profile", "dist", "--package", "portcullis", "--bin", "portcullis"]);
    // With a target, the flag is not for build scripts and macros.
    run(build.args(["--target", &target]).env("RUSTFLAGS", STATIC).current_dir(root()))?;
    Ok(Workspace::load()?.target.join(target).join("dist/portcullis"))
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
