//! What the tests beside the code share.

pub(crate) mod pki;
pub(crate) mod tls;

use crate::environment::Environment;
use crate::objects::Objects;

/// The objects of a YAML text, which must be free of findings.
pub(crate) fn objects(text: &str) -> Objects {
    let loaded = portcullis_api::load("test.yaml", text);
    assert_eq!(loaded.findings, [], "{text}");
    loaded.objects.into_iter().collect()
}

/// A gateway in namespace `gw`, with `istio-system` as the root namespace, so that the two can be told apart.
pub(crate) fn environment() -> Environment {
    let mut environment = Environment::for_tests();
    environment.workload.namespace = "gw".to_owned();
    environment
}
