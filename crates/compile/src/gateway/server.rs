//! One server of a Gateway, read and checked.

use std::net::IpAddr;

use portcullis_api::networking::{self as api, ServerTlsMode};
use portcullis_api::{Gateway, Kind};
use portcullis_snapshot::listener::ListenerKey;

use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::names::{HostSet, ServerHost};
use crate::objects::Key;
use crate::port::Ports;

/// A server that can be served.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    /// Its Gateway.
    pub(crate) gateway: &'a Gateway,
    /// Namespace and name of its Gateway, as VirtualServices refer to it.
    pub(crate) key: Key,
    /// Position in the Gateway.
    pub(crate) index: usize,
    /// As written.
    pub(crate) spec: &'a api::Server,
    /// Its hosts.
    pub(crate) hosts: HostSet,
    /// What it does.
    pub(crate) role: Role,
    /// The port number the Gateway declares.
    pub(crate) declared: u16,
    /// Where it listens.
    pub(crate) listener: ListenerKey,
}

/// What a server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// HTTP in plaintext.
    Http,
    /// Bytes in plaintext.
    Tcp,
    /// TLS ends here, HTTP inside.
    Https,
    /// TLS ends here, bytes inside.
    TlsTcp,
    /// TLS stays closed; routed by SNI.
    Passthrough,
}

impl Role {
    /// Whether it takes TLS connections.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::TlsTcp | Self::Passthrough)
    }

    /// For messages.
    pub(crate) fn family(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Tcp => "TCP",
            Self::Https => "HTTPS",
            Self::TlsTcp | Self::Passthrough => "TLS",
        }
    }
}

/// The protocols a server can name (routing reference §1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Https,
    Tls,
    Tcp,
    Udp,
}

impl Protocol {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "http" | "http2" | "grpc" | "grpc-web" | "grpcweb" | "http_proxy" => Self::Http,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" | "mongo" | "redis" | "mysql" => Self::Tcp,
            "udp" => Self::Udp,
            _ => return None,
        })
    }
}

impl<'a> Server<'a> {
    /// Reads the server at `index`; one that cannot be served is reported.
    pub(crate) fn read(
        gateway: &'a Gateway,
        index: usize,
        ports: &Ports<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let mut reader = Reader { gateway, index, spec: &gateway.spec.servers[index], diagnostics };
        let role = reader.role()?;
        let hosts = reader.hosts()?;
        let (declared, port) = reader.port(ports)?;
        let bind = reader.bind()?;
        reader.warn();
        let meta = &gateway.meta;
        Some(Self {
            gateway,
            key: (meta.namespace.clone(), meta.name.clone()),
            index,
            spec: &gateway.spec.servers[index],
            hosts: HostSet::new(hosts),
            role,
            declared,
            listener: ListenerKey { bind, port },
        })
    }

    /// The Gateway, for diagnostics.
    pub(crate) fn subject(&self) -> Subject<'a> {
        Subject::new(Kind::Gateway, self.gateway)
    }

    /// Path of one of its fields.
    pub(crate) fn field(&self, name: &str) -> String {
        format!("spec.servers[{}].{name}", self.index)
    }

    /// `Gateway istio-system/gw servers[1]`.
    pub(crate) fn place(&self) -> String {
        format!("Gateway {}/{} servers[{}]", self.key.0, self.key.1, self.index)
    }

    /// Whether plaintext requests for its hosts are sent to https.
    pub(crate) fn redirects_to_https(&self) -> bool {
        self.spec.tls.as_ref().is_some_and(|tls| tls.https_redirect == Some(true))
    }

    /// Whether it is declared for gRPC-Web.
    pub(crate) fn is_grpc_web(&self) -> bool {
        ["grpc-web", "grpcweb"].iter().any(|name| self.spec.port.protocol.eq_ignore_ascii_case(name))
    }

    /// The server names its chain is chosen by; `*` alone when one of its hosts is `*`, which lifts the
    /// condition for the whole chain.
    pub(crate) fn server_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.hosts.hosts().iter().map(|host| host.host.as_str()).collect();
        if names.contains(&"*") {
            return vec!["*"];
        }
        names.sort_unstable();
        names.dedup();
        names
    }
}

