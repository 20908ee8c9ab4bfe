//! Just enough of semantic versions to compare two.

use std::fmt;

/// Major, minor, patch; a pre-release or build part is left aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version([u64; 3]);

impl Version {
    /// `None` when a part is missing or not a number.
    pub(super) fn parse(text: &str) -> Option<Version> {
        let core = text.split(['-', '+']).next()?;
        let mut parts = core.split('.');
        let mut next = || parts.next()?.parse().ok();
        Some(Version([next()?, next()?, next()?]))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version([major, minor, patch]) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(Version::parse("0.4.9") < Version::parse("0.4.16"));
        assert!(Version::parse("1.0.0-rc.1") == Version::parse("1.0.0+b"));
        assert_eq!(Version::parse("1.0"), None);
    }
}
