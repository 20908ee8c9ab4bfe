//! Random configurations and requests over small alphabets, so that things collide all the time.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::config::{
    Destination, Gateway, HttpRule, Kind, Match, Meta, Redirect, RedirectPath, RedirectPort, Rewrite,
    RewritePath, Server, StreamMatch, StreamRule, Text, VirtualService, World,
};
use crate::outcome::{Request, Tls};

const NAMESPACES: &[&str] = &["default", "team", "istio-system"];
const REFERENCES: &[&str] = &["g", "./g", "h", "default/g", "team/g", "default/h", "istio-system/g", "mesh"];
const PORTS: &[u16] = &[80, 80, 80, 8080, 443, 443, 9000];
const BIND: &str = "127.0.0.7";
const HOSTS: &[&str] = &["a.com", "b.a.com", "c.b.a.com", "d.org", "*.a.com", "*.b.a.com", "*.org", "*"];
const NAMES: &[&str] = &["a.com", "b.a.com", "c.b.a.com", "x.a.com", "d.org", "e.net"];

/// A configuration.
pub(crate) fn world() -> impl Strategy<Value = World> {
    (vec(gateway(), 1..5), vec(virtual_service(), 1..9)).prop_map(|(mut gateways, mut virtual_services)| {
        keep_first(&mut gateways, |gateway| (gateway.meta.namespace, gateway.meta.name));
        keep_first(&mut virtual_services, |service| (service.meta.namespace, service.meta.name));
        for (at, service) in virtual_services.iter_mut().enumerate() {
            for (number, rule) in service.http.iter_mut().enumerate() {
                rule.name = format!("v{at}r{number}");
            }
        }
        World { gateways, virtual_services }
    })
}

/// A connection and its request.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let tls = prop_oneof![
        4 => Just(Tls::None),
        1 => Just(Tls::WithoutName),
        5 => select(NAMES).prop_map(Tls::Name),
    ];
    let authority = prop_oneof![
        8 => select(NAMES),
        2 => select(&["a.com:80", "A.com", "B.a.com:8443", "one.default.svc.cluster.local", "a.com.", ".a.com"][..]),
    ];
    let path = select(&["/", "/a", "/ab", "/a/", "/a/b", "/b", "/A", "/aa/a", "/c"][..]);
    let query = select(&["", "q=1", "q", "q=", "q=2&q=1", "p=1&q=1", "q=1%20", "Q=1"][..]);
    let field = (select(&["x-a", "X-B", "x-c"][..]), select(&["1", "2", "", "12", "1,2"][..]));
    let method = select(&["GET", "PUT", "get"][..]);
    // The port decides most about the chain, so plaintext and TLS each go mostly where they are served.
    let port = prop_oneof![5 => Just(None), 1 => select(&[8080, 8443, 9000, 80][..]).prop_map(Some)];
    (weighted(0.05, Just(BIND)), port, tls, authority, method, path, of(query), vec(field, 0..4)).prop_map(
        |(bind, port, tls, authority, method, path, query, headers)| {
            let usual = if tls == Tls::None { 8080 } else { 8443 };
            Request { bind, port: port.unwrap_or(usual), tls, authority, method, path, query, headers }
        },
    )
}

fn keep_first<T, K: PartialEq>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut seen = Vec::new();
    items.retain(|item| {
        let key = key(item);
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
}

fn meta(names: &'static [&'static str]) -> impl Strategy<Value = Meta> {
    (select(NAMESPACES), select(names), 0u8..3).prop_map(|(namespace, name, day)| Meta {
        namespace,
        name,
        day,
    })
}

fn gateway() -> impl Strategy<Value = Gateway> {
    let selector = prop_oneof![8 => Just(Some("ingressgateway")), 1 => Just(Some("other")), 1 => Just(None)];
    (meta(&["g", "h"]), selector, vec(server(), 1..4)).prop_map(|(meta, selector, servers)| Gateway {
        meta,
        selector,
        servers,
    })
}

fn server() -> impl Strategy<Value = Server> {
    let host = (
        prop_oneof![8 => Just(""), 1 => Just("./"), 1 => Just("*/"), 1 => Just("default/"), 1 => Just("team/")],
        prop_oneof![12 => select(HOSTS), 1 => Just("one.default.svc.cluster.local"), 1 => Just("A.com")],
    )
        .prop_map(|(namespace, host)| format!("{namespace}{host}"));
    let plain = prop_oneof![6 => Just(Kind::Http), 1 => Just(Kind::HttpRedirect), 1 => Just(Kind::Tcp)];
    let tls =
        prop_oneof![4 => Just(Kind::Https), 1 => Just(Kind::TlsTerminated), 2 => Just(Kind::TlsPassthrough)];
    (select(PORTS), 0..8, plain, tls, weighted(0.05, Just(BIND)), vec(host, 1..4)).prop_map(
        |(port, odd, plain, tls, bind, mut hosts)| {
            keep_first(&mut hosts, Clone::clone);
            // Mostly what the port is for.
            let kind = if (port == 443) != (odd == 0) { tls } else { plain };
            Server { port, bind, kind, hosts }
        },
    )
}

