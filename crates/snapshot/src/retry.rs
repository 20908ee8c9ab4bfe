//! Retry policy of a route.

use std::time::Duration;

/// When and how often a request is tried again (Istio's `http[].retries`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries after the first one; 0 = none.
    pub attempts: u32,
    /// Conditions.
    pub on: RetryOn,
    /// Response codes retried under `retriable-status-codes`.
    pub statuses: Vec<u16>,
    /// Bound of one try; `None` = only the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Base of the back-off: the n-th wait is uniform in [0, base × 2^(n−1)), at most 10 × base.
    pub backoff: Duration,
    /// Whether endpoints already tried are avoided.
    pub avoid_previous_hosts: bool,
    /// Whether, after every second attempt, localities are left whose endpoints have been tried
    /// (`retryRemoteLocalities`).
    pub other_priorities: bool,
}

impl RetryPolicy {
    /// How often another endpoint is drawn before a tried one is accepted (Istio: 5).
    pub const HOST_RESELECTIONS: u32 = 5;
    /// Envoy's default base interval.
    pub const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

    /// No retry at all.
    #[must_use]
    pub fn none() -> Self {
        Self {
            attempts: 0,
            on: RetryOn::default(),
            statuses: Vec::new(),
            per_try_timeout: None,
            backoff: Self::DEFAULT_BACKOFF,
            avoid_previous_hosts: false,
            other_priorities: false,
        }
    }

    /// Istio's policy where neither route nor mesh sets one.
    #[must_use]
    pub fn istio_default() -> Self {
        let on = RetryOn {
            connect_failure: true,
            refused_stream: true,
            grpc_unavailable: true,
            grpc_cancelled: true,
            retriable_status_codes: true,
            ..RetryOn::default()
        };
        Self { attempts: 2, on, avoid_previous_hosts: true, ..Self::none() }
    }
}

macro_rules! retry_conditions {
    ($($(#[doc = $doc:literal])* $field:ident = $text:literal,)*) => {
        /// The conditions of `retryOn`.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct RetryOn {
            $($(#[doc = $doc])* pub $field: bool,)*
        }

        impl RetryOn {
            /// Switches on the condition called `name`; false when there is none of that name.
            pub fn enable(&mut self, name: &str) -> bool {
                match name {
                    $($text => self.$field = true,)*
                    _ => return false,
                }
                true
            }

            /// Names of the conditions that are on.
            #[must_use]
            pub fn names(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$field { names.push($text); })*
                names
            }
        }
    };
}

retry_conditions! {
    /// Any 5xx answer, reset or connect failure.
    server_error = "5xx",
    /// 502, 503, 504, reset or connect failure.
    gateway_error = "gateway-error",
    /// The upstream ended the exchange without an answer.
    reset = "reset",
    /// As `reset`, if the request had not been sent yet.
    reset_before_request = "reset-before-request",
    /// No connection within the connect timeout.
    connect_failure = "connect-failure",
    /// 409.
    retriable_4xx = "retriable-4xx",
    /// HTTP/2 REFUSED_STREAM.
    refused_stream = "refused-stream",
    /// A status of the policy's list.
    retriable_status_codes = "retriable-status-codes",
    /// A header of the policy's list; Istio gives no way to fill that list.
    retriable_headers = "retriable-headers",
    /// The header `x-envoy-ratelimited` in the answer.
    envoy_ratelimited = "envoy-ratelimited",
    /// Only with HTTP/3 upstreams.
    http3_post_connect_failure = "http3-post-connect-failure",
    /// grpc-status 1 in the answer's headers.
    grpc_cancelled = "cancelled",
    /// grpc-status 4 in the answer's headers.
    grpc_deadline_exceeded = "deadline-exceeded",
    /// grpc-status 13 in the answer's headers.
    grpc_internal = "internal",
    /// grpc-status 8 in the answer's headers.
    grpc_resource_exhausted = "resource-exhausted",
    /// grpc-status 14 in the answer's headers.
    grpc_unavailable = "unavailable",
}
