//! Certificates for cert-manager, as the Gateways ask for them: what is to be written beside what is there.
//!
//! | a Certificate of that name | |
//! |---|---|
//! | is not there | made, unless there is a Secret of that name that somebody made by hand |
//! | is ours | brought up to what is asked for |
//! | is somebody else's | left alone, and the Gateway is told |
//! | is ours, and nobody asks for it any more | deleted; its Secret stays, as with cert-manager itself |
//!
//! A Certificate says by a label which Gateway it is for. Beside its Gateway it belongs to it, so that it goes with it; an
//! owner in another namespace would count as gone (Kubernetes, "Owners and dependents"), so there the label alone tells.

pub(crate) mod clerk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_api::Severity;
use portcullis_api::cert_manager::{GATEWAY, GATEWAY_UID};
use portcullis_compile::{Code, Diagnostic, WantedCertificate};
use serde_json::{Value, json};

/// The Certificates that are wanted, by name.
pub(crate) type Orders = Arc<BTreeMap<String, WantedCertificate>>;

/// What was asked for, word by word: what is asked for no more can be told from what others have added.
const ASKED: &str = "portcullis.dev/asked";
/// By this a Secret says that cert-manager writes it.
const MADE_BY_CERT_MANAGER: &str = "cert-manager.io/certificate-name";

/// What is to be done about one Certificate, by its name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Write this over it, or make it.
    Apply(Value),
    /// Delete the one of this identity.
    Delete(String),
    /// Leave it: this is in the way.
    Refuse(&'static str),
}

/// How a certificate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is issued.
    Ready,
    /// Not yet, as cert-manager says.
    Waiting(String),
    /// Not for a long time, as cert-manager says.
    Late(String),
    /// It is left alone, since this is in the way.
    Refused(&'static str),
    /// There is no cert-manager.
    Absent,
    /// The API server does not let it be looked at or written.
    Failed(String),
}

impl Standing {
    /// What there is to say about the Gateway that asks for it.
    pub(crate) fn diagnostic(&self, secret: &str, wanted: &WantedCertificate) -> Option<Diagnostic> {
        let (code, message, remedy) = match self {
            Self::Ready => return None,
            Self::Waiting(said) => (
                Code::CertificateNotReady,
                format!("the certificate of Secret {secret} is not issued yet: {said}"),
                format!("kubectl describe certificate {secret} tells more"),
            ),
            Self::Late(said) => (
                Code::CertificateNotReady,
                format!("the certificate of Secret {secret} is still not issued, after minutes: {said}"),
                format!("kubectl describe certificate {secret} tells more"),
            ),
            Self::Refused(why) => (
                Code::CertificateConflict,
                format!("the certificate of Secret {secret} is not asked for: {why}"),
                "name another Secret, or delete what is in the way if it is of no use any more".to_owned(),
            ),
            Self::Absent => (
                Code::CertManagerAbsent,
                format!("asks for the certificate of Secret {secret}, and there is no cert-manager in the cluster"),
                "install cert-manager, or take the annotation away and make the Secret by hand".to_owned(),
            ),
            Self::Failed(said) => (
                Code::CertificateNotReady,
                format!("the certificate of Secret {secret} cannot be asked for: {said}"),
                "allow the gateway's account to write certificates in its namespace (deploy/kubernetes/rbac.yaml)"
                    .to_owned(),
            ),
        };
        Some(Diagnostic {
            severity: match self {
                Self::Failed(_) | Self::Late(_) => Severity::Warning,
                _ => code.severity(),
            },
            code,
            object: wanted.gateway.clone(),
            field: "metadata.annotations".to_owned(),
            message,
            remedy,
            origin: None,
        })
    }
}

