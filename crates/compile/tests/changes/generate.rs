//! Random objects and steps. Names are few, so that objects meet: several VirtualServices with one host, delegates,
//! rules for a host and for wildcards, Services with one host in two forms, endpoints whose Pods come and go.

use portcullis_api::Kind;
use proptest::prelude::*;

/// One step from one state to the next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// These objects are added, or take the place of those of their names.
    Put(Vec<String>),
    /// The object at this place, among all of the kind, goes.
    Remove(Kind, prop::sample::Index),
    /// Everything is read again and says the same.
    Reread,
    /// Name servers answer otherwise.
    Answer(u8),
    /// Something else in the world is another.
    World(u8),
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(texts)
}

fn namespace() -> impl Strategy<Value = &'static str> {
    one_of(&["app", "app", "istio-system"])
}

fn destination() -> impl Strategy<Value = String> {
    let host = one_of(&["a", "a", "a", "b", "alias", "x.ext", "x.ext", "a.app.svc.cluster.local", "nobody"]);
    let more =
        one_of(&["", "", "", ", port: {number: 80}", ", port: {number: 81}", ", subset: s", ", subset: t"]);
    (host, more).prop_map(|(host, more)| format!("destination: {{host: {host}{more}}}"))
}

fn http_rule() -> impl Strategy<Value = String> {
    let matches = one_of(&[
        "",
        "match: [{uri: {prefix: /a}}], ",
        "match: [{uri: {exact: /b}, port: 80}], ",
        "match: [{gateways: [other]}, {uri: {prefix: /}}], ",
        "match: [{headers: {x: {regex: '[ab]+'}}}], ",
    ]);
    let action = prop_oneof![
        4 => (destination(), destination()).prop_map(|(one, other)| {
            format!("route: [{{{one}, weight: 1}}, {{{other}, weight: 3}}]")
        }),
        4 => (destination(), destination()).prop_map(|(one, other)| {
            let other = other.trim_start_matches("destination: ");
            format!("route: [{{{one}}}], mirror: {other}")
        }),
        2 => Just("redirect: {uri: /r}".to_owned()),
        2 => one_of(&["part", "other"]).prop_map(|name| format!("delegate: {{name: {name}}}")),
    ];
    (matches, action).prop_map(|(matches, action)| format!("{{{matches}{action}}}"))
}

fn virtual_service() -> impl Strategy<Value = String> {
    let name = one_of(&["one", "two", "three", "four", "base"]);
    let hosts = one_of(&["[a.com]", "[b.com, A.com]", "['*.com']", "['*']", "[plain]", "[b.com]"]);
    let gateways = one_of(&["[gw]", "[gw]", "[gw, tls]", "[tls]", "[mesh]", "[nowhere]", "[gw, second]"]);
    let export = one_of(&["", "", "exportTo: ['.'], ", "exportTo: [istio-system], "]);
    let bytes = prop_oneof![
        6 => Just(String::new()),
        1 => destination().prop_map(|to| format!(", tcp: [{{route: [{{{to}}}]}}]")),
        1 => destination().prop_map(|to| {
            format!(", tls: [{{match: [{{sniHosts: [b.com]}}], route: [{{{to}}}]}}]")
        }),
    ];
    let age = one_of(&[
        "",
        ", creationTimestamp: '2020-01-01T00:00:00Z'",
        ", creationTimestamp: '2021-01-01T00:00:00Z'",
    ]);
    let rules = prop::collection::vec(http_rule(), 0..3);
    (namespace(), name, hosts, gateways, export, rules, bytes, age).prop_map(
        |(namespace, name, hosts, gateways, export, rules, bytes, age)| {
            let gateways = gateways.replace("gw", "istio-system/gw").replace("tls", "istio-system/tls");
            let gateways = gateways.replace("second", "istio-system/second");
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: \
                 {namespace}{age}}}\nspec: {{hosts: {hosts}, gateways: {gateways}, {export}http: [{}]{bytes}}}",
                rules.join(", ")
            )
        },
    )
}

fn delegate() -> impl Strategy<Value = String> {
    let hosts = one_of(&["", "", "", "hosts: [c.com], "]);
    (namespace(), one_of(&["part", "other"]), hosts, prop::collection::vec(http_rule(), 0..3)).prop_map(
        |(namespace, name, hosts, rules)| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: \
                 {namespace}}}\nspec: {{{hosts}http: [{}]}}",
                rules.join(", ")
            )
        },
    )
}

