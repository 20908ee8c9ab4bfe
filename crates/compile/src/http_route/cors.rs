//! `corsPolicy`.

use bytes::Bytes;
use portcullis_api::networking::{CorsPolicy as Spec, UnmatchedPreflights};
use portcullis_snapshot::action::CorsPolicy;
use portcullis_snapshot::matcher::StringMatch;

use super::matching::string_match;
use crate::diagnostic::{Code, Reporter};

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// The policy; `None` when it cannot be read.
pub(super) fn policy(spec: &Spec, reporter: &mut Reporter<'_, '_>) -> Option<CorsPolicy> {
    let max_age = match &spec.max_age {
        None => None,
        Some(age) if age.nanos() < 0 || age.nanos() % SECOND != 0 => {
            return reporter.refuse(
                "maxAge",
                format!("{age} is no whole number of seconds"),
                "write whole seconds",
            );
        }
        Some(age) => Some(Bytes::from((age.nanos() / SECOND).to_string())),
    };
    Some(CorsPolicy {
        allow_origins: origins(spec, reporter)?,
        allow_methods: joined(&spec.allow_methods),
        allow_headers: joined(&spec.allow_headers),
        expose_headers: joined(&spec.expose_headers),
        max_age,
        allow_credentials: spec.allow_credentials == Some(true),
        forward_unmatched_preflights: spec.unmatched_preflights != Some(UnmatchedPreflights::Ignore),
    })
}

fn origins(spec: &Spec, reporter: &mut Reporter<'_, '_>) -> Option<Vec<StringMatch>> {
    if spec.allow_origins.is_empty() {
        if !spec.allow_origin.is_empty() {
            reporter.report(Code::Deprecated, "allowOrigin", "is deprecated", "use allowOrigins with exact");
        }
        let origins = spec.allow_origin.iter().map(|origin| StringMatch::Exact(origin.as_str().into()));
        return Some(origins.map(or_any).collect());
    }
    let origins = spec.allow_origins.iter().enumerate().map(|(index, origin)| {
        let mut reporter = reporter.at(format_args!("allowOrigins[{index}]"));
        if origin.is_empty() {
            return reporter.refuse("", "names no origin", "add exact, prefix or regex");
        }
        string_match(origin, &mut reporter).map(or_any)
    });
    origins.collect()
}

/// What matches a bare `*` allows every origin (Envoy asks each condition for `*` first).
fn or_any(condition: StringMatch) -> StringMatch {
    if condition.matches(b"*") { StringMatch::Present } else { condition }
}

fn joined(names: &[String]) -> Option<Bytes> {
    (!names.is_empty()).then(|| names.join(",").into())
}
