//! The commands as users call them: output, exit status, signals.

mod support;

use std::fs;

use serde_json::Value;
use support::{Gateway, portcullis};

const GOOD: &str = include_str!("good.yaml");

fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("a.yaml"), text).expect("write");
    folder
}

fn path(folder: &tempfile::TempDir) -> &str {
    folder.path().to_str().expect("text")
}

#[test]
fn check_is_content_with_good_configuration() {
    let good = folder(GOOD);
    let run = portcullis(&["check", path(&good)]);
    assert_eq!((run.status, run.stdout.as_str()), (0, "ok: 4 objects in 1 file, nothing found\n"));
}

#[test]
fn check_names_object_field_and_line() {
    let bad = folder(&GOOD.replace("host: api}", "host: nowhere}"));
    let run = portcullis(&["check", path(&bad)]);
    assert_eq!(run.status, 1, "{}", run.stdout);
    for part in ["error[IST0101", "a.yaml:", "VirtualService default/vs spec.http[2]", "found: 1 error"] {
        assert!(run.stdout.contains(part), "{part} in {}", run.stdout);
    }
    let only_errors = portcullis(&["check", path(&bad), "--severity", "error", "-o", "json"]);
    let report: Value = serde_json::from_str(&only_errors.stdout).expect("json");
    assert_eq!(report["findings"][0]["object"]["kind"], "VirtualService");
}

#[test]
fn check_reads_standard_input() {
    let run = support::with_input(&["check", "-"], GOOD);
    assert_eq!((run.status, run.stdout.as_str()), (0, "ok: 4 objects in 1 file, nothing found\n"));
    assert_eq!(support::with_input(&["check", "-"], "kind: [").status, 1);
}

#[test]
fn what_cannot_run_ends_with_2_and_says_why() {
    let good = folder(GOOD);
    for (arguments, part) in [
        (vec!["check", "/nowhere/at/all"], "no such file"),
        (vec!["explain", path(&good), "GET /path"], "names no URL"),
        (vec!["explain", path(&good), "http://a.test/", "-H", "x"], "has no colon"),
        (vec!["run", "--config", "/nowhere/at/all"], "--config"),
        (vec!["run"], "--config PATH"),
        (vec!["run", "--config", path(&good), "--admin", "0.0.0.0:15000"], "loopback"),
        (vec!["run", "--config", path(&good), "--log", "a=b=c"], "log level"),
        (vec!["frobnicate"], "frobnicate"),
    ] {
        let run = portcullis(&arguments);
        assert_eq!(run.status, 2, "{arguments:?}: {}", run.stderr);
        let said = run.stderr.to_lowercase();
        assert!(said.contains(&part.to_lowercase()), "{arguments:?}: {said}");
    }
}

#[test]
fn explain_tells_the_winner_and_why_the_others_lost() {
    let good = folder(GOOD);
    let run = portcullis(&["explain", path(&good), "GET http://a.test/api/x"]);
    assert_eq!(run.status, 0);
    let expected = "\
GET http://a.test/api/x
  listener      0.0.0.0_80 (port 80)
  server        Gateway default/gw servers[0]
  tls           plaintext
  virtual host  a.test:80
  rule lost     VirtualService default/vs http[0].match[0]: needs path = \"/old\", the path is \"/api/x\"
  rule lost     VirtualService default/vs http[1].match[0]: needs header x-team=\"blue\", it is absent
  rule won      VirtualService default/vs http[2].match[0]: path starts with \"/api\"
  forward to    outbound|80||api.default.svc.cluster.local (HTTP/1.1, least request)
  endpoint      127.0.0.9:8080
";
    assert!(run.stdout.starts_with(expected), "{}", run.stdout);
}

#[test]
fn explain_follows_headers_redirects_and_mapped_ports() {
    let good = folder(GOOD);
    let ask = |rest: &[&str]| {
        let run = portcullis(&[&["explain", path(&good)], rest, &["-o", "json"]].concat());
        (run.status, serde_json::from_str::<Value>(&run.stdout).expect("json"))
    };
    let (status, blue) = ask(&["http://a.test/", "-H", "X-Team: blue"]);
    assert_eq!((status, &blue["outcome"]["status"]), (0, &204.into()));
    let (_, moved) = ask(&["http://a.test/old?x=1"]);
    assert_eq!(moved["outcome"]["location"], "http://a.test/new?x=1");
    let (status, mapped) = ask(&["http://a.test:18080/api", "--port-map", "80:18080"]);
    assert_eq!((status, &mapped["listener"]["boundPort"]), (0, &18080.into()));
    let (status, missing) = ask(&["http://b.test/"]);
    assert_eq!((status, &missing["outcome"]["status"]), (1, &404.into()));
    let (status, closed) = ask(&["https://a.test/"]);
    assert_eq!((status, &closed["routed"]), (1, &false.into()));
}

#[test]
fn the_example_of_a_migration_routes_as_its_readme_says() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/examples/istio-migration");
    let ask = |question| portcullis(&["explain", example, question]);
    let psql = ask("postgres://dev.postgres.fullstack.pw");
    assert_eq!(psql.status, 0, "{}", psql.stdout);
    assert!(psql.stdout.contains("testing-postgresql-vs tls[0].match[0]"), "{}", psql.stdout);
    assert!(ask("http://app.fullstack.pw/").stdout.contains("301, location https://app.fullstack.pw/"));
    // Its certificates are made by cert-manager: here they are missing, and said to be.
    let app = ask("https://app.fullstack.pw/");
    assert_eq!(app.status, 1);
    assert!(app.stdout.contains("istio-system/app-fullstack-pw"), "{}", app.stdout);
}

