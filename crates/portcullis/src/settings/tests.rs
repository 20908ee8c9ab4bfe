//! Which of flag, file and default wins, and that the documented file says what the code does.

use portcullis_compile::{ProxyProtocolMode, ProxyProtocolPorts};

use super::*;
use crate::args::PortArgs;

const DOCUMENTED: &str = include_str!("../../../../config/portcullis.toml");

fn args() -> RunArgs {
    RunArgs { config: vec![".".into()], ..RunArgs::default() }
}

#[test]
fn a_flag_wins_over_the_file_and_that_over_the_default() {
    let file =
        || FileSettings::parse("[drain]\ndelay_seconds = 7\n[log]\naccess_log = \"off\"").expect("file");
    let both = Settings::join(RunArgs { drain: Some(1), ..args() }, file()).expect("settings");
    assert_eq!((both.drain.as_secs(), both.access_log), (1, AccessLog::Off));
    let default = Settings::join(args(), FileSettings::default()).expect("settings");
    assert_eq!((default.drain.as_secs(), default.access_log), (5, AccessLog::Json));
}

#[test]
fn the_documented_file_holds_every_default() {
    // Each key stands there commented out with its default: uncommented, it changes nothing.
    let uncommented: String = DOCUMENTED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with([' ', '#']) && rest.contains(" = ") => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    let written = FileSettings::parse(&uncommented).expect("the documented file");
    let written = Settings::join(args(), written).expect("settings");
    let default = Settings::join(args(), FileSettings::default()).expect("settings");
    let shown = |mut settings: Settings| {
        settings.workers = 1;
        let mut environment = Environment::for_tests();
        settings.workload.apply(&mut environment);
        let Settings { settle, ports, access_log, access_log_buffer, log, log_json, drain, finish, .. } =
            settings;
        let who = (
            environment.workload,
            environment.root_namespace,
            environment.cluster_domain,
            environment.ports,
            environment.proxy_protocol,
        );
        format!(
            "{settle:?} {ports:?} {access_log:?} {access_log_buffer} {log} {log_json} {drain:?} {finish:?} {who:?}"
        )
    };
    assert_eq!(shown(written), shown(default));
}

#[test]
fn every_key_is_documented() {
    for key in [
        "workers",
        "paths",
        "settle_quiet_ms",
        "settle_longest_ms",
        "settle_whole_ms",
        "enabled",
        "context",
        "namespaces",
        "pod",
        "write_status",
        "cache_dir",
        "cache_key_file",
        "issuers",
        "name",
        "namespace",
        "labels",
        "locality",
        "node",
        "root_namespace",
        "cluster_domain",
        "map",
        "offset",
        "admin",
        "metrics",
        "stats",
        "health",
        "mode",
        "ports",
        "trusted",
        "level",
        "json",
        "access_log",
        "access_log_buffer_bytes",
        "delay_seconds",
        "finish_seconds",
        "max_series",
        "header_timeout_seconds",
        "idle_timeout_seconds",
        "peek_timeout_seconds",
        "handshake_timeout_seconds",
        "max_streams",
        "max_requests_per_connection",
        "max_connections_per_worker",
        "retry_buffer_bytes",
        "lenient_http1",
    ] {
        assert!(DOCUMENTED.lines().any(|line| line.starts_with(&format!("#{key} = "))), "{key}");
    }
}

#[test]
fn mistakes_are_told() {
    assert!(FileSettings::parse("wrokers = 3").is_err());
    assert!(FileSettings::parse("[ports]\nadmin = \"localhost\"").is_err());
    let outside =
        PortArgs { admin: Some(Listen(Some(([0, 0, 0, 0], 15_000).into()))), ..PortArgs::default() };
    let error =
        Settings::join(RunArgs { ports: outside, ..args() }, FileSettings::default()).expect_err("refused");
    assert!(error.to_string().contains("loopback"), "{error}");
    let error = Settings::join(RunArgs { config: Vec::new(), ..args() }, FileSettings::default())
        .expect_err("refused");
    assert!(error.to_string().contains("--config"), "{error}");
}

#[test]
fn ports_are_mapped_from_the_file_and_from_flags() {
    let file = FileSettings::parse("[ports]\noffset = 100\nmap = { 80 = 8080, 443 = 8443 }").expect("file");
    let mut args = args();
    args.workload.port_map = vec!["443:9443".parse().expect("port")];
    let mut environment = Environment::for_tests();
    Settings::join(args, file).expect("settings").workload.apply(&mut environment);
    let ports = environment.ports.expect("mapped");
    assert_eq!([80, 443, 22].map(|port| ports.bound(port)), [Some(8080), Some(9443), Some(122)]);
}

#[test]
fn where_proxy_headers_are_expected() {
    let file = FileSettings::parse(
        "[proxy_protocol]\nmode = \"strict\"\nports = { 80 = \"off\", 443 = \"tolerant\" }\ntrusted = [\"10.0.0.0/8\"]",
    );
    let mut args = args();
    args.workload.proxy_protocol =
        ["443:mesh", "5432:tolerant"].map(|text| text.parse().expect("port")).into();
    let mut environment = Environment::for_tests();
    Settings::join(args, file.expect("file")).expect("settings").workload.apply(&mut environment);
    let expected = ProxyProtocolPorts {
        every: Some(ProxyProtocolMode::Strict),
        ports: [(80, ProxyProtocolMode::Off), (5432, ProxyProtocolMode::Tolerant)].into(),
        trusted: vec!["10.0.0.0/8".parse().expect("range")],
    };
    assert_eq!(environment.proxy_protocol, expected);
    assert!(FileSettings::parse("[proxy_protocol]\ntrusted = [\"everyone\"]").is_err());
    assert!(FileSettings::parse("[proxy_protocol]\nmode = \"on\"").is_err());
}

#[test]
fn a_cache_needs_a_folder_and_a_whole_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, [7; 31]).expect("written");
    let join = |dir: &str, key: &std::path::Path| {
        let text = format!(
            "[kubernetes]\nenabled = true\ncache_dir = \"{dir}\"\ncache_key_file = \"{}\"",
            key.display()
        );
        Settings::join(args(), FileSettings::parse(&text).expect("file"))
    };
    assert!(join("", &key).expect_err("refused").to_string().contains("--cache-dir"));
    let error = format!("{:#}", join("/somewhere", &key).expect_err("refused"));
    assert!(error.contains("32 bytes"), "{error}");
    std::fs::write(&key, [7; 32]).expect("written");
    let settings = join("/somewhere", &key).expect("settings");
    let cluster = settings.cluster.expect("a cluster");
    assert!(cluster.cache.is_some_and(|place| place.key.is_some()));
    assert_eq!(cluster.write_status, None);
    // Not set at all.
    let settings = join("", std::path::Path::new("")).expect("settings");
    assert!(settings.cluster.is_some_and(|cluster| cluster.cache.is_none()));
}
