//! What a rule does: answer by redirect or with a fixed response, or forward.

use bytes::Bytes;
use http::StatusCode;
use portcullis_api::networking::{self as api, HttpRedirect, HttpRoute, RedirectPortSelection};
use portcullis_snapshot::action::{
    Action, DirectResponse, Forward, PathRewrite, Redirect, RedirectPath, Scheme,
};
use portcullis_snapshot::matcher::PathMatch;

use super::Scope;
use crate::diagnostic::{Code, Reporter};

/// Largest body of a fixed response, in bytes (Istio's bound).
const MAX_BODY: usize = 1_048_576;
/// Body from which on Istio warns, in bytes.
const LARGE_BODY: usize = 102_400;

/// An action that still lacks what depends on the path condition of an entry.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A redirect, whose path may replace the matched prefix.
    Redirect((Redirect, Option<Box<str>>)),
    /// A fixed response.
    Respond(DirectResponse),
    /// Forwarding, whose `rewrite.uri` may replace the matched prefix.
    Forward(Box<Forward>, Option<Box<str>>),
}

impl Outcome {
    /// The action for an entry with this path condition; `None` when they do not go together.
    pub(super) fn action(&self, path: &PathMatch, reporter: &mut Reporter<'_, '_>) -> Option<Action> {
        Some(match self {
            Self::Respond(response) => Action::Respond(Box::new(response.clone())),
            Self::Redirect((redirect, None)) => Action::Redirect(Box::new(redirect.clone())),
            Self::Redirect((redirect, Some(prefix))) => {
                let Some(matched) = matched_prefix(path) else {
                    return reporter.refuse(
                        "redirect.prefixRewrite",
                        "needs a match on a prefix of the path",
                        "match with uri.prefix, or use redirect.uri",
                    );
                };
                let path = RedirectPath::Prefix { matched, replacement: prefix.clone() };
                Action::Redirect(Box::new(Redirect { path, ..redirect.clone() }))
            }
            Self::Forward(forward, None) => Action::Forward(forward.clone()),
            Self::Forward(forward, Some(uri)) => {
                let rewrite = match matched_prefix(path) {
                    Some(matched) => PathRewrite::Prefix { matched, replacement: uri.clone() },
                    None => PathRewrite::Full(uri.clone()),
                };
                let mut forward = forward.clone();
                forward.path = Some(Box::new(rewrite));
                Action::Forward(forward)
            }
        })
    }
}

/// Length of the prefix a path condition matches; without a condition it is `/`.
fn matched_prefix(path: &PathMatch) -> Option<usize> {
    match path {
        PathMatch::Any => Some(1),
        PathMatch::Prefix(prefix) | PathMatch::PrefixIgnoreCase(prefix) => Some(prefix.len()),
        PathMatch::Exact(_) | PathMatch::ExactIgnoreCase(_) | PathMatch::Regex(_) => None,
    }
}

/// Refuses rules with no action.
pub(super) fn check_present(http: &HttpRoute, reporter: &mut Reporter<'_, '_>) -> Option<()> {
    if actions(http).is_empty() {
        return reporter.refuse(
            "",
            "has no action, so it is left out",
            "add route, redirect or directResponse",
        );
    }
    Some(())
}

/// Refuses rules with several actions, and with what does not go with the one they have.
pub(super) fn check_one(http: &HttpRoute, reporter: &mut Reporter<'_, '_>) -> Option<()> {
    let present = actions(http);
    if present.len() > 1 {
        let message = format!("has {}, so it is left out", present.join(" and "));
        return reporter.refuse("", message, "keep one of them");
    }
    if http.route.is_empty() && http.rewrite.is_some() {
        return reporter.refuse("rewrite", "needs a route, so the rule is left out", "remove it");
    }
    if http.route.is_empty() && http.fault.is_some() {
        return reporter.refuse("fault", "needs a route, so the rule is left out", "remove it");
    }
    Some(())
}

fn actions(http: &HttpRoute) -> Vec<&'static str> {
    let actions = [
        ("route", !http.route.is_empty()),
        ("redirect", http.redirect.is_some()),
        ("directResponse", http.direct_response.is_some()),
    ];
    actions.iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect()
}

