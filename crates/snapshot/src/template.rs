//! Header values that are put together per request: literal text and `%OPERATOR%`s.
//!
//! The operators are those Envoy documents for custom request and response headers. `compile`
//! parses a value once; the data plane asks a [`Context`] for each operator.

use std::fmt;

use bytes::Bytes;

/// A parsed header value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// Plain text: the common case costs nothing per request.
    Literal(Bytes),
    /// Text and operators in order.
    Parts(Vec<Part>),
}

/// One piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Literal(Bytes),
    /// A value of the request; an unset one is the empty text.
    Operator(Operator),
}

/// The values a header may carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// `REQ(name?alternative):max`: a request header, pseudo-headers included.
    Request {
        /// Lower-case name.
        name: Box<str>,
        /// Asked when `name` is absent.
        alternative: Option<Box<str>>,
        /// Longest value in bytes.
        max: Option<usize>,
    },
    /// `RESP(name?alternative):max`: a response header.
    Response {
        /// Lower-case name.
        name: Box<str>,
        /// Asked when `name` is absent.
        alternative: Option<Box<str>>,
        /// Longest value in bytes.
        max: Option<usize>,
    },
    /// A value without argument.
    Plain(PlainOperator),
    /// `START_TIME`: when the request began, UTC with milliseconds.
    StartTime,
    /// `PATH(WQ|NQ:which)`: the target, with or without its query.
    Path {
        /// Whether the query belongs to it.
        query: bool,
        /// Of which target.
        which: Which,
    },
    /// `QUERY_PARAM(name):max`: the first value of a query parameter, as it was sent.
    QueryParameter {
        /// As written in the query.
        name: Box<str>,
        /// Longest value in bytes.
        max: Option<usize>,
    },
    /// `QUERY_PARAMS(which)`: the whole query.
    Query(Which),
    /// `GRPC_STATUS(form)` and `GRPC_STATUS_NUMBER`: how a gRPC call ended.
    GrpcStatus(GrpcForm),
    /// `ENVIRONMENT(name)`: who writes routes is not shown the gateway's environment, so no variable is ever set.
    Environment(Box<str>),
    /// An operator of the reference that has no value at this gateway, as written between percent signs.
    Valueless(Box<str>),
}

/// How a gRPC status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcForm {
    /// `NotFound`
    Camel,
    /// `NOT_FOUND`
    Snake,
    /// `5`
    Number,
}

/// The target of a request: it changes when a route rewrites it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// As it is now.
    Now,
    /// As the client sent it, if it was rewritten.
    Original,
    /// As the client sent it, rewritten or not.
    OriginalOrNow,
}

impl fmt::Display for Which {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Now => "PATH",
            Self::Original => "ORIG",
            Self::OriginalOrNow => "ORIG_OR_PATH",
        })
    }
}

impl fmt::Display for Operator {
    /// As written, percent signs included.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, name, alternative, max) = match self {
            Self::Plain(operator) => return write!(out, "%{}%", operator.name()),
            Self::StartTime => return out.write_str("%START_TIME%"),
            Self::Path { query, which } => {
                return write!(out, "%PATH({}:{which})%", if *query { "WQ" } else { "NQ" });
            }
            Self::Query(which) => return write!(out, "%QUERY_PARAMS({which})%"),
            Self::GrpcStatus(GrpcForm::Camel) => return out.write_str("%GRPC_STATUS%"),
            Self::GrpcStatus(GrpcForm::Snake) => return out.write_str("%GRPC_STATUS(SNAKE_STRING)%"),
            Self::GrpcStatus(GrpcForm::Number) => return out.write_str("%GRPC_STATUS_NUMBER%"),
            Self::Environment(name) => return write!(out, "%ENVIRONMENT({name})%"),
            Self::Valueless(text) => return write!(out, "%{text}%"),
            Self::QueryParameter { name, max } => ("QUERY_PARAM", name, &None, max),
            Self::Request { name, alternative, max } => ("REQ", name, alternative, max),
            Self::Response { name, alternative, max } => ("RESP", name, alternative, max),
        };
        write!(out, "%{word}({name}")?;
        if let Some(alternative) = alternative {
            write!(out, "?{alternative}")?;
        }
        match max {
            Some(max) => write!(out, "):{max}%"),
            None => out.write_str(")%"),
        }
    }
}

