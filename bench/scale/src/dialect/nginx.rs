//! nginx: a server for each host in files that are included, and a reload for each change.

use std::fmt::Write as _;

use anyhow::Result;
use rustix::process::Signal;

use super::{Dialect, File, Place, part, shown};
use crate::estate::{Estate, OWN, Site, TURN, name};

const CONFIGURATION: &str = include_str!("../../../peers/nginx/nginx.conf");
const LOCATIONS: &str = include_str!("../../../peers/nginx/locations.conf");

#[derive(Debug)]
pub(super) struct Nginx;

impl Dialect for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn arguments(&self) -> &'static [&'static str] {
        &["-c", "@FOLDER@/nginx.conf", "-p", "@FOLDER@", "-e", "@FOLDER@/error.log"]
    }

    fn files(&self, place: &Place, estate: &Estate<'_>) -> Result<Vec<File>> {
        let sites = estate.sites.iter().skip(1);
        let others: String = sites.map(|site| server(place, site, estate)).collect();
        Ok(vec![
            File::new("nginx.conf", place.fill(&main(estate)?)),
            // The way to a backend is the same for all.
            File::new("proxy.conf", part(LOCATIONS, "    proxy_http_version", "}")?),
            File::new("sites/all.conf", services(estate) + &others),
            File::new("sites/app-0.conf", server(place, &estate.sites[0], estate)),
        ])
    }

    fn added(&self, place: &Place, estate: &Estate<'_>) -> Vec<File> {
        let site = estate.last();
        vec![File::new(format!("sites/{}.conf", site.name()), server(place, site, estate))]
    }

    fn altered(&self, place: &Place, estate: &Estate<'_>) -> Vec<File> {
        vec![File::new("sites/app-0.conf", server(place, &estate.sites[0], estate))]
    }

    fn reload(&self) -> Option<Signal> {
        Some(Signal::HUP)
    }
}

fn main(estate: &Estate<'_>) -> Result<String> {
    let head = part(CONFIGURATION, "#", "    upstream backend")?;
    let map = part(CONFIGURATION, "    map $http_upgrade", "\n")?;
    let tls = "listen 127.0.0.1:@TLS@ ssl http2 reuseport default_server; ssl_reject_handshake on;";
    let tls = if estate.certificates.is_some() { tls } else { "" };
    Ok(format!(
        "{head}{map}
    server_names_hash_max_size 131072;
    server_names_hash_bucket_size 128;
    include @FOLDER@/sites/*.conf;
    server {{
        listen 127.0.0.1:@PLAIN@ reuseport default_server;
        {tls}
        return 404;
    }}
    server {{
        listen 127.0.0.1:@ADMIN@;
        location /status {{ stub_status; access_log off; }}
    }}
}}
"
    ))
}

fn services(estate: &Estate<'_>) -> String {
    let mut text = String::new();
    for site in estate.sites.iter().filter(|site| site.has_service()) {
        let servers: String = estate.members.iter().map(|member| format!("server {member}; ")).collect();
        let _ = writeln!(
            text,
            "upstream {} {{ {servers}keepalive 32; keepalive_requests 1000000000; keepalive_timeout 300s; }}",
            site.name()
        );
    }
    text
}

fn server(place: &Place, site: &Site, estate: &Estate<'_>) -> String {
    let tls = estate.certificates.zip(site.certificate).map(|(certificates, number)| {
        let (certificate, key) = certificates.files(number);
        format!(
            "\n    listen 127.0.0.1:{} ssl http2; ssl_certificate {}; ssl_certificate_key {};",
            place.tls,
            shown(&certificate),
            shown(&key)
        )
    });
    let turn = site.turn.map(|turn| format!(" add_header {TURN} {turn};")).unwrap_or_default();
    let mut text = format!(
        "server {{\n    listen 127.0.0.1:{};{}\n    server_name {};\n    location {OWN} {{ return 200 own; }}\n",
        place.plain,
        tls.unwrap_or_default(),
        site.host()
    );
    for path in &site.paths {
        let _ = writeln!(
            text,
            "    location {path} {{ proxy_pass http://{};{turn} include {}/proxy.conf; }}",
            name(site.service),
            shown(&place.folder)
        );
    }
    text + "}\n"
}
