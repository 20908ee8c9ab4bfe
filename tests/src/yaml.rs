//! YAML as values, read by a library that is not ours; and Istio's own files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::{run, skipped};

/// Far more than reading takes.
const LIMIT: Duration = Duration::from_secs(120);

/// The documents of a YAML text; `None`, with a word on standard error, where there is no Python to read it.
///
/// # Panics
/// When it cannot be read.
pub fn documents(yaml: &str) -> Option<Vec<Value>> {
    let Some(python) = std::env::var_os("PORTCULLIS_TEST_PYTHON") else {
        skipped("reading manifests needs PORTCULLIS_TEST_PYTHON (cargo xtask test)");
        return None;
    };
    let mut file = tempfile::NamedTempFile::new().expect("a file for the text");
    file.write_all(yaml.as_bytes()).expect("the text");
    let read = run(Command::new(python).args(["-c", READ]).arg(file.path()), LIMIT).expect("Python runs");
    assert_eq!(read.code(), 0, "{}", read.stderr);
    Some(serde_json::from_str(&read.stdout).expect("JSON"))
}

const READ: &str = "import json, sys, yaml
print(json.dumps([it for it in yaml.safe_load_all(open(sys.argv[1])) if it], default=str))";

/// The folder of Istio's sources; `None`, with a word on standard error, where they are not there.
pub fn istio() -> Option<PathBuf> {
    let found = std::env::var_os("PORTCULLIS_TEST_ISTIO").map(PathBuf::from);
    if found.is_none() {
        skipped("a test with Istio's own files needs PORTCULLIS_TEST_ISTIO (cargo xtask test)");
    }
    found
}

/// The text of every YAML file below a folder, in order.
///
/// # Panics
/// When something there cannot be read.
pub fn texts(folder: &Path) -> Vec<String> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(texts(&path));
        } else if path.extension().is_some_and(|it| it == "yaml") {
            found.push(fs::read_to_string(&path).expect("text"));
        }
    }
    found
}
