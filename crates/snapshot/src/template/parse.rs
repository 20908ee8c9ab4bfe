//! From the text of an operator to the operator.

use super::TemplateError;
use super::operator::{GrpcForm, MetadataOf, Moment, Operator, Which};
use super::plain::PlainOperator;
use super::span::{self, Span};
use super::time::TimeFormat;
use crate::expression::Expression;

/// Operators of the reference for what this gateway does not have: flags and state that only filters of a mesh set,
/// fingerprints, traces, sessions with a number, listeners inside the proxy, an ended connection.
const VALUELESS: &[&str] = &[
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "FILTER_CHAIN_NAME",
    "LOCAL_REPLY_BODY",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_TLS_SESSION_ID",
];

/// Operators of what has not been sent yet when headers are written, or what only QUIC counts.
const ZERO: &[&str] = &[
    "BYTES_RETRANSMITTED",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "RESPONSE_TRAILERS_BYTES",
];

/// Operators without a value that take an argument.
const VALUELESS_WITH_ARGUMENT: &[&str] = &[
    "DYNAMIC_METADATA",
    "FILTER_STATE",
    "PER_REQUEST_STATE",
    "RESPONSE_TRAILER",
    "TRAILER",
    "UPSTREAM_FILTER_STATE",
];

/// What Envoy keeps metadata of, and Istio puts none there.
const WITHOUT_METADATA: &[&str] = &["DYNAMIC", "LISTENER", "LISTENER_FILTER_CHAIN", "VIRTUAL_HOST"];

/// Position of the closing `%`, which may not stand inside parentheses. An expression may hold any sign, so its operator
/// ends, as in Envoy, with the first parenthesis that a percent sign is behind, or a length and one.
pub(super) fn operator_end(rest: &str) -> Option<usize> {
    let is_expression = rest.starts_with("CEL(") || rest.starts_with("TYPED_CEL(");
    is_expression.then(|| closed_end(rest)).flatten().or_else(|| open_end(rest))
}

fn closed_end(rest: &str) -> Option<usize> {
    rest.match_indices(')').map(|(at, _)| at + 1).find_map(|at| {
        let behind = &rest[at..];
        let digits = |max: &str| max.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(max.len());
        let length = behind.strip_prefix(':').map_or(0, |max| 1 + digits(max));
        (length != 1 && behind[length..].starts_with('%')).then_some(at + length)
    })
}

