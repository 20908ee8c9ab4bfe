//! The image that `cargo xtask dist` makes, as a container that may do nothing but serve: no root, no capability, a
//! read-only file system and no network but loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{LIMIT, binary};
use portcullis_tests::helm::Helm;
use portcullis_tests::process::{Finished, Running, poll, program, run, skipped};
use tempfile::TempDir;

/// Packing a large program takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

const SITE: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: site, namespace: istio-system}
spec:
  hosts: ['*']
  gateways: [gw]
  http: [{directResponse: {status: 200, body: {string: from the image}}}]";

/// Podman with a store of its own, and one container there; both are gone when this is dropped.
struct Podman {
    folder: TempDir,
    name: String,
}

impl Podman {
    /// `None`, with a word on standard error, where no container can be run.
    fn find() -> Option<Self> {
        program("podman")?;
        if !Path::new("/usr/sbin/runc").exists() && program("runc").is_none() {
            return None;
        }
        if !is_root() {
            skipped("running the image needs root");
            return None;
        }
        let name = format!("portcullis-test-{}", std::process::id());
        Some(Self { folder: TempDir::with_prefix("image-").expect("a folder"), name })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(self.folder.path().join("root"))
            .arg("--runroot")
            .arg(self.folder.path().join("run"));
        // Debian's other runtime refuses mixed control groups, and systemd is not everywhere.
        command.args(["--storage-driver", "overlay", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
        command
    }

    fn done(&self, arguments: &[&str]) -> Finished {
        run(self.command().args(arguments), PATIENCE).expect("podman runs")
    }

    /// A container of the image, to be given arguments.
    fn container(&self, image: &str) -> Command {
        let mut command = self.command();
        command.args([
            "run",
            "--rm",
            "--name",
            &self.name,
            "--network",
            "none",
            "--read-only",
            "--cap-drop",
            "ALL",
        ]);
        command.args(["--security-opt", "no-new-privileges", "--pids-limit", "100", "--memory", "512m"]);
        // What the machine itself has is not always allowed to be raised.
        command.args(["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000"]);
        if needs_libraries() {
            // The program of the tests is linked as they are; the shipped one is not.
            for library in ["/lib", "/lib64"].map(PathBuf::from).into_iter().filter(|path| path.exists()) {
                command.arg("--volume").arg(format!("{0}:{0}:ro", library.display()));
            }
        }
        command.args(["--volume", &format!("{}:/config:ro", self.config().display()), image]);
        command
    }

    fn config(&self) -> PathBuf {
        let folder = self.folder.path().join("config");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("site.yaml"), SITE).expect("the configuration");
        // The container's user is nobody here.
        for path in [self.folder.path(), &folder] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("readable");
        }
        folder
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = run(self.command().args(["rm", "--force", "--time", "0", &self.name]), PATIENCE);
        // Layers are mounted below the folder as long as the store is there.
        let _ = run(self.command().args(["rmi", "--all", "--force"]), PATIENCE);
    }
}

/// Whether the built program is linked to libraries of the system.
fn needs_libraries() -> bool {
    let bytes = fs::read(binary()).expect("the program");
    bytes[..bytes.len().min(4096)].windows(8).any(|part| part == b"ld-linux")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Helm renders the chart's archive as it does the folder.
fn expect_the_chart(archive: &Path) {
    let Some(helm) = Helm::find() else { return };
    let (packed, present) =
        (helm.template_of(archive, "gw", &["--include-crds"]), helm.template("gw", &["--include-crds"]));
    assert_eq!(packed.code(), 0, "{}", packed.stderr);
    assert!(packed.stdout == present.stdout && packed.stdout.contains("kind: CustomResourceDefinition"));
}

/// The file of a folder with this ending.
fn ending(folder: &Path, ending: &str) -> PathBuf {
    let mut files = fs::read_dir(folder).expect("files").flatten().map(|file| file.path());
    files.find(|path| path.extension().is_some_and(|it| it == ending)).expect("a file")
}

/// What `dist` makes of the built program.
fn dist(out: &Path) {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--package", "xtask", "--", "dist", "--binary"]).arg(binary());
    command.arg("--out").arg(out).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let made = run(&mut command, PATIENCE).expect("cargo runs");
    assert_eq!(made.code(), 0, "{}", made.stderr);
    let sums =
        run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(out), PATIENCE);
    assert_eq!(sums.expect("sha256sum runs").code(), 0);
}

#[test]
fn the_image_serves_as_nobody_with_nothing() {
    let Some(podman) = Podman::find() else { return };
    let out = podman.folder.path().join("dist");
    dist(&out);
    expect_the_chart(&ending(&out, "tgz"));
    let image = ending(&out, "tar");
    let loaded = podman.done(&["load", "--input", &image.to_string_lossy()]);
    let name = loaded.stdout.lines().find_map(|line| line.strip_prefix("Loaded image: "));
    let name = name.unwrap_or_else(|| panic!("{} {}", loaded.stdout, loaded.stderr)).to_owned();
    assert_eq!(name, format!("ghcr.io/portcullis-gateway/portcullis:{}", env!("CARGO_PKG_VERSION")));

    let version = run(podman.container(&name).arg("version"), PATIENCE).expect("podman runs");
    assert_eq!(version.code(), 0, "{}", version.stderr);
    assert!(version.stdout.starts_with("portcullis "), "{}", version.stdout);

    let arguments = ["run", "--config", "/config", "--port-map", "80:8080", "--workers", "1", "--drain", "0"];
    let serving = Running::spawn(podman.container(&name).args(arguments)).expect("podman starts");
    let inside = poll(Instant::now() + PATIENCE, || {
        let said = podman.done(&["inspect", "--format", "{{.State.Pid}}", &podman.name]);
        said.stdout.trim().parse::<u32>().ok().filter(|pid| *pid > 0)
    });
    let inside = inside.expect("a process in the container");
    let get = |url: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &inside.to_string(), "--net", "curl", "-sS", "--max-time", "5", url]);
        run(&mut command, LIMIT).expect("curl runs")
    };
    let answer = poll(Instant::now() + LIMIT, || {
        let answer = get("http://127.0.0.1:8080/");
        (answer.code() == 0).then_some(answer.stdout)
    });
    assert_eq!(answer.as_deref(), Some("from the image"));
    assert_eq!(get("http://127.0.0.1:15021/healthz/ready").code(), 0);

    let status = fs::read_to_string(format!("/proc/{inside}/status")).expect("the process");
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
    assert!(line("Uid:").split_whitespace().all(|id| id == "65532"), "{status}");
    assert!(
        ["CapEff:", "CapPrm:", "CapBnd:"].iter().all(|key| line(key).trim_matches('0').is_empty()),
        "{status}"
    );
    assert_eq!(line("NoNewPrivs:"), "1");

    // The first process of a container gets no signal that it does not ask for: the gateway does.
    assert_eq!(podman.done(&["kill", "--signal", "TERM", &podman.name]).code(), 0);
    let ended = serving.finish(LIMIT).expect("the container ends");
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}