#[test]
fn crds_and_version_are_printed() {
    let crds = portcullis(&["crds"]);
    assert_eq!((crds.status, crds.stdout.matches("kind: CustomResourceDefinition").count()), (0, 5));
    let version = portcullis(&["version"]);
    assert!(version.stdout.starts_with(concat!("portcullis ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_taken_port_is_told_with_the_flag_that_moves_it() {
    let good = folder(GOOD);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let address = taken.local_addr().expect("address").to_string();
    let run = portcullis(&["run", "--config", path(&good), "--admin", &address]);
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains(&address) && run.stderr.contains("--admin off"), "{}", run.stderr);
}

#[test]
fn the_gateway_gets_ready_shows_itself_and_drains() {
    // A fixed response needs no backend.
    let port = support::free_port();
    let config = folder(&GOOD.replace("number: 80,", &format!("number: {port},")));
    let mut gateway = Gateway::start(path(&config));
    gateway.wait_for("ready");
    let answer = support::get(&format!("127.0.0.1:{port}"), BLUE);
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(support::page(&gateway.own_port("Health"), "GET", "/healthz/ready").starts_with("HTTP/1.1 200 "));
    let admin = gateway.own_port("Admin");
    for (page, part) in [
        ("/", "GET  /config_dump"),
        ("/config_dump", "VirtualService default/vs"),
        ("/clusters", "127.0.0.9:8080"),
        ("/listeners", "\"open\": true"),
        ("/certs", "[]"),
        ("/diagnostics", "nothing found"),
        ("/server_info", "\"state\": \"ready\""),
        ("/stats/prometheus", "portcullis_config_generation 1"),
        (&format!("/explain?url=http%3A%2F%2Fa.test:{port}%2Fapi"), "rule won"),
    ] {
        let answer = support::page(&admin, "GET", page);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(part), "{page}: {answer}");
    }
    let line = gateway.access_log_line();
    assert_eq!(serde_json::from_str::<Value>(&line).expect("json")["response_code"], 204);
    assert!(support::page(&admin, "POST", "/quitquitquit").starts_with("HTTP/1.1 200 "));
    assert_eq!(gateway.exit_status(), 0);
}

#[test]
fn the_admin_port_refuses_what_it_must() {
    let config = folder("");
    let mut gateway = Gateway::start(path(&config));
    let admin = gateway.own_port("Admin");
    let status = |method, page| support::page(&admin, method, page)[9..12].to_owned();
    assert_eq!(status("GET", "/quitquitquit"), "405");
    assert_eq!(status("POST", "/logging?level=a=b=c"), "400");
    assert_eq!(status("POST", "/logging?level=debug"), "200");
    assert_eq!(status("GET", "/explain"), "400");
    assert_eq!(status("GET", "/nothing"), "404");
    let rebound = "GET /config_dump HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert!(support::get(&admin, rebound).starts_with("HTTP/1.1 403 "));
    let forged = format!(
        "POST /quitquitquit HTTP/1.1\r\nhost: {admin}\r\norigin: https://evil.example\r\nconnection: close\r\n\r\n"
    );
    assert!(support::get(&admin, &forged).starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_change_of_a_file_is_served() {
    let port = support::free_port();
    let text = GOOD.replace("number: 80,", &format!("number: {port},"));
    let config = folder(&text);
    let mut gateway = Gateway::start(path(&config));
    gateway.wait_for("ready");
    fs::write(config.path().join("a.yaml"), text.replace("status: 204", "status: 418")).expect("write");
    gateway.wait_for("generation=2");
    let answer = support::get(&format!("127.0.0.1:{port}"), BLUE);
    assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
    gateway.terminate();
    assert_eq!(gateway.exit_status(), 0);
}

#[test]
fn the_demo_serves_and_leaves_nothing_behind() {
    let mut demo = Gateway::start_with(&["demo", "--no-postgres"]);
    let line = demo.printed("curl -si http://shop.localhost:");
    let port = line.trim().trim_end_matches('/').rsplit(':').next().expect("port").to_owned();
    let request = "GET /x HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close\r\n\r\n";
    let answer = support::get(&format!("127.0.0.1:{port}"), request);
    assert!(
        answer.starts_with("HTTP/1.1 301 ") && answer.contains("location: https://shop.localhost"),
        "{answer}"
    );
    let line = demo.printed("Configuration: ");
    let folder = line.split_whitespace().nth(1).expect("folder").to_owned();
    assert_eq!(portcullis(&["check", &folder]).status, 0);
    demo.terminate();
    assert_eq!(demo.exit_status(), 0);
    assert!(!std::path::Path::new(&folder).exists());
}

const BLUE: &str = "GET / HTTP/1.1\r\nhost: a.test\r\nx-team: blue\r\nconnection: close\r\n\r\n";

#[test]
fn the_doctor_needs_a_cluster() {
    let folder = tempfile::tempdir().expect("folder");
    let missing = folder.path().join("kubeconfig");
    let run = support::with_environment(&["doctor"], &[("KUBECONFIG", &missing)]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("there are no credentials for a cluster"), "{}", run.stderr);
}
