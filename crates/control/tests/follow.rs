//! The whole road from a file to the cell, with real notifications: what is written is published, once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_compile::Environment;
use portcullis_control::{Config, Controller, Report, SettleTimes};
use portcullis_snapshot::cell::{Reader, cell};

/// Far more than anything here takes; only a failing test waits for it.
const DEADLINE: Duration = Duration::from_secs(20);

struct Fixture {
    folder: tempfile::TempDir,
    controller: Controller,
    reader: Reader,
}

impl Fixture {
    fn new(files: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, text).expect("write");
        }
        let (publisher, reader) = cell();
        let config = Config {
            cluster: None,
            ties: portcullis_control::kubernetes::Ties::default(),
            paths: vec![folder.path().to_owned()],
            environment: Environment::for_tests(),
            settle: SettleTimes::DEFAULT,
            on_report: None,
        };
        let controller = Controller::start(config, publisher).expect("control thread");
        let fixture = Self { folder, controller, reader };
        fixture.until(|report| report.generation == 1);
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes beside the file and renames into place, as careful programs do.
    fn replace(&self, name: &str, text: &str) {
        let temporary = self.path(&format!(".{name}.new"));
        fs::write(&temporary, text).expect("write");
        fs::rename(temporary, self.path(name)).expect("rename");
    }

    fn until(&self, enough: impl FnMut(&Report) -> bool) -> Arc<Report> {
        let found = self.controller.status().wait(Instant::now() + DEADLINE, enough);
        found.unwrap_or_else(|| panic!("not reached: {:?}", self.controller.status().report()))
    }

    fn until_services(&self, count: usize) -> Arc<Report> {
        self.until(|report| report.objects.get("Service").copied().unwrap_or(0) == count)
    }
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{ports: [{{name: http, port: 80}}]}}\n---\n"
    )
}

#[test]
fn a_file_renamed_into_place_is_published() {
    let fixture = Fixture::new(&[("a.yaml", service("a"))]);
    fixture.replace("a.yaml", &(service("a") + &service("b")));
    let report = fixture.until_services(2);
    assert_eq!(fixture.reader.current().generation, report.generation);
}

#[test]
fn a_configmap_swap_is_one_publication() {
    let fixture = Fixture::new(&[("..1/a.yaml", service("a")), ("..1/b.yaml", service("b"))]);
    symlink("..1", fixture.path("..data")).expect("link");
    symlink("..data/a.yaml", fixture.path("a.yaml")).expect("link");
    symlink("..data/b.yaml", fixture.path("b.yaml")).expect("link");
    let before = fixture.until_services(2).compilations;

    let next = fixture.path("..2");
    fs::create_dir(&next).expect("folder");
    fs::write(next.join("a.yaml"), service("a") + &service("c")).expect("write");
    fs::write(next.join("b.yaml"), service("b") + &service("d")).expect("write");
    symlink("..2", fixture.path("..data_tmp")).expect("link");
    fs::rename(fixture.path("..data_tmp"), fixture.path("..data")).expect("rename");
    assert_eq!(fixture.until_services(4).compilations, before + 1);
}

#[test]
fn a_burst_is_few_compilations() {
    const FILES: usize = 200;
    let fixture = Fixture::new(&[]);
    for file in 0..FILES {
        fixture.replace(&format!("{file}.yaml"), &service(&format!("s{file}")));
    }
    let report = fixture.until_services(FILES);
    assert!(report.compilations < 20, "{}", report.compilations);
}

#[test]
fn a_broken_file_keeps_serving_and_a_mended_one_is_published() {
    let fixture = Fixture::new(&[("a.yaml", service("a"))]);
    fixture.replace("a.yaml", "kind: [\n");
    let kept = |report: &Report| report.notices_by_code().contains_key("KeptLastGood");
    let broken = fixture.until(kept);
    assert_eq!(broken.objects["Service"], 1);
    fixture.replace("a.yaml", &(service("a") + &service("b")));
    let mended = fixture.until_services(2);
    assert!(!kept(&mended));
}

#[test]
fn a_half_written_file_is_never_published() {
    use std::io::Write as _;
    let fixture = Fixture::new(&[("a.yaml", service("a"))]);
    let before = fixture.controller.status().report().generation;
    let mut file = fs::File::create(fixture.path("a.yaml")).expect("truncate");
    file.write_all(service("b").as_bytes()).expect("write");
    file.flush().expect("flush");
    // Another file is written and published meanwhile: the first one was looked past.
    fixture.replace("c.yaml", &service("c"));
    let meanwhile = fixture.until(|report| report.files == 2);
    assert_eq!(meanwhile.objects["Service"], 2);
    assert!(meanwhile.generation > before);
    file.write_all(service("d").as_bytes()).expect("write");
    drop(file);
    let report = fixture.until(|report| report.generation > meanwhile.generation);
    assert_eq!(report.objects["Service"], 3, "both halves at once");
}

#[test]
fn a_folder_deleted_and_created_again_is_followed_again() {
    let fixture = Fixture::new(&[("sub/a.yaml", service("a"))]);
    fs::remove_dir_all(fixture.path("sub")).expect("remove");
    fixture.until_services(0);
    fs::create_dir(fixture.path("sub")).expect("folder");
    fs::write(fixture.path("sub/a.yaml"), service("a") + &service("b")).expect("write");
    fixture.until_services(2);
    fs::write(fixture.path("sub/b.yaml"), service("c")).expect("write");
    fixture.until_services(3);
}
