//! The model's HTTP half: virtual hosts, rules, matches and what they do.

use crate::config::{
    HttpRule, Kind, Match, Redirect, RedirectPath, RedirectPort, RewritePath, Text, VirtualService,
};
use crate::meaning::{
    HOME, LABELS, Placed, candidates, destination_shares, hosts_for, hosts_of, is_bound, names, narrower,
};
use crate::outcome::{End, Outcome, Request, Tls};

/// A match entry with its rule, where it applies.
struct Entry<'a> {
    rule: &'a HttpRule,
    /// None: the rule has no match.
    matched: Option<&'a Match>,
    port: u16,
    tls_block: bool,
}

/// Host pattern, whether plaintext goes to https, routes in order.
type VirtualHost<'a> = (String, bool, Vec<Entry<'a>>);

/// The fate of `request` at the servers of one route table.
pub(crate) fn outcome(servers: &[&Placed<'_>], services: &[VirtualService], request: &Request) -> Outcome {
    let hosts = virtual_hosts(servers, services);
    let asked = request.authority.to_ascii_lowercase();
    let asked = asked.rsplit_once(':').map_or(asked.as_str(), |(host, _)| host);
    let found =
        candidates(asked).into_iter().find_map(|pattern| hosts.iter().find(|(name, _, _)| *name == pattern));
    let Some((pattern, to_https, entries)) = found else { return Outcome::NoHost };
    if *to_https && request.tls == Tls::None {
        return Outcome::ToHttps(pattern.clone());
    }
    let (last, first): (Vec<&Entry<'_>>, Vec<&Entry<'_>>) =
        entries.iter().partition(|entry| is_catch_all(entry));
    let chosen = first
        .into_iter()
        .chain(last)
        .find(|entry| entry.matched.is_none_or(|matched| holds(matched, request)));
    let Some(entry) = chosen else { return Outcome::NoRoute(pattern.clone()) };
    let name = match entry.matched {
        Some(matched) if !matched.name.is_empty() => format!("{}.{}", entry.rule.name, matched.name),
        _ => entry.rule.name.clone(),
    };
    Outcome::Route { host: pattern.clone(), name, end: end(entry, request) }
}

fn virtual_hosts<'a>(servers: &[&Placed<'_>], services: &'a [VirtualService]) -> Vec<VirtualHost<'a>> {
    let mut hosts: Vec<VirtualHost<'a>> = Vec::new();
    // The number of the first server of a Gateway at which a VirtualService has routes is kept for the others.
    let mut first_server: Vec<(&str, usize, u16, bool)> = Vec::new();
    for placed in servers {
        let to_https = placed.server.kind == Kind::HttpRedirect;
        for (number, service) in services.iter().enumerate() {
            if !is_bound(service, &placed.gateway) {
                continue;
            }
            let own = hosts_for(&placed.hosts, service.meta.namespace);
            let mut shared: Vec<String> = Vec::new();
            for (left, right) in
                own.iter().flat_map(|left| hosts_of(service).into_iter().map(move |right| (left, right)))
            {
                shared.extend(narrower(left, &right).filter(|host| !shared.contains(host)));
            }
            if shared.is_empty() {
                continue;
            }
            let known = first_server
                .iter()
                .find(|(gateway, at, _, _)| *gateway == placed.gateway && *at == number)
                .map(|(_, _, port, tls_block)| (*port, *tls_block));
            let (port, tls_block) =
                known.unwrap_or((placed.server.port, !matches!(placed.server.kind, Kind::Http)));
            if entries(service, &placed.gateway, port, tls_block).is_empty() {
                continue;
            }
            if known.is_none() {
                first_server.push((&placed.gateway, number, port, tls_block));
            }
            for host in shared {
                let at = position(&mut hosts, &host);
                hosts[at].1 |= to_https;
                hosts[at].2.extend(entries(service, &placed.gateway, port, tls_block));
            }
        }
        if to_https {
            for host in &placed.hosts {
                let at = position(&mut hosts, host);
                hosts[at].1 = true;
            }
        }
    }
    hosts
}

