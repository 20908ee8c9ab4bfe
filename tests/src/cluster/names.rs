//! What tests call namespaces and the like, and what these are called on the cluster that is there.
//!
//! Tests write `default` for the namespace of routes and `istio-system` for that of the gateway. On a cluster of their own
//! these are the names; on one that belongs to somebody each test has its own in their place, so that it meets nobody else's
//! objects, and takes away what it made.

use std::borrow::Cow;

/// The names of one test.
#[derive(Debug, Clone)]
pub(super) struct Names(Option<String>);

impl Names {
    /// On a cluster that is the test's own.
    pub(super) const AS_WRITTEN: Self = Self(None);

    /// On one that is not; `tag` makes the names unique.
    pub(super) fn unique(tag: &str) -> Self {
        Self(Some(format!("portcullis-test-{tag}")))
    }

    /// Whether they are others than those written.
    pub(super) fn differ(&self) -> bool {
        self.0.is_some()
    }

    /// A manifest, an address or a name, as it is on this cluster. What is so already stays.
    pub(super) fn localize<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(own) = &self.0 else { return Cow::Borrowed(text) };
        let (routes, gateway) = (format!("{own}-routes"), format!("{own}-gateway"));
        let text = text.replace("istio-system", &gateway).replace(SELECTOR, &format!("istio: {own}"));
        let text = match text.as_str() {
            "default" => routes.clone(),
            "portcullis" => own.clone(),
            _ => text,
        };
        let text = text.replace(".default.svc", &format!(".{routes}.svc"));
        let text = NAMESPACE.iter().fold(text, |text, before| renamed(&text, before, "default", &routes));
        Cow::Owned(ACCOUNT.iter().fold(text, |text, before| renamed(&text, before, "portcullis", own)))
    }

    /// The label that Gateways select the gateway by.
    pub(super) fn label(&self) -> Cow<'static, str> {
        self.0.as_ref().map_or(Cow::Borrowed("ingressgateway"), |own| Cow::Owned(own.clone()))
    }
}

/// How tests write that a Gateway is the gateway's.
const SELECTOR: &str = "istio: ingressgateway";
/// What stands before `default` where that is the namespace.
const NAMESPACE: [&str; 2] = ["namespace: ", "/namespaces/"];
/// What stands before `portcullis` where that is the gateway's account, or its rules.
const ACCOUNT: [&str; 5] =
    ["name: ", "AccountName: ", "/serviceaccounts/", "/clusterroles/", "/clusterrolebindings/"];

/// Puts `there` for `written` wherever that is the whole name behind `before`.
fn renamed(text: &str, before: &str, written: &str, there: &str) -> String {
    let place = format!("{before}{written}");
    let mut parts = text.split(&place);
    let mut renamed = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        let longer = rest.starts_with(|next: char| next == '-' || next.is_alphanumeric());
        renamed = renamed + before + if longer { written } else { there } + rest;
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_of_one_s_own_has_the_names_that_are_written() {
        assert_eq!(Names::AS_WRITTEN.localize("namespace: default"), "namespace: default");
    }

    #[test]
    fn elsewhere_each_test_has_its_own() {
        let names = Names::unique("7");
        for (written, there) in [
            (
                "metadata: {name: a, namespace: default}\ndata: {a: default}",
                "metadata: {name: a, namespace: portcullis-test-7-routes}\ndata: {a: default}",
            ),
            ("gateways: [istio-system/gw]", "gateways: [portcullis-test-7-gateway/gw]"),
            ("a.default.svc.cluster.local", "a.portcullis-test-7-routes.svc.cluster.local"),
            ("/api/v1/namespaces/default/pods", "/api/v1/namespaces/portcullis-test-7-routes/pods"),
            ("selector: {istio: ingressgateway}", "selector: {istio: portcullis-test-7}"),
            ("name: portcullis\n  namespace: x", "name: portcullis-test-7\n  namespace: x"),
            ("[portcullis-status-istio-ingressgateway]", "[portcullis-status-istio-ingressgateway]"),
            ("default", "portcullis-test-7-routes"),
        ] {
            assert_eq!(names.localize(written), there);
            assert_eq!(names.localize(there), there);
        }
    }
}