fn open_end(rest: &str) -> Option<usize> {
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

/// The operator written as `text` between percent signs.
pub(super) fn operator(text: &str) -> Result<Operator, TemplateError> {
    let (head, argument) = match text.split_once('(') {
        Some((head, tail)) => {
            let (argument, suffix) =
                tail.rsplit_once(')').ok_or_else(|| TemplateError::BadArgument(text.to_owned()))?;
            (head, Some((argument, suffix)))
        }
        None => (text, None),
    };
    let bad = || TemplateError::BadArgument(text.to_owned());
    match (head, argument) {
        ("REQ" | "RESP" | "REQUEST_HEADER" | "RESPONSE_HEADER", argument) => {
            let (argument, suffix) = argument.ok_or_else(bad)?;
            header_operator(head, argument, suffix, text)
        }
        ("PATH", argument) => path_operator(argument, text),
        ("QUERY_PARAM", Some((name, suffix))) if !name.is_empty() => {
            Ok(Operator::QueryParameter { name: name.into(), max: max_length(suffix, text)? })
        }
        ("QUERY_PARAMS", argument) => query_operator(argument, text),
        ("COMMON_DURATION", Some((argument, ""))) => match span::parse(argument).ok_or_else(bad)? {
            Span::Between(points, unit) => Ok(Operator::Span { points, unit }),
            Span::Never => Ok(Operator::Valueless(text.into())),
        },
        ("CEL" | "TYPED_CEL", Some((argument, suffix))) => {
            let (typed, max) = (head == "TYPED_CEL", max_length(suffix, text)?);
            match Expression::parse(argument) {
                Ok(expression) => Ok(Operator::Expression { expression: Box::new(expression), typed, max }),
                Err(error) => Err(TemplateError::Expression(text.to_owned(), error)),
            }
        }
        ("GRPC_STATUS", argument) => grpc_form(argument, text).map(Operator::GrpcStatus),
        ("GRPC_STATUS_NUMBER", None) => Ok(Operator::GrpcStatus(GrpcForm::Number)),
        ("ENVIRONMENT", Some((name, suffix))) if !name.is_empty() => {
            max_length(suffix, text)?;
            Ok(Operator::Environment(name.into()))
        }
        ("REQUESTED_SERVER_NAME", Some((order, ""))) => server_name(order).ok_or_else(bad),
        ("METADATA" | "CLUSTER_METADATA" | "UPSTREAM_METADATA", Some((argument, ""))) => {
            metadata(head, argument, text).ok_or_else(bad)
        }
        (head, argument) => time_operator(head, argument, text)
            .or_else(|| without_value(head, argument, text))
            .or_else(|| plain(head, argument).map(Ok))
            .unwrap_or_else(|| Err(TemplateError::Unknown(text.to_owned()))),
    }
}

fn time_operator(
    head: &str,
    argument: Option<(&str, &str)>,
    text: &str,
) -> Option<Result<Operator, TemplateError>> {
    let moment = Moment::named(head)?;
    let format = match argument {
        None | Some(("", "")) => None,
        Some((format, "")) => match TimeFormat::parse(format) {
            Some(format) => Some(format),
            None => return Some(Err(TemplateError::Unknown(text.to_owned()))),
        },
        Some(_) => return Some(Err(TemplateError::BadArgument(text.to_owned()))),
    };
    Some(Ok(Operator::Time { moment, format }))
}

fn without_value(
    head: &str,
    argument: Option<(&str, &str)>,
    text: &str,
) -> Option<Result<Operator, TemplateError>> {
    match argument {
        None if ZERO.contains(&head) => Some(Ok(Operator::Zero(text.into()))),
        None => VALUELESS.contains(&head).then(|| Ok(Operator::Valueless(text.into()))),
        Some((argument, suffix)) => {
            let known = VALUELESS_WITH_ARGUMENT.contains(&head) && !argument.is_empty();
            known.then(|| max_length(suffix, text).map(|_| Operator::Valueless(text.into())))
        }
    }
}

/// An operator that needs no argument; of the addresses and of the details Envoy takes one.
fn plain(head: &str, argument: Option<(&str, &str)>) -> Option<Operator> {
    let operator = PlainOperator::named(head)?;
    match argument {
        None => Some(Operator::Plain(operator)),
        Some((bits, "")) if head.ends_with("_ADDRESS_WITHOUT_PORT") => {
            // What is no number of bits is passed over.
            let block = bits.parse().map(|bits| Operator::Block { address: operator, bits });
            Some(block.unwrap_or(Operator::Plain(operator)))
        }
        Some((_, "")) if operator == PlainOperator::ResponseCodeDetails => Some(Operator::Plain(operator)),
        Some(_) => None,
    }
}

fn server_name(order: &str) -> Option<Operator> {
    match order {
        "SNI_ONLY" => Some(Operator::Plain(PlainOperator::RequestedServerName)),
        "SNI_FIRST" => Some(Operator::ServerName { host_first: false }),
        "HOST_FIRST" => Some(Operator::ServerName { host_first: true }),
        _ => None,
    }
}

fn query_operator(argument: Option<(&str, &str)>, text: &str) -> Result<Operator, TemplateError> {
    match argument {
        None | Some(("", "")) => Ok(Operator::Query(Which::Now)),
        Some(("ORIG", "")) => Ok(Operator::Query(Which::Original)),
        Some(("DECODED", "")) => Ok(Operator::DecodedQuery),
        Some(_) => Err(TemplateError::BadArgument(text.to_owned())),
    }
}

/// `METADATA(kind:namespace:key…)`, and the older words for two of its kinds.
fn metadata(head: &str, argument: &str, text: &str) -> Option<Operator> {
    let (kind, path) = match head {
        "CLUSTER_METADATA" => ("CLUSTER", argument),
        "UPSTREAM_METADATA" => ("UPSTREAM_HOST", argument),
        _ => argument.split_once(':').unwrap_or((argument, "")),
    };
    let of = match kind {
        "ROUTE" => MetadataOf::Route,
        "CLUSTER" => MetadataOf::Cluster,
        "UPSTREAM_HOST" => MetadataOf::Endpoint,
        kind => return WITHOUT_METADATA.contains(&kind).then(|| Operator::Valueless(text.into())),
    };
    Some(Operator::Metadata { of, path: metadata_path(path)? })
}

/// Keys with colons between them, or as a JSON list of texts.
fn metadata_path(path: &str) -> Option<Box<[Box<str>]>> {
    let Some(list) = path.strip_prefix('[') else { return Some(path.split(':').map(Into::into).collect()) };
    let keys = list.strip_suffix(']')?.split(',');
    keys.map(|key| Some(key.trim().strip_prefix('"')?.strip_suffix('"')?.into())).collect()
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
        "REQ" | "REQUEST_HEADER" => Operator::Request { name, alternative, max },
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
