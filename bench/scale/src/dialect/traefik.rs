//! Traefik: a folder that its file provider watches.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Dialect, File, Place, part, shown};
use crate::estate::{Estate, Site, TURN, name};

const CONFIGURATION: &str = include_str!("../../../peers/traefik/traefik.yaml");

#[derive(Debug)]
pub(super) struct Traefik;

impl Dialect for Traefik {
    fn name(&self) -> &'static str {
        "traefik"
    }

    fn arguments(&self) -> &'static [&'static str] {
        &["--configFile=@FOLDER@/traefik.yaml"]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[("GOMAXPROCS", "1"), ("HOME", "@FOLDER@")]
    }

    fn files(&self, place: &Place, estate: &Estate<'_>) -> Result<Vec<File>> {
        let mut files = vec![
            File::new("traefik.yaml", place.fill(&main()?)),
            File::new("dynamic/app-0.yaml", routers(&estate.sites[..1])),
            File::new("dynamic/services.yaml", services(estate)),
        ];
        if estate.sites.len() > 1 {
            files.push(File::new("dynamic/sites.yaml", routers(&estate.sites[1..])));
        }
        Ok(files)
    }

    fn added(&self, _: &Place, estate: &Estate<'_>) -> Vec<File> {
        let site = estate.last();
        vec![File::new(format!("dynamic/{}.yaml", site.name()), routers(std::slice::from_ref(site)))]
    }

    fn altered(&self, _: &Place, estate: &Estate<'_>) -> Vec<File> {
        vec![File::new("dynamic/app-0.yaml", routers(&estate.sites[..1]))]
    }

    /// It has no answers of its own.
    fn answers(&self) -> bool {
        false
    }
}

/// By default it takes up a change every two seconds at the most; here as soon as it can.
const PROVIDER: &str =
    "providers: {providersThrottleDuration: 1ms, file: {directory: @FOLDER@/dynamic, watch: true}}
entryPoints:
";

fn main() -> Result<String> {
    let head = part(CONFIGURATION, "#", "providers:")?;
    let web = part(CONFIGURATION, "  web: {", "  rsa: {")?;
    let metrics = part(CONFIGURATION, "  metrics: {", "\n")?;
    Ok(format!("{head}{PROVIDER}{web}{metrics}\n"))
}

fn routers(sites: &[Site]) -> String {
    let mut text = "http:\n  routers:\n".to_owned();
    for site in sites {
        let middlewares = site.turn.map(|_| format!(", middlewares: [{}]", site.name())).unwrap_or_default();
        let tls = if site.certificate.is_some() { ", tls: {}" } else { "" };
        let entry = if site.certificate.is_some() { "websecure" } else { "web" };
        for (number, path) in site.paths.iter().enumerate() {
            let _ = writeln!(
                text,
                "    {}-{number}: {{entryPoints: [{entry}], rule: \"Host(`{}`) && PathPrefix(`{path}`)\", service: {}@file{middlewares}{tls}}}",
                site.name(),
                site.host(),
                name(site.service)
            );
        }
    }
    for (site, turn) in sites.iter().filter_map(|site| site.turn.map(|turn| (site, turn))) {
        let _ = writeln!(
            text,
            "  middlewares:\n    {}: {{headers: {{customResponseHeaders: {{{TURN}: \"{turn}\"}}}}}}",
            site.name()
        );
    }
    text
}

fn services(estate: &Estate<'_>) -> String {
    let servers: Vec<String> =
        estate.members.iter().map(|member| format!("{{url: \"http://{member}\"}}")).collect();
    let mut text = "http:\n  serversTransports:\n    kept: {maxIdleConnsPerHost: 128, forwardingTimeouts: {idleConnTimeout: 300s}}\n  services:\n".to_owned();
    for site in estate.sites.iter().filter(|site| site.has_service()) {
        let _ = writeln!(
            text,
            "    {}: {{loadBalancer: {{servers: [{}], serversTransport: kept@file}}}}",
            site.name(),
            servers.join(", ")
        );
    }
    if let Some(certificates) = estate.certificates {
        text += "tls:\n  certificates:\n";
        for number in 0..certificates.count() {
            let (certificate, key) = certificates.files(number);
            let _ = writeln!(text, "  - {{certFile: {}, keyFile: {}}}", shown(&certificate), shown(&key));
        }
    }
    text
}
