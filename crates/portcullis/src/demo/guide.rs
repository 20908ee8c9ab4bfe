//! What to try while the demo runs.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::configuration::GatewayPorts;
use super::postgres::USER;

/// Where the gateway's own pages are.
pub(crate) struct Own {
    /// Admin pages.
    pub(crate) admin: SocketAddr,
    /// Metrics.
    pub(crate) metrics: SocketAddr,
}

/// The guide.
pub(crate) fn text(ports: GatewayPorts, own: &Own, folder: &Path, postgres: bool) -> String {
    let GatewayPorts { http, https, postgres: db } = ports;
    let (ca, config) = (folder.join("ca.crt"), folder.join("config"));
    let (ca, config) = (ca.display(), config.display());
    let shop = format!("https://shop.localhost:{https}");
    let curl = format!("curl -s --cacert {ca}");
    let mut out = String::new();
    let mut try_it = |what: &str, command: String| {
        let _ = writeln!(out, "  # {what}\n  {command}\n");
    };
    try_it(
        "a canary: four of five requests go to v1",
        format!("for i in $(seq 10); do {curl} {shop}/ | head -1; done"),
    );
    try_it("v2 for those who ask for it", format!("{curl} -H 'x-version: v2' {shop}/"));
    try_it("a rewritten path: the backend sees /hello", format!("{curl} {shop}/api/hello"));
    try_it("plaintext is redirected to https", format!("curl -si http://shop.localhost:{http}/"));
    try_it(
        "a CORS preflight is answered here",
        format!(
            "{curl} -i -X OPTIONS -H 'origin: https://app.localhost' -H 'access-control-request-method: GET' {shop}/api/x"
        ),
    );
    try_it(
        "a WebSocket (101, then it echoes; Ctrl-C ends it)",
        format!(
            "{curl} -iN --http1.1 -H 'connection: upgrade' -H 'upgrade: websocket' -H 'sec-websocket-version: 13' \
             -H 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==' {shop}/"
        ),
    );
    try_it(
        "TLS passed through: the backend's own certificate",
        format!("{curl} https://vault.localhost:{https}/"),
    );
    if postgres {
        let connection = format!(
            "host=db.localhost hostaddr=127.0.0.1 port={db} user={USER} dbname=postgres sslmode=verify-full sslrootcert={ca}"
        );
        try_it("PostgreSQL by server name", format!("psql \"{connection}\" -c 'select version()'"));
    }
    try_it(
        "why a request goes where it goes",
        format!("curl -s 'http://{}/explain?url={shop}/api/hello'", own.admin),
    );
    try_it("metrics", format!("curl -s http://{}/stats/prometheus | grep istio_requests_total", own.metrics));
    let none = if postgres {
        ""
    } else {
        "No PostgreSQL server is installed (initdb, postgres): that part is left out.\n"
    };
    format!(
        "\nPortcullis demo. In another terminal, try:\n\n{out}{none}\
         Configuration: {config} (edit a file: it is live at once)\n\
         Admin pages:   http://{}/\n\
         Access log:    below. Ctrl-C ends everything and leaves nothing behind.\n",
        own.admin
    )
}
