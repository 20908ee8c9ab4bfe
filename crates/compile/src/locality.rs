//! Localities, `region/zone/subzone`, and the labels that stand for where something runs.

use portcullis_api::Map;

/// Labels that say a workload's locality, the first one first; dots may stand for slashes.
const LOCALITY_LABELS: [&str; 2] = ["topology.istio.io/locality", "istio-locality"];
/// Name of the cluster that Istio gives itself when nobody names it.
pub(crate) const CLUSTER: &str = "Kubernetes";

/// Labels that Istio derives from where an endpoint runs.
pub(crate) const NETWORK: &str = "topology.istio.io/network";
pub(crate) const REGION: &str = "topology.kubernetes.io/region";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
pub(crate) const SUBZONE: &str = "topology.istio.io/subzone";
pub(crate) const NODE: &str = "kubernetes.io/hostname";
const CLUSTER_LABEL: &str = "topology.istio.io/cluster";

/// A locality in its parts; what is unknown is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Locality<'a> {
    pub(crate) region: &'a str,
    pub(crate) zone: &'a str,
    pub(crate) subzone: &'a str,
}

impl<'a> Locality<'a> {
    /// Reads `region/zone/subzone`.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut parts = text.split('/');
        let mut part = || parts.next().unwrap_or_default();
        Self { region: part(), zone: part(), subzone: part() }
    }

    /// How many parts it shares with `other` from the left decides: 0 all, 1 region and zone, 2 the region, 3 none.
    pub(crate) fn distance(&self, other: &Self) -> u32 {
        match () {
            () if self.region != other.region => 3,
            () if self.zone != other.zone => 2,
            () if self.subzone != other.subzone => 1,
            () => 0,
        }
    }

    /// Whether `pattern` stands for it: `*` is any part, and so is a part left out behind the region.
    pub(crate) fn matches(&self, pattern: &str) -> bool {
        let pattern = Locality::parse(pattern);
        let fits = |part: &str, wanted: &str| wanted == "*" || part == wanted;
        let fits_or_open = |part: &str, wanted: &str| wanted.is_empty() || fits(part, wanted);
        fits(self.region, pattern.region)
            && fits_or_open(self.zone, pattern.zone)
            && fits_or_open(self.subzone, pattern.subzone)
    }
}

/// The locality that a workload's labels say.
pub(crate) fn of_labels(labels: &Map<String>) -> Option<String> {
    let text = LOCALITY_LABELS.iter().find_map(|name| labels.get(*name)).filter(|text| !text.is_empty())?;
    Some(if text.contains('/') { text.clone() } else { text.replace('.', "/") })
}

/// The value of a label that Istio derives from locality and node; `None` where there is nothing to derive.
pub(crate) fn derived_label<'a>(name: &str, locality: &'a str, node: &'a str) -> Option<&'a str> {
    let parts = Locality::parse(locality);
    let value = match name {
        REGION => parts.region,
        ZONE => parts.zone,
        SUBZONE => parts.subzone,
        NODE => node,
        CLUSTER_LABEL => CLUSTER,
        _ => return None,
    };
    Some(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let here = Locality::parse("r/z/s");
        for (other, distance) in
            [("r/z/s", 0), ("r/z/t", 1), ("r/z", 1), ("r/y/s", 2), ("r", 2), ("q/z/s", 3), ("", 3)]
        {
            assert_eq!(here.distance(&Locality::parse(other)), distance, "{other}");
        }
        assert_eq!(Locality::default().distance(&Locality::parse("")), 0);
    }

    #[test]
    fn patterns() {
        let here = Locality::parse("r/z/s");
        for (pattern, fits) in [
            ("*", true),
            ("r", true),
            ("r/*", true),
            ("r/z/*", true),
            ("r/z/s", true),
            ("r/*/s", true),
            ("q", false),
            ("r/y", false),
            ("r/z/t", false),
            ("", false),
        ] {
            assert_eq!(here.matches(pattern), fits, "{pattern}");
        }
        assert!(Locality::default().matches("*") && !Locality::default().matches("r"));
    }

    #[test]
    fn labels() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Map<_>>()
        };
        for (pairs, locality) in [
            (&[("istio-locality", "r.z.s")][..], Some("r/z/s")),
            (&[("istio-locality", "r/z.1")], Some("r/z.1")),
            (&[("istio-locality", "r"), ("topology.istio.io/locality", "q")], Some("q")),
            (&[("app", "x")], None),
        ] {
            assert_eq!(of_labels(&labels(pairs)).as_deref(), locality);
        }
        for (name, value) in [
            (REGION, Some("r")),
            (ZONE, Some("z")),
            (SUBZONE, None),
            (NODE, Some("n")),
            ("topology.istio.io/cluster", Some("Kubernetes")),
            ("app", None),
        ] {
            assert_eq!(derived_label(name, "r/z", "n"), value, "{name}");
        }
    }
}
