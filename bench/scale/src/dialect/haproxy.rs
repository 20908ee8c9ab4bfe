//! HAProxy: hosts and paths in a map, a backend for each service, and a reload by its master for each change.

use std::fmt::Write as _;

use anyhow::Result;
use rustix::process::Signal;

use super::{Dialect, File, Place, part, shown};
use crate::estate::{Estate, OWN, Site, TURN, name};

const CONFIGURATION: &str = include_str!("../../../peers/haproxy/haproxy.cfg");

#[derive(Debug)]
pub(super) struct Haproxy;

impl Dialect for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn arguments(&self) -> &'static [&'static str] {
        &["-W", "-db", "-f", "@FOLDER@/haproxy.cfg", "-f", "@FOLDER@/sites.cfg"]
    }

    fn files(&self, place: &Place, estate: &Estate<'_>) -> Result<Vec<File>> {
        Ok(vec![
            File::new("haproxy.cfg", place.fill(&main(estate)?)),
            File::new("sites.cfg", backends(estate)),
            File::new("sites.map", map(estate)),
        ])
    }

    fn added(&self, _: &Place, estate: &Estate<'_>) -> Vec<File> {
        vec![File::new("sites.map", map(estate))]
    }

    fn altered(&self, _: &Place, estate: &Estate<'_>) -> Vec<File> {
        vec![File::new("sites.cfg", backends(estate))]
    }

    fn reload(&self) -> Option<Signal> {
        Some(Signal::USR2)
    }
}

/// Idle connections may take most of the open files: there are as many as services.
const MAIN: &str = "
global
    tune.pool-high-fd-ratio 90
    tune.pool-low-fd-ratio 85

frontend web
    bind 127.0.0.1:@PLAIN@
    @BIND@
    option forwardfor
    unique-id-header X-Request-Id
    http-request set-var(txn.agent) req.fhdr(user-agent)
    http-request set-var(txn.host) req.hdr(host)
    http-request set-var(txn.site) base,lower,map_beg(@FOLDER@/sites.map)
    http-request return status 404 content-type text/plain string none if !{ var(txn.site) -m found }
    http-request return status 200 content-type text/plain string own if { path_beg @OWN@ }
    use_backend %[var(txn.site)]

frontend metrics
    bind 127.0.0.1:@ADMIN@
    http-request use-service prometheus-exporter if { path /metrics }
    option dontlog-normal
";

fn main(estate: &Estate<'_>) -> Result<String> {
    let head = part(CONFIGURATION, "global", "frontend web")?;
    let bind = estate.certificates.map(|certificates| {
        format!(
            "bind 127.0.0.1:@TLS@ ssl crt {}/ alpn h2,http/1.1 strict-sni",
            shown(&certificates.bundles())
        )
    });
    Ok(format!("{head}{}", MAIN.replace("@BIND@", &bind.unwrap_or_default()).replace("@OWN@", OWN)))
}

fn backends(estate: &Estate<'_>) -> String {
    let mut text = String::new();
    for site in estate.sites.iter().filter(|site| site.has_service()) {
        let _ = writeln!(text, "backend {}\n    http-reuse always", site.name());
        if let Some(turn) = site.turn {
            let _ = writeln!(text, "    http-response set-header {TURN} {turn}");
        }
        for (number, member) in estate.members.iter().enumerate() {
            let _ = writeln!(text, "    server m{number} {member} pool-max-conn 128 pool-purge-delay 300s");
        }
    }
    text
}

/// The longest beginning of host and path that is in here has the say.
fn map(estate: &Estate<'_>) -> String {
    let mut text = String::new();
    for site in &estate.sites {
        for path in own_too(site) {
            let _ = writeln!(text, "{}{path} {}", site.host(), name(site.service));
        }
    }
    text
}

/// The paths of a host, with those that are answered without a backend.
fn own_too(site: &Site) -> impl Iterator<Item = &str> {
    [OWN].into_iter().chain(site.paths.iter().map(String::as_str))
}
