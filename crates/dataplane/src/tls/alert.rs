//! Alerts: what the gateway says to a TLS client without having taken part in its handshake.
//!
//! Before any key is agreed on an alert travels in clear, in a record of its own (RFC 8446 §5.1, §6).

/// Why a handshake ends here (RFC 8446 §6, names and numbers of its `AlertDescription`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alert {
    /// The server behind the gateway offers no TLS.
    HandshakeFailure,
    /// The gateway cannot do its part: no certificate, no server.
    InternalError,
    /// No chain for the server name, or no server name where one is needed (RFC 6066 §3).
    UnrecognizedName,
    /// What the name stands for does not speak the client's protocol.
    NoApplicationProtocol,
    /// The number that the ClientHello's reader gave.
    Other(u8),
}

impl Alert {
    /// The record that carries it.
    pub(crate) fn record(self) -> [u8; 7] {
        [CONTENT_ALERT, 3, 3, 0, 2, LEVEL_FATAL, self.number()]
    }

    fn number(self) -> u8 {
        match self {
            Self::HandshakeFailure => 40,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
            Self::NoApplicationProtocol => 120,
            Self::Other(number) => number,
        }
    }
}

const CONTENT_ALERT: u8 = 21;
const LEVEL_FATAL: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_as_the_rfc_says() {
        assert_eq!(Alert::UnrecognizedName.record(), [0x15, 3, 3, 0, 2, 2, 0x70]);
        assert_eq!(Alert::Other(70).record()[6], 70);
    }
}
