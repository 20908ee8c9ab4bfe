//! Values with a spelling of their own, on the command line, in the environment and in the settings file.

use std::net::SocketAddr;
use std::str::FromStr;

use portcullis_compile::ProxyProtocolMode;
use portcullis_snapshot::cidr::Cidr;
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

/// What is done about PROXY protocol headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum ProxyMode {
    /// What the mesh configuration says.
    Mesh,
    /// This, whatever it says.
    Set(ProxyProtocolMode),
}

impl FromStr for ProxyMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "mesh" => Self::Mesh,
            "off" => Self::Set(ProxyProtocolMode::Off),
            "strict" => Self::Set(ProxyProtocolMode::Strict),
            "tolerant" => Self::Set(ProxyProtocolMode::Tolerant),
            _ => return Err(format!("`{text}` is none of mesh, off, strict and tolerant")),
        })
    }
}

impl TryFrom<String> for ProxyMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What is done about PROXY protocol headers, on every port or on one: `strict`, `443:tolerant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProxyPort {
    pub(crate) declared: Option<u16>,
    pub(crate) mode: ProxyMode,
}

impl FromStr for ProxyPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((port, mode)) = text.split_once(':') else {
            return Ok(Self { declared: None, mode: text.trim().parse()? });
        };
        let declared = port.trim().parse().map_err(|_| format!("`{port}` is not a port"))?;
        Ok(Self { declared: Some(declared), mode: mode.trim().parse()? })
    }
}

/// A range of addresses, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Range(pub(crate) Cidr);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim().parse().map(Self).map_err(|error| format!("`{text}` is {error}"))
    }
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
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
        let tolerant = ProxyMode::Set(ProxyProtocolMode::Tolerant);
        assert_eq!("443:tolerant".parse(), Ok(ProxyPort { declared: Some(443), mode: tolerant }));
        assert_eq!("mesh".parse(), Ok(ProxyPort { declared: None, mode: ProxyMode::Mesh }));
        assert_eq!("[::1]:9".parse(), Ok(Listen(Some(([0, 0, 0, 0, 0, 0, 0, 1], 9).into()))));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["80", "80:", "x:1", "80:70000"] {
            assert!(text.parse::<MappedPort>().is_err(), "{text}");
        }
        for text in ["", "on", "443", "443:", "x:off"] {
            assert!(text.parse::<ProxyPort>().is_err(), "{text}");
        }
        assert!("10.0.0.0/33".parse::<Range>().is_err());
        assert!("=x".parse::<Label>().is_err());
        assert!("localhost".parse::<Listen>().is_err());
    }
}
