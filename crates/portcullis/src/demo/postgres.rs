//! A PostgreSQL server of the demo's own, where `initdb` and `postgres` are installed.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::pki::Leaf;

/// The one user of the server; it asks for no password, and listens on 127.0.0.1 only.
pub(crate) const USER: &str = "demo";

/// A running server; stopped when dropped.
pub(crate) struct Postgres {
    process: Child,
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
}

impl Postgres {
    /// Starts a server with TLS by this certificate, its files in `folder`. `None` where none is installed.
    ///
    /// # Errors
    /// When an installed one cannot be started.
    pub(crate) fn start(folder: &Path, leaf: &Leaf) -> anyhow::Result<Option<Self>> {
        let Some(programs) = programs() else { return Ok(None) };
        let account = Account::find();
        fs::create_dir(folder)?;
        let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
        fs::write(&certificate, &leaf.certificate)?;
        fs::write(&key, &leaf.key)?;
        // The server refuses a key that others may read.
        fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        for path in [folder, &certificate, &key] {
            account.own(path)?;
        }
        let data = folder.join("data");
        let output = account
            .command(&programs.join("initdb"), folder)
            .args([
                "--username",
                USER,
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .output()
            .context("initdb cannot be run")?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let process = account
            .command(&programs.join("postgres"), folder)
            .arg("-D")
            .arg(&data)
            .args(settings(port, &certificate, &key))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log"))?)
            .spawn()
            .context("postgres cannot be run")?;
        Ok(Some(Self { process, port }))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // QUIT cuts sessions and gives shared memory back; its files are removed anyway.
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::QUIT).is_ok());
        if !asked {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn settings(port: u16, certificate: &Path, key: &Path) -> Vec<String> {
    [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.display()),
        format!("ssl_key_file={}", key.display()),
        "fsync=off".to_owned(),
    ]
    .into_iter()
    .flat_map(|setting| ["-c".to_owned(), setting])
    .collect()
}

/// The folder with `initdb` and `postgres`: the newest of Debian's, else one on the `PATH`.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let newest_first = versions.into_iter().rev().map(|(_, path)| path);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = std::env::split_paths(&path).collect();
    newest_first
        .chain(on_path)
        .find(|folder| ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file()))
}

/// As whom the server runs: PostgreSQL refuses root.
struct Account {
    ids: Option<(u32, u32)>,
}

impl Account {
    fn find() -> Self {
        let users = match geteuid().is_root() {
            true => fs::read_to_string("/etc/passwd").unwrap_or_default(),
            false => String::new(),
        };
        Self { ids: ["postgres", "nobody"].iter().find_map(|name| ids(&users, name)) }
    }

    fn own(&self, path: &Path) -> std::io::Result<()> {
        match self.ids {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        // A group of its own: Ctrl-C is for the demo, which stops the server in order.
        command.current_dir(folder).env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }
}

/// User and group of a name in the form of `/etc/passwd`.
fn ids(users: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = users
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\npostgres2:x:1:1::/:\npostgres:x:101:104:,,,:/:/bin/bash\n";
        assert_eq!(ids(users, "postgres"), Some((101, 104)));
        assert_eq!(ids(users, "nobody"), None);
    }
}