fn position(hosts: &mut Vec<VirtualHost<'_>>, pattern: &str) -> usize {
    let pattern = pattern.to_ascii_lowercase();
    hosts.iter().position(|(name, _, _)| *name == pattern).unwrap_or_else(|| {
        hosts.push((pattern, false, Vec::new()));
        hosts.len() - 1
    })
}

/// What of a VirtualService applies at a Gateway and port, up to its first catch-all.
fn entries<'a>(service: &'a VirtualService, gateway: &str, port: u16, tls_block: bool) -> Vec<Entry<'a>> {
    let mut out = Vec::new();
    for rule in &service.http {
        let matches: Vec<Option<&Match>> =
            if rule.matches.is_empty() { vec![None] } else { rule.matches.iter().map(Some).collect() };
        for matched in matches {
            if matched.is_some_and(|matched| !applies(matched, gateway, port)) {
                continue;
            }
            out.push(Entry { rule, matched, port, tls_block });
            if is_catch_all(&out[out.len() - 1]) {
                return out;
            }
        }
    }
    out
}

/// Conditions that are settled before there is a request.
fn applies(matched: &Match, gateway: &str, port: u16) -> bool {
    if matched.port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if !matched.gateways.is_empty() {
        return names(&matched.gateways, matched.home).iter().any(|name| name == gateway);
    }
    matched.source_labels.iter().all(|(key, value)| LABELS.contains(&(*key, *value)))
        && matched.source_namespace.is_none_or(|namespace| namespace == HOME)
}

fn is_catch_all(entry: &Entry<'_>) -> bool {
    let Some(matched) = entry.matched else { return true };
    let any_path = matches!(&matched.uri, None | Some(Text::Present | Text::Prefix("/") | Text::Regex(".*")));
    any_path
        && matched.headers.is_empty()
        && matched.without.is_empty()
        && matched.query.is_empty()
        && matched.method.is_none()
        && matched.authority.is_none()
        && matched.scheme.is_none()
}

/// Whether every condition of an entry holds.
fn holds(matched: &Match, request: &Request) -> bool {
    let scheme = if request.tls == Tls::None { "http" } else { "https" };
    let own = |text: &Option<Text>, value: &str| text.as_ref().is_none_or(|text| text_holds(text, value));
    uri_holds(matched, request.path)
        && own(&matched.scheme, scheme)
        && own(&matched.method, request.method)
        && own(&matched.authority, request.authority)
        && matched.headers.iter().all(|(name, text)| {
            // No token was validated, so there are no claims.
            !name.starts_with('@') && header(request, name).iter().any(|line| text_holds(text, line))
        })
        && matched.without.iter().all(|(name, text)| {
            name.starts_with('@')
                || match text {
                    Text::Present | Text::Regex("*") => header(request, name).is_empty(),
                    _ => match header(request, name) {
                        lines if lines.is_empty() => !text_holds(text, ""),
                        lines => !lines.iter().any(|line| text_holds(text, line)),
                    },
                }
        })
        && matched.query.iter().all(|(name, text)| {
            first_parameter(request.query, name).is_some_and(|value| text_holds(text, value))
        })
}

fn uri_holds(matched: &Match, path: &str) -> bool {
    let fold = |text: &str| if matched.ignore_uri_case { text.to_ascii_lowercase() } else { text.to_owned() };
    match &matched.uri {
        None | Some(Text::Present) => true,
        Some(Text::Exact(text)) => fold(path) == fold(text),
        Some(Text::Prefix(text)) => fold(path).starts_with(&fold(text)),
        Some(Text::Regex(pattern)) => regex_holds(pattern, path),
    }
}

fn text_holds(text: &Text, value: &str) -> bool {
    match text {
        Text::Exact(text) => value == *text,
        Text::Prefix(text) => value.starts_with(text),
        Text::Present | Text::Regex("*") => true,
        Text::Regex(pattern) => regex_holds(pattern, value),
    }
}

