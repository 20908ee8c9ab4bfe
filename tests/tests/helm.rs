//! The chart, as Helm renders it, and the manifests that are made from it. What an API server says of them is asked in
//! `cluster/deploy.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use portcullis_tests::gateway::binary;
use portcullis_tests::helm::{Helm, chart, deployed, expect_file, value_sets};
use portcullis_tests::yaml::{documents, istio};
use serde_json::Value;

/// What `portcullis crds` prints.
fn definitions() -> String {
    let printed = Command::new(binary()).arg("crds").output().expect("the gateway prints definitions");
    assert!(printed.status.success());
    String::from_utf8(printed.stdout).expect("text")
}

/// A render with a set of values of `ci`.
fn render(helm: &Helm, name: &str, namespace: &str) -> String {
    let values = chart().join(format!("ci/{name}-values.yaml"));
    let rendered = helm.template(namespace, &["--values", &values.to_string_lossy()]);
    assert_eq!(rendered.code(), 0, "{name}: {}", rendered.stderr);
    rendered.stdout
}

#[test]
fn the_chart_brings_the_definitions_that_the_gateway_prints() {
    expect_file(&chart().join("crds/networking.istio.io.yaml"), &definitions());
}

#[test]
fn renders_are_as_recorded() {
    let Some(helm) = Helm::find() else { return };
    let sets = value_sets();
    assert!(sets.len() >= 10, "{sets:?}");
    for (name, namespace) in sets {
        let rendered = render(&helm, &name, namespace);
        expect_file(&chart().join(format!("ci/{name}.rendered.yaml")), &rendered);
    }
}

#[test]
fn the_one_file_for_k3s_is_the_definitions_and_the_chart() {
    let Some(helm) = Helm::find() else { return };
    let rendered = render(&helm, "defaults", "istio-system");
    // Nothing of it is Helm's.
    let foreign = ["# Source:", "helm.sh/chart:"];
    let mut own = String::new();
    for line in
        rendered.lines().filter(|line| !foreign.iter().any(|word| line.trim_start().starts_with(word)))
    {
        own.push_str(&line.replace("managed-by: Helm", "managed-by: portcullis.yaml"));
        own.push('\n');
    }
    expect_file(&deployed("k3s/portcullis.yaml"), &format!("{HEAD}{}{own}", definitions()));
}

#[test]
fn the_chart_of_k3s_helm_controller_is_this_one() {
    let Some(helm) = Helm::find() else { return };
    let manifest = fs::read_to_string(deployed("k3s/helmchart.yaml")).expect("the manifest");
    let archive = format!("/static/charts/portcullis-{}.tgz\n", env!("CARGO_PKG_VERSION"));
    assert!(manifest.contains(&archive), "{archive}");
    let (_, values) = manifest.split_once("  valuesContent: |-\n").expect("values");
    let file = tempfile::NamedTempFile::new().expect("a file for the values");
    fs::write(file.path(), values).expect("the values");
    let rendered = helm.template("istio-system", &["--values", &file.path().to_string_lossy()]);
    assert_eq!(rendered.code(), 0, "{}", rendered.stderr);
    assert!(rendered.stdout.contains("kind: DaemonSet"));
}

#[test]
fn helm_has_nothing_to_object_to() {
    let Some(helm) = Helm::find() else { return };
    let looked = helm.lint(&[]);
    assert_eq!(looked.code(), 0, "{}{}", looked.stdout, looked.stderr);
}

#[test]
fn what_no_chart_knows_is_refused() {
    let Some(helm) = Helm::find() else { return };
    for (value, named) in [
        ("servce.type=NodePort", "servce"),
        ("service.tpye=NodePort", "tpye"),
        ("service.ports[0].name=http", "port"),
        ("gateways.istio-ingressgateway.autoscaleMinimum=2", "autoscaleMinimum"),
        ("gateways.istio-egressgateway.name=egress", "istio-egressgateway"),
        ("networkGateway=network1", "networkGateway"),
        ("kind=StatefulSet", "kind"),
        ("service.externalTrafficPolicy=local", "externalTrafficPolicy"),
        ("image.digest=latest", "digest"),
    ] {
        let refused = helm.template("istio-system", &["--set", value]);
        assert_ne!(refused.code(), 0, "{value}");
        assert!(refused.stderr.contains(named), "{value}: {}", refused.stderr);
    }
}

#[test]
fn what_cannot_work_together_is_refused() {
    let Some(helm) = Helm::find() else { return };
    for (values, said) in [
        ("hostPorts={80}", "ClusterIP"),
        ("service.type=ClusterIP,hostPorts={81}", "81 is no port"),
        ("service.type=ClusterIP,hostPorts={80},hostNetwork=true", "exclude each other"),
    ] {
        let refused = helm.template("istio-system", &["--set", values]);
        assert_ne!(refused.code(), 0, "{values}");
        assert!(refused.stderr.contains(said), "{values}: {}", refused.stderr);
    }
}