/// Selects the gateway itself.
const OWN: &str = "selector: {istio: ingressgateway}, ";

fn service() -> impl Strategy<Value = String> {
    let kind = one_of(&["", "", "selector: {app: a}, "]);
    let ports = one_of(&[
        "{name: http, port: 80}",
        "{name: http, port: 80}, {name: tcp-x, port: 81}",
        "{name: grpc, port: 80}",
        "",
    ]);
    let annotation = one_of(&["", "", ", annotations: {networking.istio.io/exportTo: nobody}"]);
    let name = one_of(&["a", "b", "c", "ingress"]);
    let plain = (namespace(), name, kind, ports, annotation).prop_map(|(namespace, name, kind, ports, annotation)| {
        // In front of the gateway itself: where ports are looked up in Services.
        let (kind, ports) = match (name, ports.len() % 3) {
            ("ingress", 0) => (OWN, "{name: http, port: 80, targetPort: 8080}"),
            ("ingress", 1) => (OWN, "{name: http, port: 80, targetPort: http}"),
            ("ingress", _) => (OWN, ports),
            _ => (kind, ports),
        };
        let namespace = if name == "ingress" { "istio-system" } else { namespace };
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}{annotation}}}\nspec: \
             {{{kind}ports: [{ports}]}}"
        )
    });
    let alias = (namespace(), one_of(&["a", "b.app.svc.cluster.local", "x.ext"])).prop_map(|(namespace, target)| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: alias, namespace: {namespace}}}\nspec: {{type: \
             ExternalName, externalName: {target}, ports: [{{port: 80}}]}}"
        )
    });
    prop_oneof![5 => plain, 1 => alias]
}

fn endpoints() -> impl Strategy<Value = String> {
    let address = one_of(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let target = one_of(&[
        "",
        "",
        ", targetRef: {kind: Pod, name: p}",
        ", targetRef: {kind: Pod, name: q, namespace: app}",
    ]);
    let ready =
        one_of(&["", "conditions: {ready: false}, ", "conditions: {ready: false, terminating: false}, "]);
    let port = one_of(&["{name: http, port: 8080}", "{name: tcp-x, port: 90}", "{name: http, port: 80}"]);
    let name = one_of(&["a", "b", "c", "ingress"]);
    let slice = (namespace(), one_of(&["s1", "s2", "s3"]), name, address, target, ready, port);
    let slice = slice.prop_map(|(namespace, name, service, address, target, ready, port)| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: \
             {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nports: \
             [{port}]\nendpoints: [{{addresses: ['{address}'], {ready}nodeName: n{target}}}]"
        )
    });
    let old = (namespace(), name2(), one_of(&["10.0.0.1", "10.0.0.4"])).prop_map(|(namespace, name, address)| {
        format!(
            "apiVersion: v1\nkind: Endpoints\nmetadata: {{name: {name}, namespace: {namespace}}}\nsubsets: \
             [{{addresses: [{{ip: {address}}}], ports: [{{name: http, port: 8080}}]}}]"
        )
    });
    prop_oneof![4 => slice, 1 => old]
}

fn name2() -> impl Strategy<Value = &'static str> {
    one_of(&["a", "b", "c"])
}

fn workload() -> impl Strategy<Value = String> {
    let labels = one_of(&["{app: a}", "{app: a, version: v2}", "{}", "{app: b, istio-locality: r.z.s}"]);
    let pod = (namespace(), one_of(&["p", "q"]), labels, one_of(&["10.0.0.1", "10.0.0.2", "10.0.0.5"]));
    let pod = pod.prop_map(|(namespace, name, labels, address)| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}\nspec: \
             {{serviceAccountName: default}}\nstatus: {{podIP: {address}, phase: Running}}"
        )
    });
    let labels = one_of(&["{app: a}", "{app: b}", "{}"]);
    let entry = (namespace(), labels, one_of(&["10.0.1.1", "name.example", "10.0.1.2"]));
    let entry = entry.prop_map(|(namespace, labels, address)| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w, namespace: \
             {namespace}}}\nspec: {{address: {address}, labels: {labels}}}"
        )
    });
    prop_oneof![2 => pod, 1 => entry]
}

