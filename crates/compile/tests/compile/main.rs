//! Objects in, snapshot and diagnostics out, as text: one folder of `tests/cases` is one case.
//!
//! A folder holds `objects.yaml` and what is expected of it in `snapshot.txt` and `diagnostics.txt`; run with
//! `UPDATE=1` to write those. A line `# ports: services` has ports resolved from the Services of the workload.
//! `# show: routes` prints whole routes below the snapshot, `# show: settings` the mesh-wide settings.
//! `@cert(host)@` and `@key(host)@` stand for a certificate for that host and its key, base64 as Secrets have it.

mod random;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use portcullis_api::Object;
use portcullis_compile::{Compiled, Environment, Objects, Severity, compile};
use portcullis_snapshot::listener::ChainService;
use support::{Shuffle, printed};

#[test]
fn every_case_compiles_to_what_is_written() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for case in folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")) {
        let text = fs::read_to_string(case.join("objects.yaml")).expect("a case has objects");
        let compiled = compiled(&text);
        let (mut snapshot, diagnostics) = printed(&compiled);
        if has_line(&text, "# show: routes") {
            snapshot += &support::whole_routes(&compiled.snapshot);
        }
        if has_line(&text, "# show: settings") {
            snapshot += &format!("{:?}\n", compiled.snapshot.settings);
        }
        for (name, found) in [("snapshot.txt", snapshot), ("diagnostics.txt", diagnostics)] {
            let file = case.join(name);
            if update {
                fs::write(&file, found).expect("the case folder can be written to");
            } else if fs::read_to_string(&file).unwrap_or_default() != found {
                wrong.push(format!("{}\n{found}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "differ from what is written (UPDATE=1 accepts):\n\n{}", wrong.join("\n\n"));
}

#[test]
fn a_listener_tells_whether_its_chains_carry_bytes() {
    let mut told = Vec::new();
    for case in folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")) {
        let text = fs::read_to_string(case.join("objects.yaml")).expect("a case has objects");
        for listener in &compiled(&text).snapshot.listeners {
            let mut chains = listener.tls.values();
            let carries = chains.any(|chain| matches!(chain.service, ChainService::Tcp(_)));
            assert_eq!(listener.carries_bytes, carries, "{} of {}", listener.name, case.display());
            told.push(carries);
        }
    }
    assert!(told.contains(&true) && told.contains(&false), "the cases have both");
}

#[test]
fn the_order_of_objects_does_not_matter() {
    for case in folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")) {
        let text = fs::read_to_string(case.join("objects.yaml")).expect("a case has objects");
        assert_order_does_not_matter(&case, &text);
    }
}

#[test]
fn recorded_configurations_compile_the_same_in_any_order() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/istio/cases");
    let cases = folders(&recorded);
    assert!(!cases.is_empty(), "the recorded cases are part of the repository");
    for case in cases {
        let text = fs::read_to_string(case.join("config.yaml")).expect("a case has a configuration");
        assert_order_does_not_matter(&case, &text);
    }
}

fn assert_order_does_not_matter(case: &Path, text: &str) {
    let environment = environment(text);
    let mut objects = objects(text);
    let expected = printed(&compile(&Objects::from_iter(objects.clone()), &environment));
    let mut shuffle = Shuffle::default();
    for _ in 0..4 {
        shuffle.shuffle(&mut objects);
        let found = printed(&compile(&Objects::from_iter(objects.clone()), &environment));
        assert_eq!(found, expected, "{}", case.display());
    }
}

fn compiled(text: &str) -> Compiled {
    compile(&Objects::from_iter(objects(text)), &environment(text))
}

fn objects(text: &str) -> Vec<Object> {
    let loaded = portcullis_api::load("objects.yaml", &support::with_certificates(text));
    // What breaks a rule of the schema is compiled all the same, and some cases are about just that.
    let costs = |code| !matches!(code, portcullis_api::Code::InvalidValue);
    let broken: Vec<_> = loaded
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error && costs(finding.code))
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
    loaded.objects
}

fn environment(text: &str) -> Environment {
    let mut environment = Environment::for_tests();
    // A time at which the certificates made for the cases are valid.
    environment.now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    if has_line(text, "# ports: services") {
        environment.ports = None;
    }
    environment
}

fn has_line(text: &str, wanted: &str) -> bool {
    text.lines().any(|line| line == wanted)
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).expect("the folder of cases exists");
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}
