//! The operators of header values.

use std::fmt;

use super::plain::PlainOperator;
use super::span::{Point, Unit};
use super::time::TimeFormat;
use crate::expression::Expression;

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
    /// `START_TIME(format)` and its like; without a format, as Envoy writes times by itself.
    Time {
        /// Which time.
        moment: Moment,
        /// How it is written.
        format: Option<TimeFormat>,
    },
    /// `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(bits)` and its like: the block of so many bits that an address lies in.
    Block {
        /// Which address: an operator of one without its port.
        address: PlainOperator,
        /// As written; an address has no more than it has.
        bits: u8,
    },
    /// `REQUESTED_SERVER_NAME(SNI_FIRST)` and `(HOST_FIRST)`: the server name of TLS and the request's host, of which
    /// the first that there is.
    ServerName {
        /// Whether the host is asked for first.
        host_first: bool,
    },
    /// `METADATA(ROUTE:istio:config)` and its like: what Istio notes of a configuration's objects.
    Metadata {
        /// Of what.
        of: MetadataOf,
        /// Namespace and keys.
        path: Box<[Box<str>]>,
    },
    /// `PATH(WQ|NQ:which)`: the target, with or without its query.
    Path {
        /// Whether the query belongs to it.
        query: bool,
        /// Of which target.
        which: Which,
    },
    /// `QUERY_PARAM(name):max`: the first value of a query parameter, decoded.
    QueryParameter {
        /// As written in the query.
        name: Box<str>,
        /// Longest value in bytes.
        max: Option<usize>,
    },
    /// `QUERY_PARAMS(which)`: the whole query.
    Query(Which),
    /// `QUERY_PARAMS(DECODED)`: the whole query, decoded as far as a header may hold it.
    DecodedQuery,
    /// `COMMON_DURATION(start:end:unit)`: the time between two points of a request.
    Span {
        /// From the first to the second.
        points: [Point; 2],
        /// What it is counted in.
        unit: Unit,
    },
    /// `GRPC_STATUS(form)` and `GRPC_STATUS_NUMBER`: how a gRPC call ended.
    GrpcStatus(GrpcForm),
    /// `CEL(expression):max` and `TYPED_CEL(expression):max`, which differ only in structured logs.
    Expression {
        /// Evaluated against the request.
        expression: Box<Expression>,
        /// In which of the two ways it was written.
        typed: bool,
        /// Longest value in bytes.
        max: Option<usize>,
    },
    /// `ENVIRONMENT(name)`: who writes routes is not shown the gateway's environment, so no variable is ever set.
    Environment(Box<str>),
    /// An operator of the reference that counts what has not begun when headers are written, so that it is 0.
    Zero(Box<str>),
    /// An operator of the reference that has no value at this gateway, as written between percent signs.
    Valueless(Box<str>),
}

impl Operator {
    /// Whether requests have to be counted or timed on their way for it.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        match self {
            Self::Span { .. } => true,
            Self::Plain(operator) => operator.is_measured(),
            Self::Expression { expression, .. } => expression.is_measured(),
            _ => false,
        }
    }
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

/// What metadata is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataOf {
    /// The route that matched.
    Route,
    /// The cluster it leads to.
    Cluster,
    /// The endpoint that was chosen.
    Endpoint,
}

/// A time that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// When the request began.
    Start,
    /// The same, in the gateway's zone, which is UTC.
    StartLocal,
    /// Now.
    Emit,
    /// The same, in the gateway's zone, which is UTC.
    EmitLocal,
    /// From when on the client certificate holds.
    DownstreamPeerStart,
    /// Until when the client certificate holds.
    DownstreamPeerEnd,
    /// From when on the upstream's certificate holds.
    UpstreamPeerStart,
    /// Until when the upstream's certificate holds.
    UpstreamPeerEnd,
}

impl Moment {
    const ALL: [Self; 8] = [
        Self::Start,
        Self::StartLocal,
        Self::Emit,
        Self::EmitLocal,
        Self::DownstreamPeerStart,
        Self::DownstreamPeerEnd,
        Self::UpstreamPeerStart,
        Self::UpstreamPeerEnd,
    ];

    /// The one written as `text`.
    pub(super) fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|moment| moment.name() == text)
    }

    /// As written between percent signs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "START_TIME",
            Self::StartLocal => "START_TIME_LOCAL",
            Self::Emit => "EMIT_TIME",
            Self::EmitLocal => "EMIT_TIME_LOCAL",
            Self::DownstreamPeerStart => "DOWNSTREAM_PEER_CERT_V_START",
            Self::DownstreamPeerEnd => "DOWNSTREAM_PEER_CERT_V_END",
            Self::UpstreamPeerStart => "UPSTREAM_PEER_CERT_V_START",
            Self::UpstreamPeerEnd => "UPSTREAM_PEER_CERT_V_END",
        }
    }

    /// Whether its zone is written as an offset where no format says how.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::StartLocal | Self::EmitLocal)
    }
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
            Self::Time { moment, format: None } => return write!(out, "%{}%", moment.name()),
            Self::Time { moment, format: Some(format) } => {
                return write!(out, "%{}({format})%", moment.name());
            }
            Self::Block { address, bits } => return write!(out, "%{}({bits})%", address.name()),
            Self::ServerName { host_first } => {
                let order = if *host_first { "HOST_FIRST" } else { "SNI_FIRST" };
                return write!(out, "%REQUESTED_SERVER_NAME({order})%");
            }
            Self::Metadata { of, path } => {
                let of = match of {
                    MetadataOf::Route => "ROUTE",
                    MetadataOf::Cluster => "CLUSTER",
                    MetadataOf::Endpoint => "UPSTREAM_HOST",
                };
                return write!(out, "%METADATA({of}:{})%", path.join(":"));
            }
            Self::Path { query, which } => {
                return write!(out, "%PATH({}:{which})%", if *query { "WQ" } else { "NQ" });
            }
            Self::DecodedQuery => return out.write_str("%QUERY_PARAMS(DECODED)%"),
            Self::Span { points: [from, to], unit } => {
                return write!(out, "%COMMON_DURATION({}:{}:{})%", from.name(), to.name(), unit.name());
            }
            Self::Query(which) => return write!(out, "%QUERY_PARAMS({which})%"),
            Self::GrpcStatus(GrpcForm::Camel) => return out.write_str("%GRPC_STATUS%"),
            Self::GrpcStatus(GrpcForm::Snake) => return out.write_str("%GRPC_STATUS(SNAKE_STRING)%"),
            Self::GrpcStatus(GrpcForm::Number) => return out.write_str("%GRPC_STATUS_NUMBER%"),
            Self::Environment(name) => return write!(out, "%ENVIRONMENT({name})%"),
            Self::Valueless(text) | Self::Zero(text) => return write!(out, "%{text}%"),
            Self::Expression { expression, typed, max } => {
                write!(out, "%{}({expression})", if *typed { "TYPED_CEL" } else { "CEL" })?;
                return match max {
                    Some(max) => write!(out, ":{max}%"),
                    None => out.write_str("%"),
                };
            }
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
