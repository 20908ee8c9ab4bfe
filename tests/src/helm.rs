//! The chart, rendered by Helm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Finished, run, skipped};

/// Names the program.
const PROGRAM: &str = "PORTCULLIS_TEST_HELM";
/// The release, as the chart's documentation has it.
const RELEASE: &str = "portcullis";
/// The cluster that templates are told of: the one that renders are put to.
const CLUSTER: &str = "v1.35.4";
/// Far more than a render takes.
const LIMIT: Duration = Duration::from_secs(60);

/// The Helm program.
pub struct Helm(PathBuf);

impl Helm {
    /// Finds it; `None`, with a word on standard error, where it is not there.
    pub fn find() -> Option<Self> {
        let found = std::env::var_os(PROGRAM).map(|program| Self(program.into()));
        if found.is_none() {
            skipped(&format!("a test of the chart needs {PROGRAM} (cargo xtask test)"));
        }
        found
    }

    /// Renders the chart for a namespace with these arguments.
    ///
    /// # Panics
    /// When Helm does not run.
    pub fn template(&self, namespace: &str, arguments: &[&str]) -> Finished {
        self.template_of(&chart(), namespace, arguments)
    }

    /// The same of a chart that is somewhere else.
    ///
    /// # Panics
    /// When Helm does not run.
    pub fn template_of(&self, chart: &Path, namespace: &str, arguments: &[&str]) -> Finished {
        let mut command = Command::new(&self.0);
        command.args(["template", RELEASE]).arg(chart).args(["--namespace", namespace]);
        command.args(["--kube-version", CLUSTER]).args(arguments);
        self.finish(command)
    }

    /// Looks the chart over with these arguments.
    ///
    /// # Panics
    /// When Helm does not run.
    pub fn lint(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(&self.0);
        command.args(["lint", "--strict", "--kube-version", CLUSTER]).arg(chart()).args(arguments);
        self.finish(command)
    }

    /// Helm keeps nothing at home.
    fn finish(&self, mut command: Command) -> Finished {
        let home = tempfile::tempdir().expect("a folder for Helm");
        for place in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(place, home.path());
        }
        run(&mut command, LIMIT).expect("Helm runs")
    }
}

/// A file of `deploy`.
pub fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    deployed("helm/portcullis")
}

/// The sets of values that are rendered and recorded, each with the namespace it is for, by name.
///
/// # Panics
/// When the folder cannot be read.
pub fn value_sets() -> Vec<(String, &'static str)> {
    let files = fs::read_dir(chart().join("ci")).expect("the sets of values");
    let names = files.flatten().filter_map(|file| {
        let name = file.file_name().to_string_lossy().strip_suffix("-values.yaml")?.to_owned();
        let namespace = if name == "restricted" { "edge" } else { "istio-system" };
        Some((name, namespace))
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Compares a file of the repository with what it should be; writes it where `UPDATE` is set.
///
/// # Panics
/// When it differs, with the first line that does.
pub fn expect_file(path: &Path, wanted: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, wanted).expect("a file of the repository");
        return;
    }
    let present = fs::read_to_string(path).unwrap_or_default();
    let mut lines = present.lines().zip(wanted.lines()).enumerate();
    let differing = lines.find(|(_, (present, wanted))| present != wanted);
    assert!(
        present == wanted,
        "{} is out of date at {differing:?}; UPDATE=1 cargo xtask test helm writes it",
        path.display()
    );
}