macro_rules! plain_operators {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// Operators without argument.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum PlainOperator {
            $($(#[doc = $doc])* $name,)*
        }

        impl PlainOperator {
            /// The operator written as `text` between percent signs.
            fn named(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// As written between percent signs.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

plain_operators! {
    /// Trusted client address with port.
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    /// Trusted client address.
    DownstreamRemoteAddressWithoutPort = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Port of the trusted client.
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT",
    /// TCP peer with port.
    DownstreamDirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    /// TCP peer.
    DownstreamDirectRemoteAddressWithoutPort = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Own address of the downstream connection, with port.
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    /// Own address of the downstream connection.
    DownstreamLocalAddressWithoutPort = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Own port of the downstream connection.
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT",
    /// Own address that the client connected to, with port.
    DownstreamDirectLocalAddress = "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    /// Own address that the client connected to.
    DownstreamDirectLocalAddressWithoutPort = "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Own port that the client connected to.
    DownstreamDirectLocalPort = "DOWNSTREAM_DIRECT_LOCAL_PORT",
    /// `TLSv1.2` or `TLSv1.3`.
    DownstreamTlsVersion = "DOWNSTREAM_TLS_VERSION",
    /// OpenSSL name of the cipher suite.
    DownstreamTlsCipher = "DOWNSTREAM_TLS_CIPHER",
    /// Subject of the client certificate, RFC 2253.
    DownstreamPeerSubject = "DOWNSTREAM_PEER_SUBJECT",
    /// URI subject alternative names of the client certificate, comma-joined.
    DownstreamPeerUriSan = "DOWNSTREAM_PEER_URI_SAN",
    /// DNS subject alternative names of the client certificate, comma-joined.
    DownstreamPeerDnsSan = "DOWNSTREAM_PEER_DNS_SAN",
    /// Email subject alternative names of the client certificate, comma-joined.
    DownstreamPeerEmailSan = "DOWNSTREAM_PEER_EMAIL_SAN",
    /// IP subject alternative names of the client certificate, comma-joined.
    DownstreamPeerIpSan = "DOWNSTREAM_PEER_IP_SAN",
    /// URL-encoded PEM of the client certificate.
    DownstreamPeerCert = "DOWNSTREAM_PEER_CERT",
    /// From when on the client certificate holds.
    DownstreamPeerCertStart = "DOWNSTREAM_PEER_CERT_V_START",
    /// Until when the client certificate holds.
    DownstreamPeerCertEnd = "DOWNSTREAM_PEER_CERT_V_END",
    /// Issuer of the client certificate, RFC 2253.
    DownstreamPeerIssuer = "DOWNSTREAM_PEER_ISSUER",
    /// Hex serial number of the client certificate.
    DownstreamPeerSerial = "DOWNSTREAM_PEER_SERIAL",
    /// Hex SHA-256 of the client certificate.
    DownstreamPeerFingerprint256 = "DOWNSTREAM_PEER_FINGERPRINT_256",
    /// Hex SHA-1 of the client certificate.
    DownstreamPeerFingerprint1 = "DOWNSTREAM_PEER_FINGERPRINT_1",
    /// `HTTP/1.1`, `HTTP/2`.
    Protocol = "PROTOCOL",
    /// `HTTP/1.1`, `HTTP/2`, as spoken to the upstream that answered.
    UpstreamProtocol = "UPSTREAM_PROTOCOL",
    /// SNI of the downstream connection.
    RequestedServerName = "REQUESTED_SERVER_NAME",
    /// Name of the route.
    RouteName = "ROUTE_NAME",
    /// Name of the virtual host.
    VirtualClusterName = "VIRTUAL_CLUSTER_NAME",
    /// Status of the upstream's response; 0 before it and in the gateway's own answers.
    ResponseCode = "RESPONSE_CODE",
    /// Why that status was sent.
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    /// Short response flags, `-` when none.
    ResponseFlags = "RESPONSE_FLAGS",
    /// Response flags in words, `-` when none.
    ResponseFlagsLong = "RESPONSE_FLAGS_LONG",
    /// Address of the endpoint, with port.
    UpstreamRemoteAddress = "UPSTREAM_REMOTE_ADDRESS",
    /// Address of the endpoint.
    UpstreamRemoteAddressWithoutPort = "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Port of the endpoint.
    UpstreamRemotePort = "UPSTREAM_REMOTE_PORT",
    /// Address of the endpoint, with port.
    UpstreamHost = "UPSTREAM_HOST",
    /// Name of the cluster as statistics have it: Istio ends it with a semicolon.
    UpstreamCluster = "UPSTREAM_CLUSTER",
    /// Name of the cluster.
    UpstreamClusterRaw = "UPSTREAM_CLUSTER_RAW",
    /// Why no connection to the endpoint came about.
    UpstreamTransportFailureReason = "UPSTREAM_TRANSPORT_FAILURE_REASON",
    /// Number of the current try, 0 before the first.
    UpstreamRequestAttemptCount = "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    /// Own address of the upstream connection.
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS",
    /// Own address of the upstream connection, without its port.
    UpstreamLocalAddressWithoutPort = "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Own port of the upstream connection.
    UpstreamLocalPort = "UPSTREAM_LOCAL_PORT",
    /// Bytes of request body received.
    BytesReceived = "BYTES_RECEIVED",
    /// Bytes of response body sent.
    BytesSent = "BYTES_SENT",
    /// Milliseconds since the request began.
    Duration = "DURATION",
    /// The gateway's host name.
    Hostname = "HOSTNAME",
}

/// Operators of the reference for what this gateway does not have: flags and state that only filters of a mesh set,
/// fingerprints, traces, a certificate of its own that it would tell of, an ended connection.
const VALUELESS: &[&str] = &[
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_SUBJECT",
    "UPSTREAM_LOCAL_URI_SAN",
];

/// The same with an argument in parentheses.
const VALUELESS_WITH_ARGUMENT: &[&str] = &[
    "CLUSTER_METADATA",
    "DYNAMIC_METADATA",
    "FILTER_STATE",
    "METADATA",
    "PER_REQUEST_STATE",
    "TRAILER",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_METADATA",
];

/// Why a value cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// A `%` has no partner; a literal percent sign is written `%%`.
    Unterminated,
    /// The text between percent signs is no operator known here.
    Unknown(String),
    /// The operator's argument is missing or malformed.
    BadArgument(String),
}

/// Gives the values of operators; unset ones write nothing.
pub trait Context {
    /// Appends the value of `operator` to `out`.
    fn write(&self, operator: &Operator, out: &mut Vec<u8>);
}

impl Template {
    /// Parses the text of a header value.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(percent) = rest.find('%') {
            literal.push_str(&rest[..percent]);
            rest = &rest[percent + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let end = operator_end(rest).ok_or(TemplateError::Unterminated)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Operator(parse_operator(&rest[..end])?));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if parts.is_empty() {
            return Ok(Self::Literal(literal.into()));
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self::Parts(parts))
    }

    /// The value for one request.
    #[must_use]
    pub fn render(&self, context: &impl Context) -> Bytes {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Parts(parts) => {
                let mut out = Vec::new();
                for part in parts {
                    match part {
                        Part::Literal(text) => out.extend_from_slice(text),
                        Part::Operator(operator) => context.write(operator, &mut out),
                    }
                }
                out.into()
            }
        }
    }
}

/// Position of the closing `%`, which may not stand inside parentheses.
fn operator_end(rest: &str) -> Option<usize> {
    let mut depth = 0usize;
    rest.bytes().position(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        byte == b'%' && depth == 0
    })
}

