//! The configurations of the model: what a user may write of Gateways and VirtualServices, and its YAML.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// All objects of a case; the services they route to are always [`SERVICES`].
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) virtual_services: Vec<VirtualService>,
}

/// Namespace, name and age, by which Istio orders objects; the youngest has the greatest age here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
    pub(crate) day: u8,
}

#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) meta: Meta,
    /// The label `istio` asked for; `None`: no selector at all.
    pub(crate) selector: Option<&'static str>,
    pub(crate) servers: Vec<Server>,
}

#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) bind: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) hosts: Vec<String>,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    HttpRedirect,
    Tcp,
    Https,
    TlsTerminated,
    TlsPassthrough,
}

#[derive(Debug, Clone)]
pub(crate) struct VirtualService {
    pub(crate) meta: Meta,
    pub(crate) hosts: Vec<&'static str>,
    pub(crate) gateways: Vec<&'static str>,
    pub(crate) export_to: Vec<&'static str>,
    pub(crate) http: Vec<HttpRule>,
    pub(crate) tls: Vec<StreamRule>,
    pub(crate) tcp: Vec<StreamRule>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct HttpRule {
    pub(crate) name: String,
    pub(crate) matches: Vec<Match>,
    pub(crate) delegate: Option<(Option<&'static str>, &'static str)>,
    pub(crate) route: Vec<Destination>,
    pub(crate) redirect: Option<Redirect>,
    pub(crate) respond: Option<u16>,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Match {
    pub(crate) name: String,
    pub(crate) uri: Option<Text>,
    pub(crate) ignore_uri_case: bool,
    pub(crate) scheme: Option<Text>,
    pub(crate) method: Option<Text>,
    pub(crate) authority: Option<Text>,
    pub(crate) headers: BTreeMap<&'static str, Text>,
    pub(crate) without: BTreeMap<&'static str, Text>,
    pub(crate) query: BTreeMap<&'static str, Text>,
    pub(crate) port: Option<u16>,
    pub(crate) gateways: Vec<&'static str>,
    /// The namespace the names in `gateways` are relative to; not written.
    pub(crate) home: &'static str,
    pub(crate) source_labels: BTreeMap<&'static str, &'static str>,
    pub(crate) source_namespace: Option<&'static str>,
}

/// Istio's StringMatch; `Present` is `{}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Text {
    Exact(&'static str),
    Prefix(&'static str),
    Regex(&'static str),
    Present,
}

#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) host: &'static str,
    /// The namespace a short `host` is relative to; not written.
    pub(crate) home: &'static str,
    pub(crate) subset: Option<&'static str>,
    pub(crate) port: Option<u16>,
    pub(crate) weight: Option<u32>,
}

#[derive(Debug, Clone)]
pub(crate) struct Redirect {
    pub(crate) code: Option<u16>,
    pub(crate) scheme: Option<&'static str>,
    pub(crate) authority: Option<&'static str>,
    pub(crate) port: RedirectPort,
    pub(crate) path: RedirectPath,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum RedirectPort {
    Unset,
    Number(u16),
    FromRequest,
    FromProtocol,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum RedirectPath {
    Unset,
    Uri(&'static str),
    Prefix(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Rewrite {
    pub(crate) path: RewritePath,
    pub(crate) authority: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum RewritePath {
    Unset,
    Uri(&'static str),
    /// Pattern, which is a literal text here, and what replaces it.
    Regex(&'static str, &'static str),
}

/// A rule of `tls` or `tcp`.
#[derive(Debug, Clone)]
pub(crate) struct StreamRule {
    pub(crate) matches: Vec<StreamMatch>,
    pub(crate) route: Vec<Destination>,
}

#[derive(Debug, Clone)]
pub(crate) struct StreamMatch {
    /// Only written in `tls`.
    pub(crate) sni: Vec<&'static str>,
    pub(crate) port: Option<u16>,
    pub(crate) gateways: Vec<&'static str>,
}

/// Services of the world: namespace, host name, ports, whether only their own namespace sees them.
pub(crate) const SERVICES: &[(&str, &str, &[u16], bool)] = &[
    ("default", "one.default.svc.cluster.local", &[8000], false),
    ("default", "two.default.svc.cluster.local", &[80, 8000], false),
    ("team", "one.team.svc.cluster.local", &[8000], false),
    ("team", "hidden.team.svc.cluster.local", &[8000], true),
    ("default", "outside.net", &[8000], false),
];

/// The gateway's own Service maps two declared ports; the DestinationRule has a subset.
const FIXED: &str = "\
---
{apiVersion: v1, kind: Service, metadata: {name: istio-ingressgateway, namespace: istio-system}, spec: {selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: one, namespace: default}, spec: {ports: [{name: http, port: 8000}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: two, namespace: default}, spec: {ports: [{name: http, port: 80}, {name: http-8000, port: 8000}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: one, namespace: team}, spec: {ports: [{name: http, port: 8000}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: hidden, namespace: team, annotations: {networking.istio.io/exportTo: .}}, spec: {ports: [{name: http, port: 8000}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: outside, namespace: default}, spec: {hosts: [outside.net], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP}], endpoints: [{address: 127.0.0.9}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: one, namespace: default}, spec: {host: one, subsets: [{name: v1, labels: {version: v1}}]}}
";

impl World {
    /// The objects as a user writes them.
    pub(crate) fn yaml(&self) -> String {
        let mut out = FIXED.to_owned();
        for gateway in &self.gateways {
            out += &gateway.yaml();
        }
        for service in &self.virtual_services {
            out += &service.yaml();
        }
        out
    }
}

/// A failing case is shown as what a user would write.
impl fmt::Debug for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("\n")?;
        out.write_str(&self.yaml()[FIXED.len()..])
    }
}

impl Meta {
    fn yaml(&self, kind: &str) -> String {
        let Self { namespace, name, day } = self;
        let created = format!("\"2024-01-{:02}T00:00:00Z\"", day + 1);
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}, creationTimestamp: {created}}}\nspec:\n"
        )
    }
}

impl Gateway {
    fn yaml(&self) -> String {
        let mut out = self.meta.yaml("Gateway");
        if let Some(label) = self.selector {
            let _ = writeln!(out, "  selector: {{istio: {label}}}");
        }
        out += "  servers:\n";
        for (number, server) in self.servers.iter().enumerate() {
            let (protocol, tls) = match server.kind {
                Kind::Http => ("HTTP", ""),
                Kind::HttpRedirect => ("HTTP", ", tls: {httpsRedirect: true}"),
                Kind::Tcp => ("TCP", ""),
                Kind::Https => ("HTTPS", ", tls: {mode: SIMPLE, credentialName: none}"),
                Kind::TlsTerminated => ("TLS", ", tls: {mode: SIMPLE, credentialName: none}"),
                Kind::TlsPassthrough => ("TLS", ", tls: {mode: PASSTHROUGH}"),
            };
            let bind = server.bind.map(|bind| format!(", bind: {bind}")).unwrap_or_default();
            let _ = writeln!(
                out,
                "  - {{port: {{number: {}, name: p{number}, protocol: {protocol}}}, hosts: {:?}{bind}{tls}}}",
                server.port, server.hosts
            );
        }
        out
    }
}

impl VirtualService {
    fn yaml(&self) -> String {
        let mut out = self.meta.yaml("VirtualService");
        for (key, list) in
            [("hosts", &self.hosts), ("gateways", &self.gateways), ("exportTo", &self.export_to)]
        {
            if !list.is_empty() {
                let _ = writeln!(out, "  {key}: {list:?}");
            }
        }
        if !self.http.is_empty() {
            out += "  http:\n";
        }
        for rule in &self.http {
            let _ = writeln!(out, "  - {}", rule.yaml());
        }
        for (key, rules) in [("tls", &self.tls), ("tcp", &self.tcp)] {
            if !rules.is_empty() {
                let _ = writeln!(out, "  {key}:");
            }
            for rule in rules {
                let entries = rule.matches.iter().map(|entry| entry.yaml(key == "tls"));
                let mut fields = vec![format!("route: {}", destinations(&rule.route))];
                if !rule.matches.is_empty() {
                    fields.insert(0, format!("match: {}", list(entries)));
                }
                let _ = writeln!(out, "  - {}", map(&fields));
            }
        }
        out
    }
}

impl HttpRule {
    fn yaml(&self) -> String {
        let mut fields = vec![format!("name: {}", self.name)];
        if !self.matches.is_empty() {
            fields.push(format!("match: {}", list(self.matches.iter().map(Match::yaml))));
        }
        if let Some((namespace, name)) = self.delegate {
            let namespace = namespace.map(|namespace| format!(", namespace: {namespace}"));
            fields.push(format!("delegate: {{name: {name}{}}}", namespace.unwrap_or_default()));
        }
        if !self.route.is_empty() {
            fields.push(format!("route: {}", destinations(&self.route)));
        }
        fields.extend(self.redirect.as_ref().map(|redirect| format!("redirect: {}", redirect.yaml())));
        fields.extend(self.respond.map(|status| format!("directResponse: {{status: {status}}}")));
        if let Some(rewrite) = &self.rewrite {
            let mut parts = Vec::new();
            match rewrite.path {
                RewritePath::Unset => {}
                RewritePath::Uri(uri) => parts.push(format!("uri: {uri:?}")),
                RewritePath::Regex(pattern, with) => {
                    parts.push(format!("uriRegexRewrite: {{match: {pattern:?}, rewrite: {with:?}}}"));
                }
            }
            parts.extend(rewrite.authority.map(|authority| format!("authority: {authority}")));
            fields.push(format!("rewrite: {}", map(&parts)));
        }
        fields.extend(self.timeout.map(|seconds| format!("timeout: {seconds}s")));
        map(&fields)
    }
}

impl Match {
    fn yaml(&self) -> String {
        let mut fields = Vec::new();
        if !self.name.is_empty() {
            fields.push(format!("name: {}", self.name));
        }
        for (key, text) in [
            ("uri", &self.uri),
            ("scheme", &self.scheme),
            ("method", &self.method),
            ("authority", &self.authority),
        ] {
            fields.extend(text.as_ref().map(|text| format!("{key}: {}", text.yaml())));
        }
        if self.ignore_uri_case {
            fields.push("ignoreUriCase: true".to_owned());
        }
        for (key, texts) in
            [("headers", &self.headers), ("withoutHeaders", &self.without), ("queryParams", &self.query)]
        {
            if !texts.is_empty() {
                let texts = texts.iter().map(|(name, text)| format!("{name:?}: {}", text.yaml()));
                fields.push(format!("{key}: {}", map(&texts.collect::<Vec<_>>())));
            }
        }
        fields.extend(self.port.map(|port| format!("port: {port}")));
        if !self.gateways.is_empty() {
            fields.push(format!("gateways: {:?}", self.gateways));
        }
        if !self.source_labels.is_empty() {
            fields.push(format!("sourceLabels: {:?}", self.source_labels));
        }
        fields.extend(self.source_namespace.map(|namespace| format!("sourceNamespace: {namespace}")));
        map(&fields)
    }
}

impl Text {
    fn yaml(&self) -> String {
        match self {
            Self::Exact(text) => format!("{{exact: {text:?}}}"),
            Self::Prefix(text) => format!("{{prefix: {text:?}}}"),
            Self::Regex(text) => format!("{{regex: {text:?}}}"),
            Self::Present => "{}".to_owned(),
        }
    }
}

impl Redirect {
    fn yaml(&self) -> String {
        let mut fields = Vec::new();
        fields.extend(self.code.map(|code| format!("redirectCode: {code}")));
        fields.extend(self.scheme.map(|scheme| format!("scheme: {scheme}")));
        fields.extend(self.authority.map(|authority| format!("authority: {authority}")));
        match self.port {
            RedirectPort::Unset => {}
            RedirectPort::Number(port) => fields.push(format!("port: {port}")),
            RedirectPort::FromRequest => fields.push("derivePort: FROM_REQUEST_PORT".to_owned()),
            RedirectPort::FromProtocol => fields.push("derivePort: FROM_PROTOCOL_DEFAULT".to_owned()),
        }
        match self.path {
            RedirectPath::Unset => {}
            RedirectPath::Uri(uri) => fields.push(format!("uri: {uri:?}")),
            RedirectPath::Prefix(prefix) => fields.push(format!("prefixRewrite: {prefix:?}")),
        }
        map(&fields)
    }
}

impl StreamMatch {
    fn yaml(&self, with_sni: bool) -> String {
        let mut fields = Vec::new();
        if with_sni {
            fields.push(format!("sniHosts: {:?}", self.sni));
        }
        fields.extend(self.port.map(|port| format!("port: {port}")));
        if !self.gateways.is_empty() {
            fields.push(format!("gateways: {:?}", self.gateways));
        }
        map(&fields)
    }
}

fn destinations(route: &[Destination]) -> String {
    list(route.iter().map(|destination| {
        let mut fields = vec![format!("host: {}", destination.host)];
        fields.extend(destination.subset.map(|subset| format!("subset: {subset}")));
        fields.extend(destination.port.map(|port| format!("port: {{number: {port}}}")));
        let mut entry = vec![format!("destination: {}", map(&fields))];
        entry.extend(destination.weight.map(|weight| format!("weight: {weight}")));
        map(&entry)
    }))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn map(fields: &[String]) -> String {
    format!("{{{}}}", fields.join(", "))
}
