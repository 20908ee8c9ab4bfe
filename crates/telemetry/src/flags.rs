//! Response flags: in a few letters, why a request ended as it did.
//!
//! The set and its names are those of Envoy's access log (`RESPONSE_FLAGS`,
//! `RESPONSE_FLAGS_LONG`), which dashboards and alerts of Istio users match on.

use std::fmt;

macro_rules! flags {
    ($($(#[doc = $doc:literal])* $name:ident = $short:literal,)*) => {
        /// One reason. [`short`](Self::short) is what logs and metrics show.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Flag {
            $($(#[doc = $doc])* $name,)*
        }

        impl Flag {
            /// Every flag, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// `UF`, `NR`, …
            #[must_use]
            pub const fn short(self) -> &'static str {
                match self {
                    $(Self::$name => $short,)*
                }
            }

            /// `UpstreamConnectionFailure`, `NoRouteFound`, …
            #[must_use]
            pub const fn long(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

flags! {
    /// The local health check failed.
    FailedLocalHealthCheck = "LH",
    /// No endpoint could be picked.
    NoHealthyUpstream = "UH",
    /// The route's or the try's timeout passed.
    UpstreamRequestTimeout = "UT",
    /// The gateway reset the upstream stream.
    LocalReset = "LR",
    /// The upstream reset the stream.
    UpstreamRemoteReset = "UR",
    /// Connect refused, unreachable, timed out, or TLS failed.
    UpstreamConnectionFailure = "UF",
    /// The upstream closed the connection.
    UpstreamConnectionTermination = "UC",
    /// A circuit breaker was at its limit.
    UpstreamOverflow = "UO",
    /// No virtual host, route or filter chain.
    NoRouteFound = "NR",
    /// `fault.delay`.
    DelayInjected = "DI",
    /// `fault.abort`.
    FaultInjected = "FI",
    /// A rate limit was hit.
    RateLimited = "RL",
    /// The external authorizer refused.
    UnauthorizedExternalService = "UAEX",
    /// The rate limiter could not be asked.
    RateLimitServiceError = "RLSE",
    /// The client went away first.
    DownstreamConnectionTermination = "DC",
    /// Retries, or connection attempts of a TCP session, were used up.
    UpstreamRetryLimitExceeded = "URX",
    /// The stream was idle too long.
    StreamIdleTimeout = "SI",
    /// A strict header check failed.
    InvalidEnvoyRequestHeaders = "IH",
    /// The client's bytes are no valid HTTP.
    DownstreamProtocolError = "DPE",
    /// The stream lasted too long.
    UpstreamMaxStreamDurationReached = "UMSDR",
    /// Answered from a cache.
    ResponseFromCacheFilter = "RFCF",
    /// A filter had no configuration.
    NoFilterConfigFound = "NFCF",
    /// The downstream connection lasted too long.
    DurationTimeout = "DT",
    /// The upstream's bytes are no valid HTTP.
    UpstreamProtocolError = "UPE",
    /// The route names a cluster the gateway does not have.
    NoClusterFound = "NC",
    /// Overload protection ended it.
    OverloadManagerTerminated = "OM",
    /// The upstream's name does not resolve.
    DnsResolutionFailed = "DF",
    /// Dropped by overload policy.
    DropOverload = "DO",
    /// The client reset the stream.
    DownstreamRemoteReset = "DR",
    /// Dropped unconditionally by overload policy.
    UnconditionalDropOverload = "UDO",
}

/// The flags of one request, in the order they were set, as Envoy prints them: `URX,UF`.
///
/// Eight bits a flag, lowest first; a request with more than [`Flags::MAX`] different reasons keeps
/// the first ones. As plain as a number, so it serves as part of a metric's key.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags(u64);

impl Flags {
    /// None set: printed as `-`.
    pub const NONE: Self = Self(0);
    /// How many flags are kept.
    pub const MAX: usize = 8;

    /// A set of one.
    #[must_use]
    pub const fn of(flag: Flag) -> Self {
        Self(flag as u64 + 1)
    }

    /// Sets `flag` behind those already set; again is no change.
    pub fn set(&mut self, flag: Flag) {
        if !self.contains(flag) && self.0.leading_zeros() >= u8::BITS {
            self.0 |= (flag as u64 + 1) << (self.len() * 8);
        }
    }

    /// Whether `flag` is set.
    #[must_use]
    pub fn contains(self, flag: Flag) -> bool {
        self.iter().any(|held| held == flag)
    }

    /// Whether none is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are set.
    #[must_use]
    pub const fn len(self) -> usize {
        (u64::BITS - self.0.leading_zeros()).div_ceil(u8::BITS) as usize
    }

    /// In the order of setting.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        let codes = self.0.to_le_bytes().into_iter().take(self.len());
        codes.filter_map(|code| Flag::ALL.get(usize::from(code).wrapping_sub(1)).copied())
    }

    /// Appends the short form: `URX,UF`, or `-` when none is set.
    pub fn write_short(self, out: &mut Vec<u8>) {
        if self.is_empty() {
            out.push(b'-');
        }
        for (at, flag) in self.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(flag.short().as_bytes());
        }
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Self {
        let mut set = Self::NONE;
        flags.into_iter().for_each(|flag| set.set(flag));
        set
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return out.write_str("-");
        }
        for (at, flag) in self.iter().enumerate() {
            if at > 0 {
                out.write_str(",")?;
            }
            out.write_str(flag.short())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Flags({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_setting_is_kept() {
        let mut flags = Flags::NONE;
        assert_eq!((flags.to_string().as_str(), flags.len()), ("-", 0));
        flags.set(Flag::UpstreamRetryLimitExceeded);
        flags.set(Flag::UpstreamConnectionFailure);
        flags.set(Flag::UpstreamRetryLimitExceeded);
        assert_eq!((flags.to_string().as_str(), flags.len()), ("URX,UF", 2));
        let mut text = Vec::new();
        flags.write_short(&mut text);
        assert_eq!(text, b"URX,UF");
        assert!(flags.contains(Flag::UpstreamConnectionFailure) && !flags.contains(Flag::NoRouteFound));
        assert_eq!(Flags::of(Flag::NoClusterFound).to_string(), "NC");
    }

    #[test]
    fn the_first_eight_stay() {
        let flags: Flags = Flag::ALL.iter().copied().collect();
        assert_eq!(flags.len(), Flags::MAX);
        assert_eq!(flags.iter().collect::<Vec<_>>(), &Flag::ALL[..Flags::MAX]);
    }

    #[test]
    fn every_flag_goes_in_and_comes_out() {
        for &flag in Flag::ALL {
            assert_eq!(Flags::of(flag).iter().collect::<Vec<_>>(), [flag]);
            assert_eq!(Flags::of(flag).to_string(), flag.short());
        }
        let mut names: Vec<_> = Flag::ALL.iter().map(|flag| flag.short()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Flag::ALL.len());
    }
}