fn parse_operator(text: &str) -> Result<Operator, TemplateError> {
    let (head, argument) = match text.split_once('(') {
        Some((head, tail)) => {
            let (argument, suffix) =
                tail.rsplit_once(')').ok_or_else(|| TemplateError::BadArgument(text.to_owned()))?;
            (head, Some((argument, suffix)))
        }
        None => (text, None),
    };
    match (head, argument) {
        ("REQ" | "RESP", Some((argument, suffix))) => header_operator(head, argument, suffix, text),
        ("REQ" | "RESP", None) => Err(TemplateError::BadArgument(text.to_owned())),
        ("START_TIME", None) => Ok(Operator::StartTime),
        ("PATH", argument) => path_operator(argument, text),
        ("QUERY_PARAM", Some((name, suffix))) if !name.is_empty() => {
            Ok(Operator::QueryParameter { name: name.into(), max: max_length(suffix, text)? })
        }
        ("QUERY_PARAMS", None) => Ok(Operator::Query(Which::Now)),
        ("QUERY_PARAMS", Some((argument, ""))) => which(argument, text).map(Operator::Query),
        ("GRPC_STATUS", argument) => grpc_form(argument, text).map(Operator::GrpcStatus),
        ("GRPC_STATUS_NUMBER", None) => Ok(Operator::GrpcStatus(GrpcForm::Number)),
        ("ENVIRONMENT", Some((name, suffix))) if !name.is_empty() => {
            max_length(suffix, text)?;
            Ok(Operator::Environment(name.into()))
        }
        (head, None) if VALUELESS.contains(&head) => Ok(Operator::Valueless(text.into())),
        (head, Some((argument, suffix)))
            if VALUELESS_WITH_ARGUMENT.contains(&head) && !argument.is_empty() =>
        {
            max_length(suffix, text)?;
            Ok(Operator::Valueless(text.into()))
        }
        (_, None) => PlainOperator::named(head)
            .map(Operator::Plain)
            .ok_or_else(|| TemplateError::Unknown(text.to_owned())),
        (_, Some(_)) => Err(TemplateError::Unknown(text.to_owned())),
    }
}