/// A redirect, with the text that replaces the matched prefix, if it has one.
pub(super) fn redirect(
    spec: &HttpRedirect,
    scope: &Scope<'_>,
    reporter: &mut Reporter<'_, '_>,
) -> Option<(Redirect, Option<Box<str>>)> {
    let status = match spec.redirect_code {
        None | Some(0) => StatusCode::MOVED_PERMANENTLY,
        Some(code @ (301 | 302 | 303 | 307 | 308)) => status(code)?,
        Some(code) => {
            let message = format!("{code} is no redirect a gateway can answer with");
            return reporter.refuse("redirectCode", message, "use 301, 302, 303, 307 or 308");
        }
    };
    let scheme = match filled(spec.scheme.as_deref()) {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(other) => {
            return reporter.refuse("scheme", format!("{other:?} is no scheme"), "use http or https");
        }
    };
    let (uri, prefix) = (filled(spec.uri.as_deref()), filled(spec.prefix_rewrite.as_deref()));
    if uri.is_some() && prefix.is_some() {
        return reporter.refuse("prefixRewrite", "excludes uri", "keep one of them");
    }
    let redirect = Redirect {
        status,
        scheme,
        host: filled(spec.authority.as_deref()).map(Into::into),
        port: redirect_port(spec, scheme, scope, reporter)?,
        path: uri.map_or(RedirectPath::Keep, |uri| RedirectPath::Replace(uri.into())),
    };
    Some((redirect, prefix.map(Into::into)))
}

/// The port to write; the port that goes with the scheme is not written.
#[expect(clippy::option_option, reason = "the outer layer says the rule is left out")]
fn redirect_port(
    spec: &HttpRedirect,
    scheme: Option<Scheme>,
    scope: &Scope<'_>,
    reporter: &mut Reporter<'_, '_>,
) -> Option<Option<u16>> {
    let port = match (spec.port, spec.derive_port) {
        (Some(_), Some(_)) => return reporter.refuse("derivePort", "excludes port", "keep one of them"),
        (Some(port), None) => match u16::try_from(port) {
            Ok(port) => port,
            Err(_) => return reporter.refuse("port", format!("{port} is no port"), "use 1 to 65535"),
        },
        (None, Some(RedirectPortSelection::FromRequestPort)) => scope.port,
        (None, Some(RedirectPortSelection::FromProtocolDefault) | None) => return Some(None),
    };
    let served = if scope.tls { Scheme::Https } else { Scheme::Http };
    let needless = port == 0 || port == scheme.unwrap_or(served).default_port();
    Some((!needless).then_some(port))
}

/// A fixed response.
pub(super) fn direct_response(
    spec: &api::DirectResponse,
    reporter: &mut Reporter<'_, '_>,
) -> Option<DirectResponse> {
    let status = match spec.status {
        code @ 200..=599 => status(code)?,
        code => {
            return reporter.refuse(
                "status",
                format!("{code} is no status to answer with"),
                "use 200 to 599",
            );
        }
    };
    let body = match spec.body.as_ref().map(|body| (&body.string, &body.bytes)) {
        Some((Some(_), Some(_))) => {
            return reporter.refuse("body", "has both string and bytes", "keep one of them");
        }
        Some((Some(text), None)) => Bytes::copy_from_slice(text.as_bytes()),
        Some((None, Some(bytes))) => Bytes::copy_from_slice(&bytes.0),
        Some((None, None)) | None => Bytes::new(),
    };
    if body.len() > MAX_BODY {
        return reporter.refuse(
            "body",
            format!("is longer than {MAX_BODY} bytes"),
            "serve it from a backend",
        );
    }
    if body.len() > LARGE_BODY {
        let message = format!("is longer than {LARGE_BODY} bytes, which is kept in memory for each route");
        reporter.report(Code::SchemaWarning, "body", message, "serve it from a backend");
    }
    Some(DirectResponse { status, body })
}

fn status(code: u32) -> Option<StatusCode> {
    u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok())
}

/// A text that was written and is not empty.
pub(super) fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}
