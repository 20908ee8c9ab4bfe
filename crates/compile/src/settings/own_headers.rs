//! Which headers the gateway adds (`defaultConfig.proxyHeaders`; Istio: `GetProxyHeadersFromProxyConfig`).

use portcullis_api::mesh::{ProxyHeaders, Switch, Toggle};
use portcullis_snapshot::settings::OwnHeaders;

/// The headers that `written` leaves on.
pub(super) fn own_headers(written: &ProxyHeaders) -> OwnHeaders {
    let defaults = OwnHeaders::default();
    let is_on = |switch: Option<&Switch>| switch.is_none_or(|switch| switch.disabled != Some(true));
    let is_enabled = |toggle: Option<&Toggle>| toggle.is_some_and(|toggle| toggle.enabled == Some(true));
    let server = match &written.server {
        Some(server) if server.disabled == Some(true) => None,
        Some(server) => {
            let own = server.value.as_deref().filter(|value| !value.is_empty());
            own.map(|name| name.to_owned().into()).or(defaults.server)
        }
        None => defaults.server,
    };
    OwnHeaders {
        request_id: is_on(written.request_id.as_ref()),
        attempt_count: is_on(written.attempt_count.as_ref()),
        debug: is_on(written.envoy_debug_headers.as_ref()),
        server,
        forwarded_host: is_enabled(written.x_forwarded_host.as_ref()),
        forwarded_port: is_enabled(written.x_forwarded_port.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_api::mesh::ServerHeader;

    use super::*;

    #[test]
    fn nothing_written_is_the_default() {
        assert_eq!(own_headers(&ProxyHeaders::default()), OwnHeaders::default());
    }

    #[test]
    fn what_is_off_and_what_is_on() {
        let off = || Some(Switch { disabled: Some(true) });
        let on = || Some(Toggle { enabled: Some(true) });
        let found = own_headers(&ProxyHeaders {
            request_id: off(),
            attempt_count: Some(Switch { disabled: Some(false) }),
            envoy_debug_headers: off(),
            server: Some(ServerHeader { disabled: None, value: Some("edge".to_owned()) }),
            x_forwarded_host: on(),
            x_forwarded_port: on(),
            ..ProxyHeaders::default()
        });
        let expected = OwnHeaders {
            request_id: false,
            attempt_count: true,
            debug: false,
            server: Some("edge".into()),
            forwarded_host: true,
            forwarded_port: true,
        };
        assert_eq!(found, expected);
        let server = Some(ServerHeader { disabled: Some(true), value: Some("edge".to_owned()) });
        assert_eq!(own_headers(&ProxyHeaders { server, ..ProxyHeaders::default() }).server, None);
    }
}
