//! Bounds on clients' connections (`defaultConfig.connectionSettings`; Istio: `connection_settings.go`).

use std::borrow::Cow;
use std::time::Duration;

use portcullis_api::mesh::{ConnectionProfile, ConnectionSettings, EscapedSlashesAction, UnderscoresAction};
use portcullis_api::wire;
use portcullis_snapshot::settings::{ConnectionLimits, EscapedSlashes, PathNormalization, Underscores};

/// What the profile EDGE stands for at a gateway.
mod edge {
    pub(super) const BUFFER: i32 = 32 * 1024;
    pub(super) const IDLE: &str = "1h";
    pub(super) const STREAM_IDLE: &str = "5m";
    pub(super) const REQUEST: &str = "5m";
    pub(super) const HEAD: &str = "60s";
    pub(super) const STREAMS: i32 = 100;
    pub(super) const STREAM_WINDOW: i32 = 64 * 1024;
    pub(super) const CONNECTION_WINDOW: i32 = 1024 * 1024;
}

/// Smallest receive window Envoy takes; also the protocol's own first one (RFC 9113 §6.9.2).
const LEAST_WINDOW: u32 = 65_535;

/// What is done to paths.
pub(super) struct Paths {
    pub(super) level: PathNormalization,
    pub(super) escaped_slashes: EscapedSlashes,
    pub(super) merge_slashes_alone: bool,
}

/// The settings, filled up by their profile.
pub(super) fn effective(written: &ConnectionSettings) -> Cow<'_, ConnectionSettings> {
    if written.profile != Some(ConnectionProfile::Edge) {
        return Cow::Borrowed(written);
    }
    let mut own = written.clone();
    own.listener_per_connection_buffer_limit_bytes.get_or_insert(edge::BUFFER);
    own.http_max_concurrent_streams.get_or_insert(edge::STREAMS);
    own.http2_initial_stream_window_size.get_or_insert(edge::STREAM_WINDOW);
    own.http2_initial_connection_window_size.get_or_insert(edge::CONNECTION_WINDOW);
    own.http_merge_slashes.get_or_insert(true);
    for (time, default) in [
        (&mut own.http_idle_timeout, edge::IDLE),
        (&mut own.http_stream_idle_timeout, edge::STREAM_IDLE),
        (&mut own.http_request_timeout, edge::REQUEST),
        (&mut own.http_request_headers_timeout, edge::HEAD),
    ] {
        if time.is_none() {
            *time = wire::Duration::parse(default);
        }
    }
    let unsaid = |action: Option<UnderscoresAction>| {
        action.is_none_or(|action| action == UnderscoresAction::Unspecified)
    };
    if unsaid(own.http_headers_with_underscores_action) {
        own.http_headers_with_underscores_action = Some(UnderscoresAction::RejectRequest);
    }
    if own
        .http_path_with_escaped_slashes_action
        .is_none_or(|action| action == EscapedSlashesAction::Unspecified)
    {
        own.http_path_with_escaped_slashes_action = Some(EscapedSlashesAction::UnescapeAndRedirect);
    }
    Cow::Owned(own)
}

/// The bounds that `own` sets. Zero lifts one, where there is one to lift.
pub(super) fn limits(own: &ConnectionSettings) -> ConnectionLimits {
    let time = |written: &Option<wire::Duration>| written.as_ref().and_then(wire::Duration::to_std);
    let bound = |written: &Option<wire::Duration>| time(written).filter(|time| *time > Duration::ZERO);
    let count = |written: Option<i32>| written.and_then(|count| u32::try_from(count).ok());
    let positive = |written: Option<i32>| count(written).filter(|count| *count > 0);
    ConnectionLimits {
        idle: time(&own.http_idle_timeout),
        life: bound(&own.http_max_connection_duration),
        drain: time(&own.http_drain_timeout),
        head: bound(&own.http_request_headers_timeout),
        request: bound(&own.http_request_timeout),
        stream_idle: bound(&own.http_stream_idle_timeout),
        stream_life: bound(&own.http_max_stream_duration),
        streams: positive(own.http_max_concurrent_streams),
        stream_window: count(own.http2_initial_stream_window_size).map(|size| size.max(LEAST_WINDOW)),
        connection_window: count(own.http2_initial_connection_window_size).map(|size| size.max(LEAST_WINDOW)),
        buffer: positive(own.listener_per_connection_buffer_limit_bytes),
        connections: positive(own.global_downstream_connection_limit),
        underscores: match own.http_headers_with_underscores_action {
            Some(UnderscoresAction::RejectRequest) => Underscores::Reject,
            Some(UnderscoresAction::DropHeader) => Underscores::Drop,
            _ => Underscores::Allow,
        },
    }
}