fn virtual_service() -> impl Strategy<Value = VirtualService> {
    let hosts = prop_oneof![
        9 => vec(prop_oneof![12 => select(HOSTS), 1 => Just("one"), 1 => Just("A.com")], 1..4),
        3 => Just(Vec::new()),
    ];
    let gateways = vec(select(REFERENCES), 1..4);
    let export = prop_oneof![
        12 => Just(vec![]),
        1 => Just(vec!["*"]),
        2 => Just(vec!["."]),
        1 => Just(vec!["istio-system"]),
        1 => Just(vec!["default", "istio-system"]),
        1 => Just(vec!["default"]),
    ];
    let stream = |sni| vec(stream_rule(sni), 0..3);
    (meta(&["s", "t", "u"]), hosts, gateways, export, vec(http_rule(), 0..5), stream(true), stream(false))
        .prop_map(|(meta, mut hosts, mut gateways, export_to, mut http, mut tls, mut tcp)| {
            keep_first(&mut gateways, |name| *name);
            // Istio's admission wants no host of a VirtualService within another, and no rule list of nothing.
            let mut kept: Vec<&'static str> = Vec::new();
            for host in hosts.drain(..) {
                let meets = |other: &&str| crate::meaning::narrower(host, other).is_some();
                if !kept.iter().any(meets) {
                    kept.push(host);
                }
            }
            if kept.is_empty() {
                // A delegate has rules of its own and nothing else.
                gateways.clear();
                tls.clear();
                tcp.clear();
                http.retain(|rule| rule.delegate.is_none());
            }
            if http.is_empty() && tls.is_empty() && tcp.is_empty() {
                http.push(HttpRule { respond: Some(200), ..HttpRule::default() });
            }
            VirtualService { meta, hosts: kept, gateways, export_to, http, tls, tcp }
        })
}

fn http_rule() -> impl Strategy<Value = HttpRule> {
    let matches = prop_oneof![1 => Just(Vec::new()), 5 => vec(match_entry(), 1..4)];
    let delegate = (of(select(NAMESPACES)), select(&["s", "t", "u"][..]));
    let rewrite = weighted(0.25, (rewrite_path(), of(Just("new.host"))));
    (
        matches,
        0..10,
        delegate,
        route(),
        redirect(),
        select(&[200u16, 404, 503][..]),
        rewrite,
        weighted(0.2, 1u64..4),
    )
        .prop_map(|(matches, kind, delegate, route, redirect, status, rewrite, timeout)| {
            let mut rule = HttpRule { matches, ..HttpRule::default() };
            match kind {
                0 | 1 => {
                    rule.delegate = Some(delegate);
                    rule.timeout = timeout;
                }
                2 => rule.redirect = Some(redirect),
                3 => rule.respond = Some(status),
                _ => {
                    rule.route = route;
                    rule.timeout = timeout;
                }
            }
            if rule.redirect.is_none() && rule.respond.is_none() {
                rule.rewrite = rewrite.map(|(path, authority)| match (path, authority) {
                    (RewritePath::Unset, None) => Rewrite { path, authority: Some("new.host") },
                    (path, authority) => Rewrite { path, authority },
                });
            }
            let has_prefix = |entry: &Match| matches!(entry.uri, Some(Text::Prefix(_)));
            if let Some(redirect) = &mut rule.redirect
                && matches!(redirect.path, RedirectPath::Prefix(_))
                && (rule.matches.is_empty() || !rule.matches.iter().all(has_prefix))
            {
                redirect.path = RedirectPath::Unset;
            }
            rule
        })
}

fn rewrite_path() -> impl Strategy<Value = RewritePath> {
    prop_oneof![
        Just(RewritePath::Unset),
        select(&["/", "/x", "/x/"][..]).prop_map(RewritePath::Uri),
        select(&[("/a", "/x"), ("b", ""), ("a", "aa")][..])
            .prop_map(|(pattern, with)| RewritePath::Regex(pattern, with)),
    ]
}

fn redirect() -> impl Strategy<Value = Redirect> {
    let port = prop_oneof![
        2 => Just(RedirectPort::Unset),
        2 => select(&[80, 443, 8080][..]).prop_map(RedirectPort::Number),
        1 => Just(RedirectPort::FromRequest),
        1 => Just(RedirectPort::FromProtocol),
    ];
    let path = prop_oneof![
        Just(RedirectPath::Unset),
        Just(RedirectPath::Uri("/new")),
        Just(RedirectPath::Prefix("/n")),
    ];
    let code = of(select(&[301, 302, 303, 307, 308][..]));
    (code, of(select(&["http", "https"][..])), of(Just("new.host")), port, path)
        .prop_map(|(code, scheme, authority, port, path)| Redirect { code, scheme, authority, port, path })
}

fn destination() -> impl Strategy<Value = Destination> {
    let host = select(
        &[
            "one",
            "one",
            "two",
            "hidden",
            "nowhere",
            "outside.net",
            "one.team",
            "two.default.svc.cluster.local",
        ][..],
    );
    let subset = prop_oneof![8 => Just(None), 1 => Just(Some("v1")), 1 => Just(Some("v2"))];
    (host, subset, of(select(&[80, 8000][..])), of(0u32..4))
        .prop_map(|(host, subset, port, weight)| Destination { host, home: "", subset, port, weight })
}