fn service_entry() -> impl Strategy<Value = String> {
    let hosts = one_of(&["[x.ext]", "[y.ext, x.ext]", "[a.app.svc.cluster.local]", "['*.ext']"]);
    let members = one_of(&[
        "resolution: STATIC, endpoints: [{address: 10.1.0.1}]",
        "resolution: STATIC, endpoints: [{address: 10.1.0.1, ports: {http: 9}}, {address: 10.1.0.2}]",
        "resolution: DNS",
        "resolution: DNS, endpoints: [{address: name.example}, {address: other.example}]",
        "resolution: DNS_ROUND_ROBIN, endpoints: [{address: name.example}]",
        "resolution: STATIC, workloadSelector: {labels: {app: a}}",
        "resolution: NONE",
    ]);
    let export = one_of(&["", "", "exportTo: ['.'], "]);
    (namespace(), one_of(&["e1", "e2"]), hosts, members, export).prop_map(
        |(namespace, name, hosts, members, export)| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: \
                 {namespace}}}\nspec: {{hosts: {hosts}, {export}{members}, ports: [{{number: 80, name: http, \
                 protocol: HTTP}}]}}"
            )
        },
    )
}

fn destination_rule() -> impl Strategy<Value = String> {
    let host = one_of(&["a", "a", "a", "b", "x.ext", "x.ext", "'*.ext'", "'*.app.svc.cluster.local'", "'*'"]);
    let policy = one_of(&[
        "",
        "trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}, ",
        "trafficPolicy: {loadBalancer: {simple: RANDOM}, tls: {mode: SIMPLE}}, ",
        "trafficPolicy: {connectionPool: {tcp: {idleTimeout: 5s, maxConnections: 3}}}, ",
        "trafficPolicy: {outlierDetection: {minHealthPercent: 10}}, ",
        "trafficPolicy: {tunnel: {protocol: CONNECT, targetHost: t, targetPort: 9}}, ",
        "workloadSelector: {matchLabels: {istio: ingressgateway}}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}, ",
    ]);
    let subsets = one_of(&[
        "",
        "subsets: [{name: s, labels: {app: a}}], ",
        "subsets: [{name: s}, {name: t, labels: {version: v2}}], ",
    ]);
    let export = one_of(&["", "", "exportTo: ['.'], ", "exportTo: [istio-system], "]);
    (namespace(), one_of(&["r1", "r2", "r3"]), host, policy, subsets, export).prop_map(
        |(namespace, name, host, policy, subsets, export)| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: \
                 {namespace}}}\nspec: {{{export}{policy}{subsets}host: {host}}}"
            )
        },
    )
}

/// What everything depends on.
fn fundamental() -> impl Strategy<Value = String> {
    let hosts = one_of(&["['*']", "['*.com']", "[a.com, 'app/b.com']"]);
    let tls = one_of(&["", ", tls: {httpsRedirect: true}"]);
    let gateway = (one_of(&["gw", "second"]), hosts, tls).prop_map(|(name, hosts, tls)| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: \
             istio-system}}\nspec: {{servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: {hosts}{tls}}}]}}"
        )
    });
    let mesh = one_of(&[
        "{defaultHttpRetryPolicy: {attempts: 4}}",
        "{defaultVirtualServiceExportTo: ['.']}",
        "{h2UpgradePolicy: UPGRADE, dnsRefreshRate: 7s}",
        "{defaultDestinationRuleExportTo: ['.'], trustDomainAliases: [td]}",
    ]);
    let mesh = mesh.prop_map(|spec| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: '{}'}}", spec.replace('\'', "''")));
    let secret = one_of(&["x", "y"]).prop_map(|text| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: istio-system}}\nstringData: {{tls.crt: {text}, tls.key: {text}}}")
    });
    prop_oneof![3 => gateway, 1 => mesh, 1 => secret]
}

pub(crate) fn object() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => virtual_service(),
        3 => delegate(),
        5 => service(),
        5 => endpoints(),
        3 => workload(),
        3 => service_entry(),
        4 => destination_rule(),
        1 => fundamental(),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(&Kind::ALL[..]);
    prop_oneof![
        12 => prop::collection::vec(object(), 1..4).prop_map(Step::Put),
        5 => (kind, any::<prop::sample::Index>()).prop_map(|(kind, at)| Step::Remove(kind, at)),
        1 => Just(Step::Reread),
        1 => (0..3_u8).prop_map(Step::Answer),
        1 => (0..3_u8).prop_map(Step::World),
    ]
}
