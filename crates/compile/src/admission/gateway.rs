//! Gateways (`ValidateGateway`).

use std::collections::BTreeSet;

use portcullis_api::Gateway;
use portcullis_api::networking::{
    Server, ServerPort, ServerTlsMode, ServerTlsSettings, TlsCertificate, TlsVersion,
};

use super::{Review, fault, is_http, is_tls, names, port, protocol};

/// Ciphers Envoy knows, in OpenSSL's spelling (`security.ValidCipherSuites`).
const CIPHERS: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// Marks a Gateway that Istio made of one of the Gateway API.
const SEMANTICS: &str = "internal.istio.io/gateway-semantics";

pub(super) fn review(gateway: &Gateway, review: &mut Review<'_, '_>) {
    let converted = gateway.meta.annotations.get(SEMANTICS).is_some_and(|value| value == "gateway");
    if !converted && !names::is_label(&gateway.meta.name) {
        review.refuse(
            "metadata.name",
            "the name of a Gateway has no dots and at most 63 letters",
            "rename it",
        );
    }
    let servers = &gateway.spec.servers;
    if servers.is_empty() {
        review.refuse("spec.servers", "a Gateway without servers opens no port", "add a server");
    }
    let mut port_names = BTreeSet::new();
    for (index, server) in servers.iter().enumerate() {
        let mut review = review.at(format_args!("spec.servers[{index}]"));
        of_server(server, converted, &mut review);
        if !port_names.insert(&server.port.name) {
            let message = format!("{:?} names an earlier port of the same Gateway", server.port.name);
            review.refuse("port.name", message, "give each port a name of its own");
        }
        let redirects = server.tls.as_ref().is_some_and(|tls| tls.https_redirect == Some(true));
        if redirects && !is_http(protocol(&server.port.protocol)) {
            let message = "does nothing for TLS connections";
            review.warn("tls.httpsRedirect", message, "set it on the plaintext server of the same hosts");
        }
    }
}

/// `validateServer`.
fn of_server(server: &Server, converted: bool, review: &mut Review<'_, '_>) {
    if server.hosts.is_empty() {
        review.refuse("hosts", "is empty", "add a host, or * for every host");
    }
    for (at, host) in server.hosts.iter().enumerate() {
        of_host(host, converted, &mut review.at(format_args!("hosts[{at}]")));
    }
    let bind = server.bind.as_deref().unwrap_or_default();
    let port_is_fine = of_port(&server.port, bind, review);
    match bind.strip_prefix("unix://") {
        Some(path) => {
            review.judge("bind", names::socket(path));
            if server.port.number != 0 {
                review.refuse("port.number", "must be 0 for a unix socket", "set it to 0");
            }
        }
        None if !bind.is_empty() && !names::is_ip(bind) => {
            review.refuse("bind", format!("{bind:?} is no IP address"), "write an IP address");
        }
        None => {}
    }
    if let Some(tls) = &server.tls {
        of_tls(tls, &mut review.at("tls"));
    }
    if port_is_fine {
        tls_for_port(server, review);
    }
}

/// Whether TLS settings and protocol fit.
fn tls_for_port(server: &Server, review: &mut Review<'_, '_>) {
    let protocol = protocol(&server.port.protocol);
    match &server.tls {
        None if is_tls(protocol) => {
            review.refuse("tls", "is missing: the protocol is TLS", "say what to do with TLS");
        }
        Some(tls) if is_http(protocol) => {
            let files = [&tls.ca_certificates, &tls.private_key, &tls.server_certificate];
            if !is_passthrough(tls) || files.into_iter().any(is_set) {
                review.refuse("tls", "does not fit plain HTTP", "remove it, or set the protocol to HTTPS");
            }
        }
        Some(_) if !is_tls(protocol) => {
            review.refuse("tls", "does not fit this protocol", "remove it, or set the protocol to TLS");
        }
        _ => {}
    }
}

/// `ValidateNamespaceSlashWildcardHostname`.
fn of_host(host: &str, converted: bool, review: &mut Review<'_, '_>) {
    let Some((namespace, name)) = host.split_once('/') else { return of_name(host, review) };
    if namespace.is_empty() || name.is_empty() {
        review.refuse("", "has nothing before or behind the slash", "write namespace/host");
    }
    let any = matches!(namespace, "*" | ".") || (namespace == "~" && converted);
    if !any && !names::is_label(namespace) {
        review.refuse(
            "",
            format!("{namespace:?} is no namespace"),
            "write *, . or a namespace before the slash",
        );
    }
    of_name(name, review);
}

/// `validateSidecarOrGatewayHostnamePart`.
fn of_name(host: &str, review: &mut Review<'_, '_>) {
    if host != "*" && !host.contains('.') {
        review.refuse("", format!("{host:?} is a short name"), "write the whole host name");
    }
    if !names::is_ip(host) {
        review.judge("", names::wildcard_host(host));
    }
    review.judge("", names::partial_wildcard(host));
}

