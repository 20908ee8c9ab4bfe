//! `retries` and `timeout`.

use std::time::Duration;

use portcullis_api::networking::HttpRetry;
use portcullis_api::wire;
use portcullis_snapshot::retry::{RetryOn, RetryPolicy};

use crate::diagnostic::Reporter;

/// The policy of a rule, or the mesh's, or Istio's default. `hashed`: one destination chosen by consistent
/// hashing, for which avoiding hosts would defeat the hash.
pub(super) fn policy(
    spec: Option<&HttpRetry>,
    timeout: Option<Duration>,
    hashed: bool,
    reporter: &mut Reporter<'_, '_>,
) -> Option<RetryPolicy> {
    let default = RetryPolicy { avoid_previous_hosts: !hashed, ..RetryPolicy::istio_default() };
    let Some(spec) = spec else { return Some(default) };
    let attempts = spec.attempts.unwrap_or(0);
    let Ok(attempts) = u32::try_from(attempts) else {
        return reporter.refuse("attempts", format!("{attempts} is less than none"), "use 0 or more");
    };
    if attempts == 0 {
        check_none(spec, reporter)?;
        return Some(RetryPolicy::none());
    }
    let (on, statuses) = match spec.retry_on.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => conditions(text, reporter)?,
        None => (default.on, default.statuses),
    };
    let per_try = duration(spec.per_try_timeout.as_ref(), "perTryTimeout", reporter)?;
    let backoff = duration(spec.backoff.as_ref(), "backoff", reporter)?;
    Some(RetryPolicy {
        attempts,
        on,
        statuses,
        // A try that may last as long as the whole is not bounded by its own limit.
        per_try_timeout: per_try.filter(|limit| timeout.is_none_or(|whole| *limit < whole)),
        backoff: backoff.unwrap_or(RetryPolicy::DEFAULT_BACKOFF),
        avoid_previous_hosts: spec.retry_ignore_previous_hosts.unwrap_or(default.avoid_previous_hosts),
        other_priorities: spec.retry_remote_localities == Some(true),
    })
}

/// With `attempts: 0` every other field is a contradiction.
fn check_none(spec: &HttpRetry, reporter: &mut Reporter<'_, '_>) -> Option<()> {
    let rest = HttpRetry { attempts: spec.attempts, ..HttpRetry::default() };
    if *spec != rest {
        return reporter.refuse("attempts", "is 0, so nothing else may be set", "set attempts to 1 or more");
    }
    Some(())
}

fn conditions(text: &str, reporter: &mut Reporter<'_, '_>) -> Option<(RetryOn, Vec<u16>)> {
    let mut on = RetryOn::default();
    let mut statuses = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if let Ok(status) = name.parse::<u16>() {
            statuses.push(status);
            on.retriable_status_codes = true;
        } else if !on.enable(name) {
            return reporter.refuse(
                "retryOn",
                format!("{name:?} is no condition"),
                "use conditions such as 5xx, reset, connect-failure, or status codes",
            );
        }
    }
    Some((on, statuses))
}

/// A length of time, `None` inside for zero or none; the outer `None` when it is negative.
#[expect(clippy::option_option, reason = "the outer layer says the rule is left out")]
pub(super) fn duration(
    value: Option<&wire::Duration>,
    field: &str,
    reporter: &mut Reporter<'_, '_>,
) -> Option<Option<Duration>> {
    let Some(value) = value else { return Some(None) };
    match value.to_std() {
        Some(length) => Some(Some(length).filter(|length| !length.is_zero())),
        None => reporter.refuse(field, format!("{value} is negative"), "write a length such as 5s"),
    }
}