#[test]
fn values_of_istio_s_gateway_chart_are_understood() {
    let Some(helm) = Helm::find() else { return };
    let Some(istio) = istio() else { return };
    let values = istio.join("manifests/charts/gateway/values.yaml");
    let text = fs::read_to_string(values).expect("the chart's values");
    // The chart keeps its defaults below a key that users leave out.
    let (_, defaults) = text.split_once("\n_internal_defaults_do_not_set:\n").expect("its defaults");
    let unindented = |line: &str| line.strip_prefix("  ").unwrap_or(line).to_owned();
    let users: Vec<String> = defaults
        .lines()
        .map(unindented)
        // What concerns several networks of a mesh is refused, so that nobody relies on it.
        .scan(false, |within, line| {
            *within = line.starts_with("networkGateway") || *within && line.starts_with(' ');
            Some((*within, line))
        })
        .filter_map(|(within, line)| (!within).then_some(line))
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file for the values");
    fs::write(file.path(), users.join("\n")).expect("the values");
    let rendered = helm.template("istio-system", &["--values", &file.path().to_string_lossy()]);
    assert_eq!(rendered.code(), 0, "{}", rendered.stderr);
    let service = rendered.stdout.split("\n---\n").find(|document| document.contains("kind: Service\n"));
    let service = service.expect("a Service");
    assert!(service.contains("targetPort: 443") && !service.contains("5432"), "{service}");
    assert!(rendered.stdout.contains("net.ipv4.ip_unprivileged_port_start"));
}

/// The rules of a list of manifests, in an order of their own, by whether they are for the whole cluster.
fn rules(manifests: &[Value], kind: &str) -> BTreeSet<String> {
    let of_kind = manifests.iter().filter(|manifest| manifest["kind"] == kind);
    let rules = of_kind.flat_map(|manifest| manifest["rules"].as_array().into_iter().flatten());
    rules.map(sorted).collect()
}

/// A rule with its lists in order: one that says the same is the same.
fn sorted(rule: &Value) -> String {
    let mut rule = rule.clone();
    for list in rule.as_object_mut().expect("a rule").values_mut() {
        let words = list.as_array_mut().expect("a list");
        words.sort_by_key(ToString::to_string);
    }
    rule.to_string()
}

#[test]
fn rules_are_those_of_the_manifest() {
    let Some(helm) = Helm::find() else { return };
    let manifest = fs::read_to_string(deployed("kubernetes/rbac.yaml")).expect("the manifest");
    let Some(wanted) = documents(&manifest) else { return };
    let (cluster, own) = (rules(&wanted, "ClusterRole"), rules(&wanted, "Role"));
    let rendered = documents(&render(&helm, "defaults", "istio-system")).expect("Python was there");
    assert_eq!(rules(&rendered, "ClusterRole"), cluster);
    assert_eq!(rules(&rendered, "Role"), own);
    // With namespaces, the same rules in each of them and none for the cluster.
    let rendered = documents(&render(&helm, "restricted", "edge")).expect("Python was there");
    assert!(!rendered.iter().any(|it| it["kind"].as_str().is_some_and(|kind| kind.starts_with("Cluster"))));
    for (namespace, wanted) in
        [("shop", cluster.clone()), ("vault", cluster.clone()), ("edge", &cluster | &own)]
    {
        let within: Vec<Value> =
            rendered.iter().filter(|it| it["metadata"]["namespace"] == namespace).cloned().collect();
        assert_eq!(rules(&within, "Role"), wanted, "{namespace}");
    }
}

#[test]
fn the_chart_has_the_version_of_the_gateway() {
    let chart = fs::read_to_string(chart().join("Chart.yaml")).expect("the chart");
    for key in ["version", "appVersion"] {
        let line = format!("{key}: {}", env!("CARGO_PKG_VERSION"));
        assert!(chart.lines().any(|it| it == line), "{line}");
    }
}

/// Variables that a manifest sets for the gateway must mean something to it.
#[test]
fn variables_of_the_chart_are_known_to_the_gateway() {
    let help = Command::new(binary()).args(["run", "--help"]).output().expect("the gateway has help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let template = fs::read_to_string(chart().join("templates/workload.yaml")).expect("the template");
    let names = template.lines().filter_map(|line| line.trim().strip_prefix("- name: PORTCULLIS_"));
    let names: Vec<&str> = names.collect();
    assert!(names.len() >= 4);
    for name in names {
        assert!(help.contains(&format!("[env: PORTCULLIS_{name}=")), "PORTCULLIS_{name}");
    }
}

const HEAD: &str = "\
# Portcullis on K3s, or any other cluster: the definitions of the kinds that it reads, and the gateway.
#
#   kubectl apply --server-side -f portcullis.yaml
#
# or a copy in /var/lib/rancher/k3s/server/manifests. Traefik must have left the ports 80 and 443 (docs/k3s.md).
# Written from the chart with its defaults: UPDATE=1 cargo xtask test helm.
apiVersion: v1
kind: Namespace
metadata:
  name: istio-system
";