/// `validateServerPort`; whether nothing is wrong with it.
fn of_port(server: &ServerPort, bind: &str, review: &mut Review<'_, '_>) -> bool {
    let known = match protocol(&server.protocol) {
        Some(_) => Ok(()),
        None => fault(
            format!("{:?} is no protocol", server.protocol),
            "use HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, REDIS, MYSQL, TCP or TLS",
        ),
    };
    let number = if server.number > 0 || !bind.starts_with("unix://") { port(server.number) } else { Ok(()) };
    let target = match server.target_port {
        None | Some(0) => Ok(()),
        Some(_) => fault("has no meaning here", "remove it"),
    };
    let name = if server.name.is_empty() { fault("is missing", "give the port a name") } else { Ok(()) };
    let mut fine = true;
    for (field, verdict) in
        [("port.protocol", known), ("port.number", number), ("port.targetPort", target), ("port.name", name)]
    {
        fine &= verdict.is_ok();
        review.judge(field, verdict);
    }
    fine
}

fn is_set(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

fn is_passthrough(tls: &ServerTlsSettings) -> bool {
    matches!(tls.mode, None | Some(ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough))
}

/// `validateTLSOptions`.
fn of_tls(tls: &ServerTlsSettings, review: &mut Review<'_, '_>) {
    if matches!(tls.min_protocol_version, Some(TlsVersion::V1_0 | TlsVersion::V1_1))
        && tls.cipher_suites.is_empty()
    {
        let message = "no cipher offered by default goes with a version below TLS 1.2";
        review.warn("minProtocolVersion", message, "name cipherSuites that do");
    }
    of_ciphers(&tls.cipher_suites, review);
    let credentials = [
        ("serverCertificate", is_set(&tls.server_certificate)),
        ("privateKey", is_set(&tls.private_key)),
        ("caCertificates", is_set(&tls.ca_certificates)),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("credentialName", is_set(&tls.credential_name)),
        ("credentialNames", !tls.credential_names.is_empty()),
    ];
    if tls.mode == Some(ServerTlsMode::IstioMutual) {
        for (field, _) in credentials.into_iter().filter(|(_, set)| *set) {
            review.refuse(
                field,
                "does not go with ISTIO_MUTUAL: the mesh has its own certificates",
                "remove it",
            );
        }
        return;
    }
    if is_passthrough(tls) && (is_set(&tls.ca_crl) || credentials.iter().any(|(_, set)| *set)) {
        let message = "the connection is passed through, so its certificates are not used";
        review.warn("mode", message, "set mode to SIMPLE or MUTUAL to terminate TLS");
    }
    let sources = [
        is_set(&tls.server_certificate) && is_set(&tls.private_key),
        is_set(&tls.credential_name),
        !tls.credential_names.is_empty(),
        !tls.tls_certificates.is_empty(),
    ];
    if sources.into_iter().filter(|set| *set).count() > 1 {
        let message =
            "credentialName, credentialNames, tlsCertificates and a pair of files exclude each other";
        review.refuse("", message, "keep one of them");
    }
    let terminates = matches!(
        tls.mode,
        Some(ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual)
    );
    if terminates && (is_set(&tls.credential_name) || !tls.credential_names.is_empty()) {
        return;
    }
    if terminates {
        of_files(tls, review);
    }
    if is_set(&tls.ca_crl) {
        if is_set(&tls.credential_name) {
            review.refuse("caCrl", "does not go with credentialName", "put the list into the Secret");
        }
        if tls.mode == Some(ServerTlsMode::Simple) {
            review.refuse("caCrl", "is for client certificates, which SIMPLE does not ask for", "remove it");
        }
    }
}

/// Certificates out of files, for a mode that needs them.
fn of_files(tls: &ServerTlsSettings, review: &mut Review<'_, '_>) {
    if tls.mode != Some(ServerTlsMode::Simple) && !is_set(&tls.ca_certificates) {
        review.refuse(
            "caCertificates",
            "is missing: client certificates are verified",
            "name a file or a credential",
        );
    }
    if tls.tls_certificates.len() > 2 {
        review.warn("tlsCertificates", "two certificates are used at most", "remove the others");
    }
    let pair = TlsCertificate {
        server_certificate: tls.server_certificate.clone(),
        private_key: tls.private_key.clone(),
        ca_certificates: None,
    };
    let pairs = tls.tls_certificates.iter().enumerate();
    let pairs = pairs.map(|(at, pair)| (format!("tlsCertificates[{at}]."), pair));
    let alone = tls.tls_certificates.is_empty().then(|| (String::new(), &pair));
    for (path, pair) in pairs.chain(alone) {
        for (field, present) in [
            ("serverCertificate", is_set(&pair.server_certificate)),
            ("privateKey", is_set(&pair.private_key)),
        ] {
            if !present {
                review.refuse(
                    format_args!("{path}{field}"),
                    "is missing",
                    "name a file, or set credentialName",
                );
            }
        }
    }
}

/// Unknown and repeated ciphers are left out (`security.IsValidCipherSuite`).
fn of_ciphers(suites: &[String], review: &mut Review<'_, '_>) {
    let mut seen = BTreeSet::new();
    for (at, suite) in suites.iter().enumerate() {
        // What begins with a sign is OpenSSL's language of additions and removals.
        let free =
            suite.is_empty() || suite == "ALL" || !suite.starts_with(|first: char| first.is_alphanumeric());
        if !free && !CIPHERS.contains(&suite.as_str()) {
            review.warn(
                format_args!("cipherSuites[{at}]"),
                format!("{suite} is no cipher Istio knows"),
                "remove it",
            );
        } else if !seen.insert(suite) {
            review.warn(
                format_args!("cipherSuites[{at}]"),
                format!("{suite} stands here twice"),
                "remove it",
            );
        }
    }
}
