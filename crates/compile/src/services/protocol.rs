//! What is spoken on a service port (routing reference §3.7).

/// What a cluster needs to know of a port's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Not routed.
    Udp,
    /// Said to be HTTP/1.1.
    Http,
    /// HTTP/2, gRPC, gRPC-Web.
    Http2,
    /// Anything else, and what is not said.
    Other,
}

impl Protocol {
    /// Of a Kubernetes Service port: `appProtocol` first, else the name up to its first `-`.
    pub(crate) fn of_service_port(
        transport: Option<&str>,
        app_protocol: Option<&str>,
        name: Option<&str>,
    ) -> Self {
        if transport.is_some_and(|transport| transport.eq_ignore_ascii_case("UDP")) {
            return Self::Udp;
        }
        match app_protocol {
            Some("kubernetes.io/h2c") => return Self::Http2,
            Some("kubernetes.io/ws") => return Self::Http,
            Some("kubernetes.io/wss") => return Self::Other,
            _ => {}
        }
        let text = app_protocol.or(name).unwrap_or_default();
        let is_grpc_web = text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("grpc-web"));
        match text.split('-').next() {
            _ if is_grpc_web => Self::Http2,
            Some(word) => Self::named(word),
            None => Self::Other,
        }
    }

    /// Of the word in a ServiceEntry's port.
    pub(crate) fn named(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "udp" => Self::Udp,
            "http" | "http_proxy" => Self::Http,
            "http2" | "grpc" | "grpc-web" => Self::Http2,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_service_ports() {
        for (transport, app_protocol, name, expected) in [
            (None, None, Some("http"), Protocol::Http),
            (None, None, Some("http-web"), Protocol::Http),
            (None, None, Some("HTTP2-x"), Protocol::Http2),
            (None, None, Some("grpc"), Protocol::Http2),
            (None, None, Some("grpc-web-x"), Protocol::Http2),
            (None, None, Some("grpcweb"), Protocol::Other),
            (None, None, Some("https"), Protocol::Other),
            (None, None, Some("main"), Protocol::Other),
            (None, None, None, Protocol::Other),
            (None, Some("kubernetes.io/h2c"), Some("http"), Protocol::Http2),
            (None, Some("kubernetes.io/ws"), Some("tcp"), Protocol::Http),
            (None, Some("kubernetes.io/wss"), Some("http"), Protocol::Other),
            (None, Some("grpc"), Some("http"), Protocol::Http2),
            (None, Some("postgresql"), Some("http"), Protocol::Other),
            (Some("UDP"), None, Some("http"), Protocol::Udp),
            (Some("TCP"), None, Some("grpc-é"), Protocol::Http2),
        ] {
            let found = Protocol::of_service_port(transport, app_protocol, name);
            assert_eq!(found, expected, "{transport:?} {app_protocol:?} {name:?}");
        }
    }
}
