//! Values with a spelling of their own, on the command line, in the environment and in the settings file.

use std::net::SocketAddr;
use std::str::FromStr;

use serde::Deserialize;

/// A label, `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.into(), value: value.into() }),
            _ => Err(format!("`{text}` is not `key=value`")),
        }
    }
}

/// A port and the one bound in its place, `80:18080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MappedPort {
    pub(crate) declared: u16,
    pub(crate) bound: u16,
}

impl FromStr for MappedPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.trim().parse().map_err(|_| format!("`{text}` is not a port"));
        let (declared, bound) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` is not `declared:bound`, such as 80:18080"))?;
        Ok(Self { declared: port(declared)?, bound: port(bound)? })
    }
}

/// An address to listen on, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Listen(pub(crate) Option<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse();
        address.map(|address| Self(Some(address))).map_err(|_| {
            format!("`{text}` is neither an address with port, such as 127.0.0.1:15000, nor `off`")
        })
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        assert_eq!("80:18080".parse(), Ok(MappedPort { declared: 80, bound: 18080 }));
        assert_eq!("a=b=c".parse(), Ok(Label { key: "a".into(), value: "b=c".into() }));
        assert_eq!("off".parse(), Ok(Listen(None)));
        assert_eq!("[::1]:9".parse(), Ok(Listen(Some(([0, 0, 0, 0, 0, 0, 0, 1], 9).into()))));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["80", "80:", "x:1", "80:70000"] {
            assert!(text.parse::<MappedPort>().is_err(), "{text}");
        }
        assert!("=x".parse::<Label>().is_err());
        assert!("localhost".parse::<Listen>().is_err());
    }
}
