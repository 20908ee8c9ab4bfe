//! Names that upstreams read as one: CGI and its heirs (WSGI, Rack, PHP) make `HTTP_X_USER` of `x-user`, `x_user` and,
//! some of them, `x.user`. A client that may send the one must not thereby speak for the other (CVE-2026-39858,
//! CVE-2026-88011).

/// Whether `name`, which is not `own` itself, may be taken for it.
pub(crate) fn is_alias(name: &[u8], own: &[u8]) -> bool {
    name.len() == own.len()
        && is_suspect(name)
        && name != own
        && name.iter().zip(own).all(|(one, other)| one == other || is_separator(*one) && is_separator(*other))
}

/// Whether a name has a letter that makes it an alias of another one at all: hardly any has.
pub(crate) fn is_suspect(name: &[u8]) -> bool {
    memchr::memchr2(b'_', b'.', name).is_some()
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_differ_in_separators_alone() {
        for (name, own, expected) in [
            ("x_user", "x-user", true),
            ("x.user", "x-user", true),
            ("x.user_id", "x-user-id", true),
            ("x-user_id", "x-user-id", true),
            ("x-user", "x-user", false),
            ("x-user", "x_user", false),
            ("xuser", "x-user", false),
            ("x_used", "x-user", false),
            ("x_user_", "x-user", false),
        ] {
            assert_eq!(is_alias(name.as_bytes(), own.as_bytes()), expected, "{name} {own}");
        }
    }
}