/// The few patterns that the generator knows, each with its meaning for a whole value.
fn regex_holds(pattern: &str, value: &str) -> bool {
    match pattern {
        ".*" => true,
        ".+" => !value.is_empty(),
        "/a" | "1" | "/" => value == pattern,
        "/a.*" => value.starts_with("/a"),
        "/a|/b" => value == "/a" || value == "/b",
        "/[ab]/?" => ["/a", "/b", "/a/", "/b/"].contains(&value),
        "(?i)/A" => value.eq_ignore_ascii_case("/a"),
        "[12]" => value == "1" || value == "2",
        "1|" => value == "1" || value.is_empty(),
        "1,.*" => value.starts_with("1,"),
        "GET|PUT" => value == "GET" || value == "PUT",
        "https?" => value == "http" || value == "https",
        r".*a\.com" => value.ends_with("a.com"),
        other => panic!("{other} has no meaning here"),
    }
}

/// The lines of a header; pseudo-headers by their names.
fn header(request: &Request, name: &str) -> Vec<String> {
    let own = match name {
        ":method" => Some(request.method.to_owned()),
        ":authority" => Some(request.authority.to_owned()),
        ":path" => {
            Some(request.query.map_or(request.path.to_owned(), |query| format!("{}?{query}", request.path)))
        }
        _ => None,
    };
    let lines = request.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
    own.into_iter().chain(lines.map(|(_, value)| (*value).to_owned())).collect()
}

/// The first of that name, not decoded.
fn first_parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn end(entry: &Entry<'_>, request: &Request) -> End {
    let rule = entry.rule;
    if let Some(redirect) = &rule.redirect {
        return redirect_end(redirect, entry, request);
    }
    if let Some(status) = rule.respond {
        return End::Respond(status);
    }
    let rewrite = rule.rewrite.as_ref();
    let path = match rewrite.map_or(RewritePath::Unset, |rewrite| rewrite.path) {
        RewritePath::Unset => request.path.to_owned(),
        RewritePath::Uri(uri) => replaced(entry, request.path, uri),
        RewritePath::Regex(pattern, with) => request.path.replace(pattern, with),
    };
    End::Forward {
        to: destination_shares(&rule.route, entry.port),
        path,
        authority: rewrite.and_then(|rewrite| rewrite.authority).map(str::to_owned),
        timeout: rule.timeout,
    }
}

/// A prefix is replaced as text, `/` where there is no condition; after exact and regex the whole path is.
fn replaced(entry: &Entry<'_>, path: &str, with: &str) -> String {
    match entry.matched.and_then(|matched| matched.uri.as_ref()) {
        Some(Text::Exact(_) | Text::Regex(_)) => with.to_owned(),
        Some(Text::Prefix(prefix)) => format!("{with}{}", &path[prefix.len()..]),
        None | Some(Text::Present) => format!("{with}{}", &path[1..]),
    }
}

fn redirect_end(redirect: &Redirect, entry: &Entry<'_>, request: &Request) -> End {
    let scheme = redirect.scheme.unwrap_or(if entry.tls_block { "https" } else { "http" });
    let port = match redirect.port {
        RedirectPort::Unset | RedirectPort::FromProtocol => None,
        RedirectPort::Number(port) => Some(port),
        RedirectPort::FromRequest => Some(entry.port),
    };
    End::Redirect {
        code: redirect.code.unwrap_or(301),
        scheme: redirect.scheme.map(str::to_owned),
        host: redirect.authority.map(str::to_owned),
        port: port.filter(|port| !matches!((*port, scheme), (80, "http") | (443, "https"))),
        path: match redirect.path {
            RedirectPath::Unset => request.path.to_owned(),
            RedirectPath::Uri(uri) => uri.to_owned(),
            RedirectPath::Prefix(with) => replaced(entry, request.path, with),
        },
    }
}
