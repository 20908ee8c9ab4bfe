//! One call of gRPC, looked at closely: h2load counts statuses and sees no trailers.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsConnector;

use super::tls;
use crate::site::{HOST, Site};
use crate::subject::{Port, Subject};

/// A message without a byte.
const EMPTY: &[u8] = &[0; 5];

/// Makes a call, and sees that it comes back with `grpc-status: 0` behind its answer.
pub(super) fn look(site: &Site, subject: &Subject) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("a runtime")?;
    runtime.block_on(call(site, subject))
}

async fn call(site: &Site, subject: &Subject) -> Result<()> {
    let stream = TcpStream::connect(subject.address(Port::Tls)).await.context("connecting")?;
    let config = tls::config(&site.authority, false, "h2")?;
    let stream = TlsConnector::from(config).connect(ServerName::try_from(HOST)?, stream).await?;
    let (mut client, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("https://{HOST}/bench.Echo/Unary"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut body) = client.send_request(request, false)?;
    body.send_data(Bytes::from_static(EMPTY), true)?;
    let mut answer = response.await?.into_body();
    while let Some(piece) = answer.data().await {
        answer.flow_control().release_capacity(piece?.len())?;
    }
    let trailers = answer.trailers().await?.context("no trailers")?;
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "trailers: {trailers:?}");
    drop(client);
    driver.abort();
    Ok(())
}