fn route() -> impl Strategy<Value = Vec<Destination>> {
    let several = vec(destination(), 2..4).prop_map(|mut route| {
        if route.iter().all(|destination| destination.weight.unwrap_or(0) == 0) {
            route[0].weight = Some(7);
        }
        route
    });
    prop_oneof![2 => vec(destination(), 1), 1 => several]
}

fn texts(all: &'static [(&'static str, Text)]) -> impl Strategy<Value = BTreeMap<&'static str, Text>> {
    prop_oneof![
        3 => Just(BTreeMap::new()),
        1 => subsequence(all, 1..3).prop_map(|chosen| chosen.into_iter().collect()),
    ]
}

fn match_entry() -> impl Strategy<Value = Match> {
    use Text::{Exact, Prefix, Present, Regex};
    let uri = select(
        &[
            Prefix("/"),
            Prefix("/a"),
            Prefix("/a/"),
            Prefix("/b"),
            Prefix("/A"),
            Prefix(""),
            Exact("/a"),
            Exact("/"),
            Exact("/b"),
            Exact("/A"),
            Regex("/a.*"),
            Regex(".*"),
            Regex("/a|/b"),
            Regex("/[ab]/?"),
            Regex("(?i)/A"),
            Regex("/a"),
            Regex("/"),
            Present,
        ][..],
    );
    let scheme = select(&[Exact("http"), Exact("https"), Prefix("http"), Regex("https?"), Present][..]);
    let method = select(&[Exact("GET"), Exact("PUT"), Prefix("P"), Regex("GET|PUT"), Present][..]);
    let authority = select(
        &[Exact("a.com"), Exact("a.com:80"), Prefix("b."), Regex(r".*a\.com"), Regex("*"), Present][..],
    );
    let conditions = (weighted(0.1, scheme), weighted(0.2, method), weighted(0.15, authority));
    let headers = texts(
        const {
            &[
                ("x-a", Exact("1")),
                ("x-a", Prefix("1")),
                ("X-A", Regex("1,.*")),
                ("x-b", Present),
                ("x-b", Exact("")),
                ("x-c", Regex("*")),
                ("x-c", Regex("1|")),
                (":method", Exact("GET")),
                (":path", Prefix("/a?")),
                (":authority", Exact("a.com")),
                ("@request.auth.claims.group", Exact("1")),
            ]
        },
    );
    let without = texts(
        const {
            &[
                ("x-a", Exact("1")),
                ("x-a", Present),
                ("x-b", Regex(".*")),
                ("x-b", Regex(".+")),
                ("X-C", Exact("")),
                ("x-c", Prefix("1")),
                (":method", Exact("GET")),
                ("@request.auth.claims[group]", Exact("1")),
            ]
        },
    );
    let query = texts(
        const {
            &[
                ("q", Exact("1")),
                ("q", Exact("")),
                ("q", Prefix("1")),
                ("q", Regex("[12]")),
                ("q", Present),
                ("p", Regex("*")),
            ]
        },
    );
    let labels = prop_oneof![
        12 => Just(BTreeMap::new()),
        1 => Just(BTreeMap::from([("istio", "ingressgateway")])),
        1 => Just(BTreeMap::from([("app", "web")])),
    ];
    let place = (
        weighted(0.1, select(&[80u16, 8080, 443][..])),
        prop_oneof![8 => Just(Vec::new()), 1 => vec(select(REFERENCES), 1..3)],
        labels,
        weighted(0.1, select(NAMESPACES)),
    );
    let name = weighted(0.2, select(&["m1", "m2"][..]));
    (name, weighted(0.8, uri), any::<bool>(), conditions, headers, without, query, place).prop_map(
        |(name, uri, case, (scheme, method, authority), headers, without, query, place)| {
            let (port, gateways, source_labels, source_namespace) = place;
            Match {
                name: name.unwrap_or_default().to_owned(),
                ignore_uri_case: case && matches!(uri, Some(Exact("/A" | "/a") | Prefix("/A" | "/a/"))),
                uri,
                scheme,
                method,
                authority,
                headers,
                without,
                query,
                port,
                gateways,
                home: "",
                source_labels,
                source_namespace,
            }
        },
    )
}

fn stream_rule(with_sni: bool) -> impl Strategy<Value = StreamRule> {
    let sni = vec(select(HOSTS), 1..3).prop_map(move |names| if with_sni { names } else { Vec::new() });
    let entry = (
        sni,
        weighted(0.15, select(&[443u16, 80, 9000][..])),
        prop_oneof![6 => Just(Vec::new()), 1 => vec(select(REFERENCES), 1..3)],
    )
        .prop_map(|(mut sni, port, gateways)| {
            keep_first(&mut sni, |name| *name);
            StreamMatch { sni, port, gateways }
        });
    let matches = vec(entry, usize::from(with_sni)..3);
    (matches, route()).prop_map(|(matches, route)| StreamRule { matches, route })
}
