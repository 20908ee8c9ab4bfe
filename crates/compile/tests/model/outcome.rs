//! What becomes of a request, in words that the model and the compiled snapshot share.

/// A connection and the request on it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) bind: Option<&'static str>,
    /// The port connected to.
    pub(crate) port: u16,
    pub(crate) tls: Tls,
    pub(crate) authority: &'static str,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) query: Option<&'static str>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
}

/// Whether the client speaks TLS, and the name it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    None,
    WithoutName,
    Name(&'static str),
}

/// The fate of a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody listens.
    Refused,
    /// No chain takes the connection.
    Closed,
    /// Bytes go to one of these.
    Stream(Vec<Share>),
    /// No virtual host has this name: 404.
    NoHost,
    /// `httpsRedirect`, with the pattern of the virtual host.
    ToHttps(String),
    /// The virtual host has no matching route: 404.
    NoRoute(String),
    /// The route of that name in the virtual host of that pattern.
    Route { host: String, name: String, end: End },
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Forward { to: Vec<Share>, path: String, authority: Option<String>, timeout: Option<u64> },
    Redirect { code: u16, scheme: Option<String>, host: Option<String>, port: Option<u16>, path: String },
    Respond(u16),
}

/// A destination with its share of the requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Share {
    /// `outbound|8000||one.default.svc.cluster.local`; the host alone if there is no such cluster.
    pub(crate) cluster: String,
    pub(crate) known: bool,
    /// Weight and sum of the weights, in lowest terms.
    pub(crate) part: (u64, u64),
}

/// Shares of weighted clusters, in the order of their names; equal ones are one.
pub(crate) fn shares(weighted: &[(String, bool, u64)]) -> Vec<Share> {
    let total: u64 = weighted.iter().map(|(_, _, weight)| weight).sum();
    let mut sums = std::collections::BTreeMap::new();
    for (cluster, known, weight) in weighted {
        // Nobody sees the port of a cluster that does not exist.
        let host = cluster.rsplit('|').next().unwrap_or_default();
        let cluster = if *known { cluster } else { host };
        *sums.entry((cluster.to_owned(), *known)).or_insert(0) += weight;
    }
    let lowest = |weight: u64| {
        let (mut high, mut low) = (total, weight);
        while low != 0 {
            (high, low) = (low, high % low);
        }
        (weight / high, total / high)
    };
    sums.into_iter()
        .map(|((cluster, known), weight)| Share { cluster, known, part: lowest(weight) })
        .collect()
}
