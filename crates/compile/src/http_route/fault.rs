//! `fault`: injected delays and aborts.

use std::time::Duration;

use http::StatusCode;
use portcullis_api::networking::{self as api, HttpFaultInjection};
use portcullis_api::wire::Percent;
use portcullis_snapshot::action::{Abort, Fault, Percentage};

use crate::diagnostic::{Code, Reporter};

/// gRPC status codes by name (Istio's `grpc.SupportedGRPCStatus`); the position is the code.
pub(crate) const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The fault; the outer `None` when it cannot be read, the inner one when it does nothing.
#[expect(clippy::option_option, reason = "the outer layer says the rule is left out")]
pub(super) fn fault(spec: &HttpFaultInjection, reporter: &mut Reporter<'_, '_>) -> Option<Option<Fault>> {
    let delay = match &spec.delay {
        Some(delay) => self::delay(delay, &mut reporter.at("delay"))?,
        None => None,
    };
    let abort = match &spec.abort {
        Some(abort) => self::abort(abort, &mut reporter.at("abort"))?,
        None => None,
    };
    Some((delay.is_some() || abort.is_some()).then_some(Fault { delay, abort }))
}

#[expect(clippy::option_option, reason = "the outer layer says the rule is left out")]
fn delay(spec: &api::Delay, reporter: &mut Reporter<'_, '_>) -> Option<Option<(Percentage, Duration)>> {
    if spec.exponential_delay.is_some() {
        return reporter.refuse("exponentialDelay", "is not supported, by Istio neither", "use fixedDelay");
    }
    let fixed = spec.fixed_delay.as_ref().and_then(portcullis_api::wire::Duration::to_std);
    let Some(fixed) = fixed.filter(|fixed| *fixed >= Duration::from_millis(1)) else {
        return reporter.refuse("fixedDelay", "must be at least 1ms", "write a length such as 5s");
    };
    if spec.percent.is_some() {
        reporter.report(Code::Deprecated, "percent", "is deprecated", "use percentage.value");
    }
    let share = match (&spec.percentage, spec.percent) {
        (Some(percentage), _) => self::share(percentage, reporter)?,
        (None, percent) => Percentage::from_percent(f64::from(percent.unwrap_or(0))),
    };
    Some(Some((share, fixed)).filter(|(share, _)| share.millionths() > 0))
}

#[expect(clippy::option_option, reason = "the outer layer says the rule is left out")]
fn abort(spec: &api::Abort, reporter: &mut Reporter<'_, '_>) -> Option<Option<(Percentage, Abort)>> {
    if spec.http2_error.is_some() {
        return reporter.refuse("http2Error", "is not supported, by Istio neither", "use httpStatus");
    }
    let answer = match (spec.http_status, &spec.grpc_status) {
        (Some(status), None) => http_status(status, reporter)?,
        (None, Some(name)) => grpc_status(name, reporter)?,
        (None, None) => {
            reporter.report(Code::SchemaWarning, "", "names no status, so it does nothing", "add httpStatus");
            return Some(None);
        }
        (Some(_), Some(_)) => {
            return reporter.refuse("", "has both httpStatus and grpcStatus", "keep one of them");
        }
    };
    // Left out, the percentage is 0: nothing is aborted (routing reference §2.8).
    let share = match &spec.percentage {
        Some(percentage) => self::share(percentage, reporter)?,
        None => Percentage::from_percent(0.0),
    };
    Some(Some((share, answer)).filter(|(share, _)| share.millionths() > 0))
}

fn http_status(status: i32, reporter: &mut Reporter<'_, '_>) -> Option<Abort> {
    let code = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
    match code.and_then(|code| StatusCode::from_u16(code).ok()) {
        Some(code) => Some(Abort::Http(code)),
        None => reporter.refuse("httpStatus", format!("{status} is no status"), "use 200 to 599"),
    }
}

fn grpc_status(name: &str, reporter: &mut Reporter<'_, '_>) -> Option<Abort> {
    let position = GRPC_STATUSES.iter().position(|known| *known == name);
    match position.and_then(|position| u16::try_from(position).ok()) {
        Some(code) => Some(Abort::Grpc(code)),
        None => reporter.refuse(
            "grpcStatus",
            format!("{name:?} is no gRPC status"),
            "use a name such as UNAVAILABLE",
        ),
    }
}

/// A share of requests; left out it is 0.
pub(super) fn share(percentage: &Percent, reporter: &mut Reporter<'_, '_>) -> Option<Percentage> {
    let value = percentage.value.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&value) {
        return reporter.refuse("percentage.value", format!("{value} is no percentage"), "use 0 to 100");
    }
    Some(Percentage::from_percent(value))
}
