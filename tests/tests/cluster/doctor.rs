//! `portcullis doctor` on a real API server: what it finds before anything is there, on a cluster where Traefik was
//! forgotten, and with no more rights than the gateway's.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use portcullis_tests::gateway::binary;
use portcullis_tests::helm::deployed;
use portcullis_tests::objects;
use portcullis_tests::pki::Authority;
use portcullis_tests::process::run;
use serde_json::{Value, json};

use super::api_server;

/// Runs it; gives the exit status and `severity Code Kind/name` of each finding.
fn doctor(kubeconfig: &Path, arguments: &[&str]) -> (i32, BTreeSet<String>) {
    let mut command = Command::new(binary());
    command
        .args(["doctor", "-o", "json", "--severity", "info"])
        .args(arguments)
        .env("KUBECONFIG", kubeconfig);
    let done = run(&mut command, Duration::from_secs(60)).expect("it runs");
    let report: Value =
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.stderr));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().expect("findings").iter().map(|it| {
        let object = format!("{}/{}", text(&it["object"]["kind"]), text(&it["object"]["name"]));
        format!("{} {} {object}", text(&it["severity"]), text(&it["code"]))
    });
    (done.code(), findings.collect())
}

fn set(findings: &[&str]) -> BTreeSet<String> {
    findings.iter().map(|&finding| finding.to_owned()).collect()
}

/// A cluster of one node on which Traefik still has the ports, with what an uninstalled istiod left behind.
const LEFT_BEHIND: &str = "
apiVersion: v1
kind: Node
metadata: {name: a}
---
apiVersion: v1
kind: Service
metadata: {name: traefik, namespace: kube-system}
spec:
  type: LoadBalancer
  ports: [{name: web, port: 80}, {name: websecure, port: 443}]
---
apiVersion: v1
kind: Pod
metadata:
  name: svclb-traefik-0a1b2c3d-x
  namespace: kube-system
  labels: {svccontroller.k3s.cattle.io/svcname: traefik, svccontroller.k3s.cattle.io/svcnamespace: kube-system}
spec:
  automountServiceAccountToken: false
  containers: [{name: lb-tcp-80, image: klipper, ports: [{containerPort: 80, hostPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata:
  name: gateway-1
  namespace: istio-system
  labels: {app: istio-ingressgateway, istio: ingressgateway}
spec:
  serviceAccountName: istio-ingressgateway
  containers: [{name: portcullis, image: portcullis}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: istiod-default-validator}
webhooks:
- name: validation.istio.io
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  clientConfig: {service: {name: istiod, namespace: istio-system, path: /validate}}
  rules: [{apiGroups: [security.istio.io], apiVersions: ['*'], operations: [CREATE], resources: ['*']}]";

#[test]
fn the_doctor_sees_what_keeps_traffic_away() {
    let Some((_turn, cluster)) = api_server() else { return };
    let mut client = cluster.client();
    let kinds = ["destinationrules", "gateways", "serviceentries", "virtualservices", "workloadentries"];
    let missing = kinds
        .map(|kind| format!("error DefinitionMissing CustomResourceDefinition/{kind}.networking.istio.io"));
    let (status, findings) = doctor(cluster.kubeconfig(), &[]);
    assert_eq!(status, 1);
    assert!(findings.is_superset(&missing.into()), "{findings:?}");
    assert!(findings.contains("error ServiceMissing Service/istio-ingressgateway"), "{findings:?}");

    client.apply(&fs::read_to_string(deployed("k3s/portcullis.yaml")).expect("the file for K3s"));
    client.apply(LEFT_BEHIND);
    let addresses = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    client.set_status("Service", "kube-system", "traefik", &addresses);
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    client.set_status("Pod", "istio-system", "gateway-1", &ready);
    cluster.install_crds();
    let old = Authority::new("old").server(&["a.test"]).tls_secret("default", "elsewhere");
    client.apply(&old);
    let server = |credential: &str| {
        objects::server(443, "HTTPS", &["a.test"], &format!("{{mode: SIMPLE, credentialName: {credential}}}"))
    };
    let gateway = |servers: &[String]| {
        objects::gateway("gw", servers).replace("namespace: istio-system", "namespace: default")
    };
    client.apply(&gateway(&[server("elsewhere"), server("nowhere")]));
    let (status, findings) = doctor(cluster.kubeconfig(), &[]);
    let expected = set(&[
        "error PortTaken Service/traefik",
        "error SecretElsewhere Secret/elsewhere",
        "error SecretMissing Secret/nowhere",
        "error ServicePending Service/istio-ingressgateway",
        "error WebhookLeftBehind ValidatingWebhookConfiguration/istiod-default-validator",
    ]);
    assert_eq!((status, findings), (1, expected));

    // All of it is put right.
    client.delete("ValidatingWebhookConfiguration", "", "istiod-default-validator");
    client.delete("Service", "kube-system", "traefik");
    client.set_status("Service", "istio-system", "istio-ingressgateway", &addresses);
    client.apply(&old.replace("namespace: default", "namespace: istio-system"));
    client.apply(&gateway(&[server("elsewhere")]));
    assert_eq!(doctor(cluster.kubeconfig(), &[]), (0, BTreeSet::new()));

    // Roles that are gone are missed by name.
    client.delete("ClusterRoleBinding", "", "istio-ingressgateway-istio-system");
    let (status, findings) = doctor(cluster.kubeconfig(), &[]);
    assert_eq!((status, findings), (1, set(&["error RightMissing ServiceAccount/istio-ingressgateway"])));
}

#[test]
fn the_doctor_says_what_it_may_not_see() {
    let Some((_turn, cluster)) = api_server() else { return };
    let kubeconfig = cluster.account();
    cluster.install_crds();
    let (_, findings) = doctor(&kubeconfig, &[]);
    for kind in ["Node", "ValidatingWebhookConfiguration", "IngressClass", "SubjectAccessReview"] {
        assert!(findings.contains(&format!("warning NotSeen {kind}/*")), "{kind}: {findings:?}");
    }
    assert!(
        !findings.iter().any(|it| it.contains("Pod/") || it.contains("NotSeen Service/")),
        "{findings:?}"
    );

    // The gateway's own account may ask for its own rights, and has them.
    cluster.apply(&LEFT_BEHIND.replace("AccountName: istio-ingressgateway", "AccountName: portcullis"));
    let (_, findings) = doctor(&kubeconfig, &[]);
    let rights = ["SubjectAccessReview", "RightMissing"];
    assert!(!findings.iter().any(|it| rights.iter().any(|word| it.contains(word))), "{findings:?}");
    cluster.delete("ClusterRoleBinding", "", "portcullis");
    // Whoever may list no pods cannot tell that it is theirs.
    let (_, findings) = doctor(&kubeconfig, &[]);
    assert!(findings.contains("warning NotSeen Pod/*"), "{findings:?}");
}
