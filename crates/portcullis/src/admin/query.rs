//! Query strings of the admin pages.

use percent_encoding::percent_decode_str;

/// The pairs of a query string, decoded; `+` is a space.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    })
}

/// The first value called `name`.
pub(super) fn value(query: &str, name: &str) -> Option<String> {
    pairs(query).find_map(|(key, value)| (key == name).then_some(value))
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let query = "url=https%3A%2F%2Fa.com%2F%3Fx%3D1&header=a:+b&header=c%3Ad&&flag";
        let headers: Vec<_> =
            pairs(query).filter(|(key, _)| key == "header").map(|(_, value)| value).collect();
        assert_eq!(headers, ["a: b", "c:d"]);
        assert_eq!(value(query, "url").as_deref(), Some("https://a.com/?x=1"));
        assert_eq!(value(query, "flag").as_deref(), Some(""));
        assert_eq!(value(query, "none"), None);
    }
}