struct Reader<'a, 'd> {
    gateway: &'a Gateway,
    index: usize,
    spec: &'a api::Server,
    diagnostics: &'d mut Diagnostics,
}

impl Reader<'_, '_> {
    fn report(&mut self, code: Code, field: &str, message: impl Into<String>, remedy: &str) {
        let path = format!("spec.servers[{}].{field}", self.index);
        self.diagnostics.report(code, Subject::new(Kind::Gateway, self.gateway), path, message, remedy);
    }

    fn refuse<T>(&mut self, field: &str, message: impl Into<String>, remedy: &str) -> Option<T> {
        self.report(Code::SchemaValidationError, field, message, remedy);
        None
    }

    fn role(&mut self) -> Option<Role> {
        let text = &self.spec.port.protocol;
        let tls = self.spec.tls.as_ref();
        match Protocol::parse(text) {
            None => self.refuse(
                "port.protocol",
                format!("{text:?} is no protocol, so the server is left out"),
                "use HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TLS, TCP, MONGO, REDIS or MYSQL",
            ),
            Some(Protocol::Udp) => {
                self.refuse("port.protocol", "a gateway routes no UDP", "remove the server")
            }
            Some(Protocol::Http) if tls.is_some_and(has_more_than_redirect) => self.refuse(
                "tls",
                "plaintext HTTP can have no TLS settings but httpsRedirect, so the server is left out",
                "set port.protocol to HTTPS to serve TLS",
            ),
            Some(Protocol::Http) => Some(Role::Http),
            Some(Protocol::Tcp) if tls.is_some() => self.refuse(
                "tls",
                "plaintext TCP can have no TLS settings, so the server is left out",
                "set port.protocol to TLS to serve TLS",
            ),
            Some(Protocol::Tcp) => Some(Role::Tcp),
            Some(Protocol::Https) => self.tls_role(Role::Https),
            Some(Protocol::Tls) => self.tls_role(Role::TlsTcp),
        }
    }

    fn tls_role(&mut self, terminated: Role) -> Option<Role> {
        let Some(tls) = &self.spec.tls else {
            return self.refuse(
                "tls",
                "is required for this protocol, so the server is left out",
                "add tls.mode",
            );
        };
        match tls.mode {
            None => {
                if tls.credential_name.is_some() || tls.server_certificate.is_some() {
                    self.report(
                        Code::PassthroughByDefault,
                        "tls.mode",
                        "is left out, which means PASSTHROUGH: TLS is not terminated and the certificate is not used",
                        "set it to SIMPLE to terminate TLS here",
                    );
                }
                Some(Role::Passthrough)
            }
            Some(ServerTlsMode::Passthrough) => Some(Role::Passthrough),
            Some(ServerTlsMode::AutoPassthrough) => {
                self.report(
                    Code::FieldNotHonoured,
                    "tls.mode",
                    "AUTO_PASSTHROUGH is accepted but not honoured yet, so the server is left out",
                    "",
                );
                None
            }
            Some(_) => Some(terminated),
        }
    }

    fn hosts(&mut self) -> Option<Vec<ServerHost>> {
        let mut hosts = ServerHost::all(&self.spec.hosts, &self.gateway.meta.namespace);
        let wrong: Vec<String> = hosts
            .iter()
            .filter(|host| !is_server_host(&host.host))
            .map(|host| host.text().into_owned())
            .collect();
        for host in wrong {
            self.report(
                Code::SchemaValidationError,
                "hosts",
                format!("{host:?} is no host a server can have, so it is left out"),
                "write a complete name such as app.example.com, a wildcard such as *.example.com, or *",
            );
        }
        hosts.retain(|host| is_server_host(&host.host));
        if hosts.is_empty() {
            return self.refuse(
                "hosts",
                "names no usable host, so the server is left out",
                "add a host, or *",
            );
        }
        Some(hosts)
    }

