//! Sessions of PostgreSQL: what a gateway asks of a server, and says to a client it cannot serve.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::messages::{ErrorResponse, MAX_TEXT_LEN, SSL_REQUEST, SqlState, SslAnswer, ssl_answer};

/// Asks a server for TLS and reads its answer; the next byte to send is the ClientHello's first.
///
/// Takes as long as the server does: the caller bounds the time. Dropping the future leaves a
/// connection that is good for nothing.
///
/// # Errors
/// Why TLS cannot begin, for the log.
pub(crate) async fn ask_for_tls(server: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), Refusal> {
    let broken = |error: std::io::Error| Refusal::Broken(error.to_string());
    server.write_all(&SSL_REQUEST).await.map_err(broken)?;
    server.flush().await.map_err(broken)?;
    let mut answer = [0; MAX_ANSWER];
    let length = server.read(&mut answer).await.map_err(broken)?;
    match ssl_answer(&answer[..length]) {
        SslAnswer::Accepted => Ok(()),
        SslAnswer::NeedMore => Err(Refusal::Silent),
        SslAnswer::Refused => Err(Refusal::NoTls),
        SslAnswer::Stuffed => Err(Refusal::Stuffed),
        SslAnswer::Error(text) => Err(Refusal::Error(text)),
        SslAnswer::NotPostgres(byte) => Err(Refusal::NotPostgres(byte)),
    }
}

/// Why a server will not speak TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It answered `N`.
    #[error("the PostgreSQL server does not offer TLS")]
    NoTls,
    /// It closed the connection instead of answering.
    #[error("the PostgreSQL server closed the connection when asked for TLS")]
    Silent,
    /// The connection broke.
    #[error("the connection broke when the PostgreSQL server was asked for TLS: {0}")]
    Broken(String),
    /// It answered with an error.
    #[error("the PostgreSQL server answered with an error when asked for TLS: {0}")]
    Error(Box<str>),
    /// More than one byte came (CVE-2021-23222).
    #[error("the PostgreSQL server sent bytes behind its answer")]
    Stuffed,
    /// Another protocol.
    #[error("the server does not speak PostgreSQL: it answered with the byte {0:#04x}")]
    NotPostgres(u8),
}

/// To a client that begins a session in clear where the server name in TLS decides.
pub(crate) const TLS_NEEDED: ErrorResponse<'_> = ErrorResponse {
    code: SqlState::ProtocolViolation,
    message: "this port accepts PostgreSQL sessions only with TLS",
    detail: Some(
        "The database server is chosen by the host name in the TLS handshake (SNI), which a session in clear does not have.",
    ),
    hint: Some(
        "Connect with sslmode=require (or verify-full) to a host name, not to an IP address; libpq sends the name since version 14.",
    ),
};

/// To a PostgreSQL client on a port that serves something else.
pub(crate) const NOT_SERVED: ErrorResponse<'_> = ErrorResponse {
    code: SqlState::ProtocolViolation,
    message: "this port does not serve PostgreSQL",
    detail: Some("No server of this port takes TLS connections on to a TCP service."),
    hint: Some("Check the port number."),
};

/// To a client whose TLS ends here, when no server can be reached.
pub(crate) const NO_SERVER: ErrorResponse<'_> = ErrorResponse {
    code: SqlState::UnableToConnect,
    message: "the gateway could not connect to the database server",
    detail: None,
    hint: Some("The gateway's access log names the reason."),
};

/// The longest answer that is looked at: an ErrorResponse's text and what stands around it.
const MAX_ANSWER: usize = MAX_TEXT_LEN + 64;

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &'static [u8]) -> Result<(), Refusal> {
        let (mut near, mut far) = tokio::io::duplex(64);
        let server = async move {
            let mut request = [0; 8];
            far.read_exact(&mut request).await.unwrap();
            assert_eq!(request, SSL_REQUEST);
            far.write_all(answer).await.unwrap();
        };
        tokio::join!(ask_for_tls(&mut near), server).0
    }

    #[tokio::test]
    async fn only_a_lone_s_lets_tls_begin() {
        for (answer, expected) in [
            (&b"S"[..], Ok(())),
            (b"N", Err(Refusal::NoTls)),
            (b"", Err(Refusal::Silent)),
            (b"S\x16", Err(Refusal::Stuffed)),
            (b"HTTP/1.1 400", Err(Refusal::NotPostgres(b'H'))),
            (b"Eno\0", Err(Refusal::Error("no".into()))),
        ] {
            assert_eq!(answered(answer).await, expected, "{}", answer.escape_ascii());
        }
    }

    #[test]
    fn what_clients_are_told() {
        let text = String::from_utf8_lossy(&TLS_NEEDED.encode()).into_owned();
        assert!(
            text.contains("C08P01\0") && text.contains("sslmode=require") && text.contains("SNI"),
            "{text}"
        );
    }
}