/// The steps from the Certificates that are there to those that are wanted. `made_by_hand` are names of Secrets that are
/// not cert-manager's.
pub(crate) fn steps(
    namespace: &str,
    wanted: &BTreeMap<String, WantedCertificate>,
    there: &[Value],
    made_by_hand: &BTreeSet<String>,
) -> BTreeMap<String, Step> {
    let name_of =
        |certificate: &Value| certificate["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let held: BTreeMap<String, &Value> = there.iter().map(|held| (name_of(held), held)).collect();
    let mut steps = BTreeMap::new();
    for (name, wanted) in wanted {
        let step = match held.get(name) {
            Some(held) if !is_ours(held) => {
                Some(Step::Refuse("there is a Certificate of that name already, which is not this gateway's"))
            }
            Some(held) => {
                let asked = certificate(namespace, name, wanted);
                (!says(held, &asked)).then_some(Step::Apply(asked))
            }
            None if made_by_hand.contains(name) => Some(Step::Refuse(
                "there is a Secret of that name already, which cert-manager did not make and would overwrite",
            )),
            None => Some(Step::Apply(certificate(namespace, name, wanted))),
        };
        steps.extend(step.map(|step| (name.clone(), step)));
    }
    for (name, held) in held.into_iter().filter(|(name, held)| is_ours(held) && !wanted.contains_key(name)) {
        steps.insert(name, Step::Delete(held["metadata"]["uid"].as_str().unwrap_or_default().to_owned()));
    }
    steps
}

/// Whether a Secret was made by somebody else than cert-manager, which would overwrite it.
pub(crate) fn is_made_by_hand(secret: &Value) -> bool {
    secret["metadata"]["annotations"].get(MADE_BY_CERT_MANAGER).is_none()
}

/// How a Certificate stands, as cert-manager says.
pub(crate) fn standing(certificate: &Value) -> Standing {
    let conditions = certificate["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(ready) = conditions.iter().find(|condition| condition["type"] == "Ready") else {
        return Standing::Waiting("cert-manager has not looked at it yet".to_owned());
    };
    if ready["status"] == "True" {
        return Standing::Ready;
    }
    let said = ready["message"].as_str().filter(|text| !text.is_empty());
    Standing::Waiting(said.unwrap_or("it is not ready").to_owned())
}

fn is_ours(certificate: &Value) -> bool {
    certificate["metadata"]["labels"].get(GATEWAY_UID).is_some()
}

/// The Certificate in full, for a server-side apply.
fn certificate(namespace: &str, name: &str, wanted: &WantedCertificate) -> Value {
    let spec = serde_json::to_value(&wanted.spec).unwrap_or_default();
    let gateway = &wanted.gateway;
    let mut metadata = json!({
        "name": name,
        "namespace": namespace,
        "labels": {"app.kubernetes.io/managed-by": "portcullis", GATEWAY_UID: wanted.gateway_uid},
        "annotations": {GATEWAY: format!("{}/{}", gateway.namespace, gateway.name), ASKED: spec.to_string()},
    });
    if gateway.namespace == namespace {
        metadata["ownerReferences"] = json!([{
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "name": gateway.name,
            "uid": wanted.gateway_uid,
            "controller": true,
            "blockOwnerDeletion": false,
        }]);
    }
    json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": metadata, "spec": spec})
}

/// Whether `held` says everything that `asked` says. What others have added to it is theirs.
fn says(held: &Value, asked: &Value) -> bool {
    match (held, asked) {
        (Value::Object(held), Value::Object(asked)) => {
            asked.iter().all(|(key, asked)| held.get(key).is_some_and(|held| says(held, asked)))
        }
        (Value::Array(held), Value::Array(asked)) => {
            held.len() == asked.len() && held.iter().zip(asked).all(|(held, asked)| says(held, asked))
        }
        (held, asked) => held == asked,
    }
}

#[cfg(test)]
mod tests {
    use portcullis_api::ObjectRef;
    use portcullis_api::cert_manager::{CertificateSpec, IssuerRef};

    use super::*;

    fn wanted(namespace: &str, hosts: &[&str]) -> BTreeMap<String, WantedCertificate> {
        let spec = CertificateSpec {
            secret_name: "app".to_owned(),
            issuer_ref: IssuerRef {
                name: "le".to_owned(),
                kind: "ClusterIssuer".to_owned(),
                group: "cert-manager.io".to_owned(),
            },
            dns_names: hosts.iter().map(|&host| host.to_owned()).collect(),
            ..CertificateSpec::default()
        };
        let gateway =
            ObjectRef { kind: "Gateway".into(), namespace: namespace.to_owned(), name: "gw".to_owned() };
        BTreeMap::from([(
            "app".to_owned(),
            WantedCertificate { gateway, gateway_uid: "u1".to_owned(), spec },
        )])
    }

    fn applied(steps: &BTreeMap<String, Step>) -> Value {
        match &steps["app"] {
            Step::Apply(certificate) => certificate.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// As the API server and cert-manager would have it later.
    fn stored(certificate: &Value) -> Value {
        let mut stored = certificate.clone();
        stored["metadata"]["uid"] = json!("c1");
        stored["metadata"]["resourceVersion"] = json!("7");
        stored["spec"]["privateKey"] = json!({"rotationPolicy": "Always"});
        stored["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        stored
    }

    #[test]
    fn what_is_wanted_is_made_once() {
        let nothing = BTreeSet::new();
        let steps_to = |there: &[Value]| steps("gw", &wanted("gw", &["a.test"]), there, &nothing);
        let made = applied(&steps_to(&[]));
        assert_eq!(made["spec"]["dnsNames"], json!(["a.test"]));
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "u1");
        assert_eq!(steps_to(&[stored(&made)]), BTreeMap::new());
    }

    #[test]
    fn a_change_is_written_and_so_is_what_is_asked_no_more() {
        let nothing = BTreeSet::new();
        let made = applied(&steps("gw", &wanted("gw", &["a.test", "b.test"]), &[], &nothing));
        let fewer = applied(&steps("gw", &wanted("gw", &["a.test"]), &[stored(&made)], &nothing));
        assert_eq!(fewer["spec"]["dnsNames"], json!(["a.test"]));
        // A whole field that is gone can be told by the words of before.
        let mut asked = wanted("gw", &["a.test"]);
        asked.get_mut("app").unwrap().spec.duration = Some("2160h".to_owned());
        let made = applied(&steps("gw", &asked, &[], &nothing));
        let without = applied(&steps("gw", &wanted("gw", &["a.test"]), &[stored(&made)], &nothing));
        assert_eq!(without["spec"].get("duration"), None);
        // And what somebody has changed by hand is set right.
        let mut edited = stored(&made);
        edited["spec"]["issuerRef"]["name"] = json!("other");
        assert!(matches!(steps("gw", &asked, &[edited], &nothing)["app"], Step::Apply(_)));
    }

    #[test]
    fn an_owner_in_another_namespace_is_only_named() {
        let made = applied(&steps("gw", &wanted("shop", &["a.test"]), &[], &BTreeSet::new()));
        assert_eq!(made["metadata"].get("ownerReferences"), None);
        assert_eq!(made["metadata"]["labels"][GATEWAY_UID], "u1");
        assert_eq!(made["metadata"]["annotations"][GATEWAY], "shop/gw");
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let theirs = json!({"metadata": {"name": "app"}, "spec": {"secretName": "app"}});
        let found = steps("gw", &wanted("gw", &["a.test"]), std::slice::from_ref(&theirs), &BTreeSet::new());
        assert!(matches!(found["app"], Step::Refuse(_)));
        assert_eq!(steps("gw", &BTreeMap::new(), &[theirs], &BTreeSet::new()), BTreeMap::new());
        let by_hand = BTreeSet::from(["app".to_owned()]);
        assert!(matches!(steps("gw", &wanted("gw", &["a.test"]), &[], &by_hand)["app"], Step::Refuse(_)));
        // One of ours goes on being ours, whatever its Secret says meanwhile.
        let made = stored(&applied(&steps("gw", &wanted("gw", &["a.test"]), &[], &BTreeSet::new())));
        assert_eq!(steps("gw", &wanted("gw", &["a.test"]), &[made], &by_hand), BTreeMap::new());
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_deleted() {
        let made = stored(&applied(&steps("gw", &wanted("gw", &["a.test"]), &[], &BTreeSet::new())));
        let found = steps("gw", &BTreeMap::new(), &[made], &BTreeSet::new());
        assert_eq!(found, BTreeMap::from([("app".to_owned(), Step::Delete("c1".to_owned()))]));
    }

    #[test]
    fn how_a_certificate_stands() {
        let with = |status: &str, message: &str| {
            let ready = json!({"type": "Ready", "status": status, "message": message});
            standing(&json!({"status": {"conditions": [{"type": "Issuing"}, ready]}}))
        };
        assert_eq!(with("True", ""), Standing::Ready);
        assert_eq!(with("False", "Issuing certificate"), Standing::Waiting("Issuing certificate".to_owned()));
        assert!(matches!(standing(&json!({})), Standing::Waiting(_)));
        let wanted = &wanted("gw", &["a.test"])["app"];
        for (standing, code) in [
            (Standing::Ready, None),
            (Standing::Waiting(String::new()), Some(Code::CertificateNotReady)),
            (Standing::Refused(""), Some(Code::CertificateConflict)),
            (Standing::Absent, Some(Code::CertManagerAbsent)),
            (Standing::Failed(String::new()), Some(Code::CertificateNotReady)),
        ] {
            assert_eq!(standing.diagnostic("app", wanted).map(|found| found.code), code);
        }
    }
}