/// What is done to paths: what `own` says of slashes wins over the mesh's level.
pub(super) fn paths(level: PathNormalization, own: Option<&ConnectionSettings>) -> Paths {
    let merges = own.and_then(|own| own.http_merge_slashes);
    let merges = merges.unwrap_or(level >= PathNormalization::MergeSlashes);
    let escaped = match own.and_then(|own| own.http_path_with_escaped_slashes_action) {
        None | Some(EscapedSlashesAction::Unspecified) => {
            let decodes = level == PathNormalization::DecodeAndMergeSlashes;
            if decodes { EscapedSlashes::Decode } else { EscapedSlashes::Keep }
        }
        Some(EscapedSlashesAction::KeepUnchanged) => EscapedSlashes::Keep,
        Some(EscapedSlashesAction::RejectRequest) => EscapedSlashes::Reject,
        Some(EscapedSlashesAction::UnescapeAndRedirect) => EscapedSlashes::Redirect,
        Some(EscapedSlashesAction::UnescapeAndForward) => EscapedSlashes::Decode,
    };
    let level = match (level, merges) {
        (PathNormalization::None, _) => PathNormalization::None,
        (_, false) => PathNormalization::Base,
        (_, true) if escaped == EscapedSlashes::Decode => PathNormalization::DecodeAndMergeSlashes,
        (_, true) => PathNormalization::MergeSlashes,
    };
    // The highest level decodes by itself.
    let decodes = level == PathNormalization::DecodeAndMergeSlashes;
    Paths {
        level,
        escaped_slashes: if decodes { EscapedSlashes::Keep } else { escaped },
        merge_slashes_alone: level == PathNormalization::None && merges,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_profile_fills_in_what_is_not_written() {
        let written = ConnectionSettings {
            profile: Some(ConnectionProfile::Edge),
            http_max_concurrent_streams: Some(7),
            http_request_timeout: wire::Duration::parse("0s"),
            ..ConnectionSettings::default()
        };
        let own = effective(&written);
        let expected = ConnectionLimits {
            idle: Some(Duration::from_secs(3600)),
            head: Some(Duration::from_secs(60)),
            request: None,
            stream_idle: Some(Duration::from_secs(300)),
            streams: Some(7),
            stream_window: Some(65_536),
            connection_window: Some(1_048_576),
            buffer: Some(32_768),
            underscores: Underscores::Reject,
            ..ConnectionLimits::default()
        };
        assert_eq!(limits(&own), expected);
        let paths = paths(PathNormalization::Base, Some(&own));
        assert_eq!(
            (paths.level, paths.escaped_slashes),
            (PathNormalization::MergeSlashes, EscapedSlashes::Redirect)
        );
        let sidecar = ConnectionSettings { profile: Some(ConnectionProfile::Sidecar), ..written };
        assert_eq!(limits(&effective(&sidecar)).underscores, Underscores::Allow);
    }

    #[test]
    fn slashes_by_level_and_settings() {
        use EscapedSlashesAction as Action;
        use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None as Untouched};
        for (level, merge, action, expected) in [
            (Base, None, None, (Base, EscapedSlashes::Keep, false)),
            (MergeSlashes, Some(false), None, (Base, EscapedSlashes::Keep, false)),
            (DecodeAndMergeSlashes, None, None, (DecodeAndMergeSlashes, EscapedSlashes::Keep, false)),
            (DecodeAndMergeSlashes, Some(false), None, (Base, EscapedSlashes::Decode, false)),
            (
                DecodeAndMergeSlashes,
                None,
                Some(Action::KeepUnchanged),
                (MergeSlashes, EscapedSlashes::Keep, false),
            ),
            (Base, None, Some(Action::RejectRequest), (Base, EscapedSlashes::Reject, false)),
            (
                Base,
                Some(true),
                Some(Action::UnescapeAndForward),
                (DecodeAndMergeSlashes, EscapedSlashes::Keep, false),
            ),
            (Untouched, Some(true), None, (Untouched, EscapedSlashes::Keep, true)),
        ] {
            let own = ConnectionSettings {
                http_merge_slashes: merge,
                http_path_with_escaped_slashes_action: action,
                ..ConnectionSettings::default()
            };
            let found = paths(level, Some(&own));
            let found = (found.level, found.escaped_slashes, found.merge_slashes_alone);
            assert_eq!(found, expected, "{level:?} {merge:?} {action:?}");
        }
    }
}