fn grpc_form(argument: Option<(&str, &str)>, text: &str) -> Result<GrpcForm, TemplateError> {
    match argument {
        None | Some(("" | "CAMEL_STRING", "")) => Ok(GrpcForm::Camel),
        Some(("SNAKE_STRING", "")) => Ok(GrpcForm::Snake),
        Some(("NUMBER", "")) => Ok(GrpcForm::Number),
        Some(_) => Err(TemplateError::BadArgument(text.to_owned())),
    }
}

fn header_operator(kind: &str, argument: &str, suffix: &str, text: &str) -> Result<Operator, TemplateError> {
    let max = max_length(suffix, text)?;
    let (name, alternative) = match argument.split_once('?') {
        Some((name, alternative)) => (name, Some(alternative)),
        None => (argument, None),
    };
    if name.is_empty() {
        return Err(TemplateError::BadArgument(text.to_owned()));
    }
    let name = name.to_ascii_lowercase().into_boxed_str();
    let alternative = alternative.map(|text| text.to_ascii_lowercase().into_boxed_str());
    Ok(match kind {
        "REQ" => Operator::Request { name, alternative, max },
        _ => Operator::Response { name, alternative, max },
    })
}

/// The `:max` behind an operator's argument.
fn max_length(suffix: &str, text: &str) -> Result<Option<usize>, TemplateError> {
    let bad = || TemplateError::BadArgument(text.to_owned());
    match suffix.strip_prefix(':') {
        Some(digits) => digits.parse().map(Some).map_err(|_| bad()),
        None if suffix.is_empty() => Ok(None),
        None => Err(bad()),
    }
}

fn path_operator(argument: Option<(&str, &str)>, text: &str) -> Result<Operator, TemplateError> {
    let (query, target) = match argument {
        None => ("WQ", None),
        Some((argument, "")) => match argument.split_once(':') {
            Some((query, target)) => (query, Some(target)),
            None => (argument, None),
        },
        Some(_) => return Err(TemplateError::BadArgument(text.to_owned())),
    };
    let which = target.map_or(Ok(Which::Now), |target| which(target, text))?;
    match query {
        "" | "WQ" => Ok(Operator::Path { query: true, which }),
        "NQ" => Ok(Operator::Path { query: false, which }),
        _ => Err(TemplateError::BadArgument(text.to_owned())),
    }
}

fn which(target: &str, text: &str) -> Result<Which, TemplateError> {
    match target {
        "" | "PATH" => Ok(Which::Now),
        "ORIG" => Ok(Which::Original),
        "ORIG_OR_PATH" => Ok(Which::OriginalOrNow),
        _ => Err(TemplateError::BadArgument(text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
