//! WebSockets, between implementations that are not ours.

use std::net::SocketAddr;

use portcullis_tests::gateway::Setup;
use portcullis_tests::http::{gateway, routes, service, to};
use portcullis_tests::python::Script;

#[test]
fn websockets_pass() {
    let Some(mut script) = Script::start("websocket_echo.py") else { return };
    let server = SocketAddr::from(([127, 0, 0, 1], script.number("port")));
    let rule = "{match: [{uri: {prefix: /chat}}], route: [{destination: {host: ws, port: {number: 80}}}]}";
    let yaml = gateway() + &routes("ws", &["*"], &[rule.to_owned()]) + &service("ws", "http", &[server]);
    let gateway = Setup::new(yaml, &[80]).start();
    script.tell(&format!("gateway {}", gateway.port(80)));
    script.done();
    let lines = gateway.log_lines(21);
    let upgraded: Vec<_> = lines.iter().filter(|line| line["path"] == "/chat").collect();
    assert_eq!((lines.len(), upgraded.len()), (21, 20));
    for line in upgraded {
        assert_eq!((line["response_code"].as_u64(), line["response_flags"].as_str()), (Some(101), Some("-")));
        assert!(line["bytes_sent"].as_u64() > Some(2 << 20), "{line}");
    }
}

/// Two libraries, each as client and as server, and frames that no library sends.
#[test]
fn websockets_are_what_the_rfc_says() {
    let Some(mut script) = Script::start("websocket_conformance.py") else { return };
    let servers = ["websockets", "aiohttp"].map(|name| (name, script.number(name)));
    let mut yaml = portcullis_tests::objects::gateway(
        "gw",
        &[portcullis_tests::http::server(80, &["*"]), portcullis_tests::http::server(81, &["*"])],
    );
    let mut rules = Vec::new();
    for (port, (name, number)) in (80..).zip(servers) {
        let matched = format!("{{match: [{{port: {port}}}], ");
        rules.push(to(name, "").replacen('{', &matched, 1));
        yaml += &service(name, "http", &[SocketAddr::from(([127, 0, 0, 1], number))]);
    }
    let gateway = Setup::new(yaml + &routes("ws", &["*"], &rules), &[80, 81]).start();
    script.tell(&format!("gateway {} {}", gateway.port(80), gateway.port(81)));
    assert_eq!(script.number("checks"), 80);
    script.done();
}
