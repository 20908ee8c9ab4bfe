//! The known name nearest to one that is not known.

/// Longer names are not compared: nobody misspells a name of this length in one or two places.
const MAX_COMPARED: usize = 48;

/// The candidate nearest to `name`, if it is near enough to be what was meant.
pub(super) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    if name.chars().count() > MAX_COMPARED {
        return None;
    }
    let folded = fold(name);
    // A third of the letters, at least one and at most three, may differ.
    let reach = (folded.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &fold(candidate)), candidate))
        .filter(|&(distance, _)| distance <= reach)
        .min()
        .map(|(_, candidate)| candidate)
}

/// As [`nearest`], and else the only candidate that starts with the name or that the name starts with.
pub(super) fn nearest_field<'c>(
    name: &str,
    candidates: impl Iterator<Item = &'c str> + Clone,
) -> Option<&'c str> {
    nearest(name, candidates.clone()).or_else(|| {
        let folded = fold(name);
        if folded.len() < 3 {
            return None;
        }
        let mut related = candidates.filter(|candidate| {
            let candidate = fold(candidate);
            candidate.starts_with(&folded) || (candidate.len() >= 3 && folded.starts_with(&candidate))
        });
        let first = related.next()?;
        related.next().is_none().then_some(first)
    })
}

/// Case, dashes and underscores are what is confused most often: they do not count.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["uri", "headers", "withoutHeaders", "corsPolicy", "mirrorPercentage", "match"];
        for (wrong, right) in [
            ("urii", Some("uri")),
            ("header", Some("headers")),
            ("cors_policy", Some("corsPolicy")),
            ("CorsPolicy", Some("corsPolicy")),
            ("cors", Some("corsPolicy")),
            ("without-headers", Some("withoutHeaders")),
            ("macth", Some("match")),
            ("matches", Some("match")),
            ("nothing", None),
            ("x", None),
        ] {
            assert_eq!(nearest_field(wrong, names.into_iter()), right, "{wrong}");
        }
    }
}
