//! One mistake, one finding: the API server's schema, Istio's webhook and the compiler often find the same one, each
//! at the same field or at a part of it. The first to look has the say.

use portcullis_api::Severity;
use portcullis_control::Notice;

/// Findings of the compiler that say no more than a verdict does: a value it cannot use, what is deprecated, what is
/// never reached.
const REPEATED: [&str; 7] = ["IST0002", "IST0106", "IST0130", "IST0131", "IST0133", "IST0134", "PCL1030"];

/// Adds what the webhook says to what the schema said.
pub(super) fn add(verdicts: &mut Vec<Notice>, admitted: Vec<Notice>) {
    let new: Vec<Notice> = admitted.into_iter().filter(|notice| !is_said(notice, verdicts)).collect();
    verdicts.extend(new);
}

/// Whether one of `verdicts` says what a later look found.
pub(super) fn is_said(notice: &Notice, verdicts: &[Notice]) -> bool {
    REPEATED.contains(&notice.code)
        && verdicts.iter().any(|verdict| {
            verdict.severity >= notice.severity.max(Severity::Warning)
                && verdict.object.is_some()
                && verdict.object == notice.object
                && about_the_same(&verdict.field, &notice.field)
        })
}

/// Whether the paths are equal, or one is within the other. The whole `spec` is the same as nothing but itself.
fn about_the_same(one: &str, other: &str) -> bool {
    let (one, other) = (plain(one), plain(other));
    let (short, long) = if one.len() <= other.len() { (&one, &other) } else { (&other, &one) };
    match long.strip_prefix(short.as_str()) {
        Some("") => true,
        Some(rest) => rest.starts_with(['.', '[']) && !matches!(short.as_str(), "" | "spec"),
        None => false,
    }
}

/// Keys of maps in one spelling: `set.x` for `set["x"]`.
fn plain(path: &str) -> String {
    path.replace("[\"", ".").replace("\"]", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_within_paths() {
        for (one, other, same) in [
            ("spec.http[0]", "spec.http[0]", true),
            ("spec.http[0]", "spec.http[0].match[1]", true),
            ("spec.http[1].match[0]", "spec.http[1]", true),
            ("spec.http[1]", "spec.http[10]", false),
            ("spec", "spec.http[0]", false),
            ("spec", "spec", true),
            ("spec.http[0].headers.request.set[\"x-a\"]", "spec.http[0].headers.request.set.x-a", true),
            ("spec.hosts", "spec.hostsX", false),
        ] {
            assert_eq!(about_the_same(one, other), same, "{one} {other}");
        }
    }
}