    fn port(&mut self, ports: &Ports<'_>) -> Option<(u16, u16)> {
        let number = self.spec.port.number;
        let Some(declared) = u16::try_from(number).ok().filter(|&port| port > 0) else {
            return self.refuse("port.number", format!("{number} is no port"), "use 1 to 65535");
        };
        if !ports.is_published(declared) {
            self.report(
                Code::GatewayPortNotDefinedOnService,
                "port.number",
                format!("no Service in front of this gateway has port {declared}"),
                "add the port to the gateway's Service",
            );
        }
        match ports.bound(declared) {
            Some(bound) => Some((declared, bound)),
            None => {
                self.report(
                    Code::PortNotUsable,
                    "port.number",
                    format!("{declared} plus the port offset is no port"),
                    "name the port in the port map",
                );
                None
            }
        }
    }

    /// The address to bind: the outer `None` when there is none, the inner one for every address.
    #[expect(clippy::option_option, reason = "the outer layer says the server is left out")]
    fn bind(&mut self) -> Option<Option<IpAddr>> {
        let text = self.spec.bind.as_deref().filter(|text| !text.is_empty());
        let Some(text) = text else { return Some(None) };
        if text.starts_with("unix:") {
            self.report(
                Code::FieldNotHonoured,
                "bind",
                "a unix socket is accepted but not honoured yet, so the server is left out",
                "bind an IP address",
            );
            return None;
        }
        match text.parse::<IpAddr>() {
            // Both ways to write every address are one listener.
            Ok(address) if address.is_unspecified() => Some(None),
            Ok(address) => Some(Some(address)),
            Err(_) => self.refuse("bind", format!("{text:?} is no IP address"), "write an IP address"),
        }
    }

    /// Mistakes that leave no doubt about what to serve, and what is served with less than was asked for.
    fn warn(&mut self) {
        let port = &self.spec.port;
        if port.name.is_empty() {
            self.report(Code::SchemaValidationError, "port.name", "is missing", "give the port a name");
        }
        let same = |other: &api::Server| !port.name.is_empty() && other.port.name == port.name;
        if self.gateway.spec.servers[..self.index].iter().any(same) {
            let message = format!("{:?} names an earlier port of the same Gateway", port.name);
            self.report(
                Code::SchemaValidationError,
                "port.name",
                message,
                "give each port a name of its own",
            );
        }
        if port.target_port.is_some() {
            self.report(Code::SchemaValidationError, "port.targetPort", "has no meaning here", "remove it");
        }
        let redirects = self.spec.tls.as_ref().and_then(|tls| tls.https_redirect);
        if !self.role_is_plain() && redirects == Some(true) {
            self.report(
                Code::SchemaWarning,
                "tls.httpsRedirect",
                "does nothing for TLS connections",
                "set it on the plaintext server of the same hosts",
            );
        }
        if self.role_is_plain() && redirects == Some(false) {
            self.report(
                Code::SchemaWarning,
                "tls",
                "says nothing",
                "remove it, or set httpsRedirect to true",
            );
        }
    }

    fn role_is_plain(&self) -> bool {
        matches!(Protocol::parse(&self.spec.port.protocol), Some(Protocol::Http))
    }
}

/// Whether a `tls` block says more than where to redirect.
fn has_more_than_redirect(tls: &api::ServerTlsSettings) -> bool {
    let redirect_alone =
        api::ServerTlsSettings { https_redirect: tls.https_redirect, ..api::ServerTlsSettings::default() };
    // An explicit PASSTHROUGH is the default written out.
    let mode = tls.mode.filter(|mode| *mode != ServerTlsMode::Passthrough);
    *tls != api::ServerTlsSettings { mode: tls.mode, ..redirect_alone } || mode.is_some()
}

/// `*`, a wildcard with one leading `*.`, an address, or a name with a dot (routing reference §1.4).
fn is_server_host(host: &str) -> bool {
    if host == "*" || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    let labels_fine = name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    labels_fine && host.contains('.') && host.len() <= portcullis_snapshot::host::MAX_HOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_servers() {
        for (host, expected) in [
            ("*", true),
            ("*.foo.com", true),
            ("foo.com", true),
            ("10.0.0.1", true),
            ("*.com", true),
            ("foo", false),
            ("*foo.com", false),
            ("a.*.com", false),
            ("foo..com", false),
            ("", false),
            ("foo.com/", false),
        ] {
            assert_eq!(is_server_host(host), expected, "{host}");
        }
    }
}
