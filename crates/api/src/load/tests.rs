//! Text to objects and findings.

use proptest::prelude::*;

use super::*;
use crate::finding::Severity;
use crate::meta::Timestamp;

const GATEWAY: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: edge}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
";

/// Each finding in one line: severity, code, line, object, field.
fn summary(text: &str) -> Vec<String> {
    load("t.yaml", text).findings.iter().map(line).collect()
}

fn line(finding: &Finding) -> String {
    let object = finding.object.as_ref().map(ToString::to_string).unwrap_or_default();
    let Finding { severity, code, line, field, .. } = finding;
    format!("{severity} {code} {line} {object} {field}").trim_end().to_owned()
}

fn names(text: &str) -> Vec<String> {
    load("t.yaml", text).objects.iter().map(|object| object.object_ref().to_string()).collect()
}

#[test]
fn an_object_knows_what_and_where_it_is() {
    let text = format!(
        "# first\n---\n{}",
        GATEWAY.replace(
            "namespace: edge",
            "labels: {a: b}, annotations: {c: d}, creationTimestamp: '1970-01-01T00:00:01Z', generation: 3, \
             resourceVersion: '7', uid: u"
        )
    );
    let loaded = load("dir/gw.yaml", &text);
    assert_eq!(loaded.findings, []);
    let [Object::Gateway(gateway)] = &loaded.objects[..] else { panic!("{loaded:?}") };
    assert_eq!(gateway.meta.name, "gw");
    assert_eq!(gateway.meta.namespace, "default");
    assert_eq!(gateway.meta.labels.get("a").map(String::as_str), Some("b"));
    assert_eq!(gateway.meta.annotations.get("c").map(String::as_str), Some("d"));
    assert_eq!(gateway.meta.creation_timestamp, Some(Timestamp { seconds: 1, nanos: 0 }));
    let identity = gateway.meta.identity.as_deref().expect("one was written");
    assert_eq!((identity.generation, identity.resource_version.as_deref()), (Some(3), Some("7")));
    assert_eq!(identity.uid.as_deref(), Some("u"));
    assert_eq!(&*gateway.origin.source, "dir/gw.yaml");
    assert_eq!((gateway.origin.document, gateway.origin.line), (0, 3));
    assert_eq!(gateway.spec.servers[0].port.number, 80);
    assert_eq!(gateway.spec.servers[0].hosts, ["*"]);
}

#[test]
fn all_three_versions_are_one_type() {
    for version in ["v1", "v1beta1", "v1alpha3"] {
        assert_eq!(
            names(&GATEWAY.replace("istio.io/v1", &format!("istio.io/{version}"))),
            ["Gateway edge/gw"]
        );
    }
}

#[test]
fn a_syntax_error_costs_one_document() {
    let text = format!("{GATEWAY}---\na: [1\n---\n{}", GATEWAY.replace("name: gw", "name: other"));
    assert_eq!(names(&text), ["Gateway edge/gw", "Gateway edge/other"]);
    let findings = load("t.yaml", &text).findings;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].code, Code::SyntaxError);
    assert!((9..=11).contains(&findings[0].line), "{findings:?}");
    assert!(findings[0].column > 0);
}

#[test]
fn unknown_fields_are_named_with_the_nearest() {
    let text = GATEWAY.replace("hosts", "host").replace("  servers", "  selectr: {}\n  servers");
    assert_eq!(
        summary(&text),
        [
            "error UnknownField 5 Gateway edge/gw spec.selectr",
            "error UnknownField 8 Gateway edge/gw spec.servers[0].host",
            "error MissingField 7 Gateway edge/gw spec.servers[0].hosts",
        ]
    );
    let remedies: Vec<_> = load("", &text).findings.into_iter().map(|finding| finding.remedy).collect();
    assert_eq!(remedies, ["did you mean selector?", "did you mean hosts?", ""]);

    let loaded = load("t.yaml", &format!("{GATEWAY}extra: 1\n"));
    assert_eq!(loaded.objects.len(), 1, "an unknown field does not cost the object");
    assert_eq!(
        loaded.findings.iter().map(line).collect::<Vec<_>>(),
        ["error UnknownField 8 Gateway edge/gw extra"]
    );
    assert_eq!(
        summary(&GATEWAY.replace("name: gw", "name: gw, lables: {}")),
        ["error UnknownField 3 Gateway edge/gw metadata.lables"]
    );
}

#[test]
fn wrong_types_are_all_named() {
    let text = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: a.example
  http:
  - timeout: 5
    match:
    - uri: {exact: 7}
      port: \"80\"
      headers: {x: null, y.z: {exact: yes}}
    retries: {attempts: 3000000000, perTryTimeout: soon}
    route:
    - destination: {host: a, port: {number: -1}}
    - weight: 1
    corsPolicy: {unmatchedPreflights: IGNOR}
    directResponse: {status: 1.5, body: {bytes: '%'}}
";
    let loaded = load("t.yaml", text);
    assert!(loaded.objects.is_empty());
    let found: Vec<_> = loaded.findings.iter().map(line).collect();
    assert_eq!(
        found,
        [
            "error WrongType 5 VirtualService default/vs spec.hosts",
            "error WrongType 7 VirtualService default/vs spec.http[0].timeout",
            "error WrongType 9 VirtualService default/vs spec.http[0].match[0].uri.exact",
            "error WrongType 10 VirtualService default/vs spec.http[0].match[0].port",
            "error WrongType 11 VirtualService default/vs spec.http[0].match[0].headers.x",
            "error WrongType 11 VirtualService default/vs spec.http[0].match[0].headers[\"y.z\"].exact",
            "error WrongType 12 VirtualService default/vs spec.http[0].retries.attempts",
            "error WrongType 12 VirtualService default/vs spec.http[0].retries.perTryTimeout",
            "error WrongType 14 VirtualService default/vs spec.http[0].route[0].destination.port.number",
            "error MissingField 15 VirtualService default/vs spec.http[0].route[1].destination",
            "error WrongType 16 VirtualService default/vs spec.http[0].corsPolicy.unmatchedPreflights",
            "error WrongType 17 VirtualService default/vs spec.http[0].directResponse.status",
            "error WrongType 17 VirtualService default/vs spec.http[0].directResponse.body.bytes",
        ]
    );
    let message =
        |index: usize| format!("{} | {}", loaded.findings[index].message, loaded.findings[index].remedy);
    assert_eq!(
        message(0),
        "expected a list of string, found a string | write it as a list item, after a dash"
    );
    assert_eq!(
        message(3),
        "expected an integer from 0 to 4294967295, found a string | write it without quotes"
    );
    assert_eq!(
        message(5),
        "expected a string, found a boolean | put it in quotes: yes, no, on, off, y and n are booleans without them"
    );
    assert_eq!(
        message(10),
        "expected one of UNSPECIFIED, FORWARD, IGNORE, found \"IGNOR\" | did you mean IGNORE?"
    );
}

#[test]
fn a_finding_reads_as_one_line() {
    let text = GATEWAY.replace("number: 80", "number: http");
    assert_eq!(
        load("gw.yaml", &text).findings[0].to_string(),
        "gw.yaml:6:20: error: Gateway edge/gw: spec.servers[0].port.number: expected an integer from 0 to \
         4294967295, found a string; write it without quotes"
    );
}

#[test]
fn null_is_tolerated_where_the_api_server_tolerates_it() {
    let gateway = |tls: &str| format!("{GATEWAY}    tls: {tls}\n");
    assert_eq!(summary(&gateway("{insecureSkipVerify: null}")), [""; 0]);
    assert_eq!(summary(&gateway("null")), ["error WrongType 8 Gateway edge/gw spec.servers[0].tls"]);
    assert_eq!(
        summary(
            "apiVersion: v1\nkind: Service\nmetadata: {name: s, creationTimestamp: null}\nspec: {selector: }\nstatus: null"
        ),
        [""; 0]
    );
}

#[test]
fn duplicate_keys_are_errors() {
    let text = format!("{GATEWAY}    name: a\n    name: b\n");
    assert_eq!(summary(&text), ["error DuplicateKey 9 Gateway edge/gw spec.servers[0].name"]);
    assert!(names(&text).is_empty());
    assert_eq!(summary(&format!("{GATEWAY}kind: Gateway\n")), ["error DuplicateKey 8 Gateway edge/gw kind"]);
}

#[test]
fn kinds_that_are_not_read_are_said_so() {
    let policy =
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {foo: 1}\n";
    let loaded = load("t.yaml", policy);
    assert_eq!(loaded.findings[0].severity, Severity::Info);
    assert_eq!(line(&loaded.findings[0]), "info UnsupportedKind 2 AuthorizationPolicy default/p");
    let [Object::Unsupported(object)] = &loaded.objects[..] else { panic!("{loaded:?}") };
    assert_eq!((&*object.kind, object.api_version.as_str()), ("AuthorizationPolicy", "security.istio.io/v1"));
    assert_eq!(object.meta.name, "p");

    assert_eq!(
        summary(&GATEWAY.replace("networking.istio.io/v1", "gateway.networking.k8s.io/v1")),
        ["info UnsupportedKind 2 Gateway edge/gw"]
    );
}

/// Of HTTPRoutes only those of cert-manager's solvers are read, in every version.
#[test]
fn a_route_of_the_gateway_api_is_read_where_it_is_a_solver_s() {
    let route = |version: &str, labels: &str| {
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/{version}\nkind: HTTPRoute\nmetadata: {{name: r, labels: {{{labels}}}}}\nspec: {{rules: [{{filters: []}}]}}\n"
        );
        load("a.yaml", &text)
    };
    for version in ["v1", "v1beta1", "v1alpha2"] {
        let other = route(version, "");
        assert!(matches!(other.objects[0], Object::Unsupported(_)));
        assert_eq!(line(&other.findings[0]), "info UnsupportedKind 2 HTTPRoute default/r");
    }
    for version in ["v1", "v1beta1"] {
        let solver = route(version, "acme.cert-manager.io/http01-solver: 'true'");
        assert!(matches!(solver.objects[0], Object::HttpRoute(_)));
    }
}

#[test]
fn a_known_kind_in_a_wrong_version_is_an_error() {
    let text = GATEWAY.replace("istio.io/v1", "istio.io/v2");
    assert_eq!(summary(&text), ["error WrongVersion 1 Gateway edge/gw apiVersion"]);
    assert_eq!(
        load("", &text).findings[0].remedy,
        "write networking.istio.io/v1 or networking.istio.io/v1beta1 or networking.istio.io/v1alpha3"
    );
}

#[test]
fn what_is_no_object_is_said_so() {
    for (text, expected) in [
        ("a: 1\n", "error NotAnObject 1"),
        ("just text\n", "error NotAnObject 1"),
        ("- a\n", "error NotAnObject 1"),
        ("kind: Service\nmetadata: {name: s}\nspec: {}\n", "info UnsupportedKind 1 Service default/s"),
    ] {
        let found = summary(text);
        // A core kind without apiVersion has the core group, but no version.
        let found =
            found[0].replace("error WrongVersion 1", "info UnsupportedKind 1").replace(" apiVersion", "");
        assert_eq!(found, expected, "{text}");
    }
    assert_eq!(
        summary(&GATEWAY.replace("name: gw, ", "")),
        ["error MissingName 1 Gateway edge/ metadata.name"]
    );
    assert_eq!(
        summary("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n"),
        ["error MissingField 1 Gateway default/g spec"]
    );
}

#[test]
fn empty_documents_are_nothing() {
    for text in ["", "# remark\n", "---\n---\n# remark\n---\n", "null\n", "---\n~\n"] {
        assert_eq!(load("t", text), Loaded::default(), "{text:?}");
    }
}

#[test]
fn lists_are_flattened() {
    let item = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}";
    assert_eq!(
        names(&format!("apiVersion: v1\nkind: List\nitems:\n- {item}\n- {item}\n")),
        ["Namespace a", "Namespace a"]
    );
    assert_eq!(
        names("apiVersion: v1\nkind: NamespaceList\nmetadata: {}\nitems:\n- metadata: {name: a}\n"),
        ["Namespace a"]
    );
    let nested = format!("{{kind: List, items: [{item}]}}");
    assert_eq!(names(&format!("kind: List\nitems: [{nested}, {nested}]\n")).len(), 2);
}

#[test]
fn json_is_read_too() {
    let value = node::Node::from_value(serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"},
        "data": {"tls.key": "aGk="}, "stringData": {"a": "b"}, "type": "kubernetes.io/tls",
    }))
    .into_value();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    for loaded in [load("s.json", &pretty), from_json_value("cluster", value)] {
        assert_eq!(loaded.findings, []);
        let [Object::Secret(secret)] = &loaded.objects[..] else { panic!("{loaded:?}") };
        assert_eq!(secret.spec.value("tls.key"), Some(&b"hi"[..]));
        assert_eq!(secret.spec.value("a"), Some(&b"b"[..]));
        assert_eq!(secret.spec.value("b"), None);
    }
}

#[test]
fn a_secret_never_shows_its_values() {
    let good =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: c2VjcmV0}\nstringData: {t: secret}\n";
    let shown = format!("{:?}", load("t", good));
    assert!(!shown.contains("secret\"") && !shown.contains("c2VjcmV0"), "{shown}");
    for bad in [
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: hunter2!}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: hunter2!\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: [hunter2!]}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nimmutable: hunter2!\n",
    ] {
        let loaded = load("t", bad);
        assert_eq!(loaded.findings[0].code, Code::WrongType);
        assert!(!format!("{loaded:?}").contains("hunter2"), "{loaded:?}");
    }
}

#[test]
fn mesh_settings_are_read_alone_and_in_their_config_map() {
    let alone =
        "kind: MeshConfig\ndefaultConfig: {gatewayTopology: {num_trusted_proxies: 2}}\nrootNamespace: null\n";
    let inside = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    defaultConfig:\n      gatewayTopology: {numTrustedProxies: 2}\n    trustDomian: x\n";
    for text in [alone, inside] {
        let loaded = load("t.yaml", text);
        let Some(Object::Mesh(mesh)) = loaded.objects.last() else { panic!("{loaded:?}") };
        let topology = mesh.spec.default_config.as_ref().and_then(|config| config.gateway_topology.as_ref());
        assert_eq!(topology.and_then(|topology| topology.num_trusted_proxies), Some(2));
        assert_eq!((mesh.meta.name.as_str(), mesh.meta.namespace.as_str()), ("istio", "istio-system"));
    }
    assert_eq!(summary(alone), [""; 0]);
    assert_eq!(
        summary(inside),
        ["warning UnknownField 8 ConfigMap istio-system/istio data.mesh.trustDomian"]
    );
    assert_eq!(load("t", inside).objects.len(), 2, "the ConfigMap itself is given out as well");
    assert_eq!(
        summary(&inside.replace("trustDomian: x", "a: b: c")),
        ["error SyntaxError 8 ConfigMap istio-system/istio data.mesh"]
    );
    assert_eq!(load("t", &inside.replace("name: istio,", "name: other,")).objects.len(), 1);
}

#[test]
fn conditions_of_a_workload_entry_are_kept() {
    let text = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\nspec: {address: 10.0.0.1}\nstatus: {conditions: [{type: Healthy, status: 'False'}, 7]}\n";
    let loaded = load("t", text);
    assert_eq!(loaded.findings, []);
    let [Object::WorkloadEntry(entry)] = &loaded.objects[..] else { panic!("{loaded:?}") };
    assert_eq!(entry.conditions, [crate::Condition { kind: "Healthy".into(), status: "False".into() }]);
}

#[test]
fn unread_fields_of_pods_are_not_judged() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [], nodeName: node}\nstatus: {podIP: 10.0.0.1, qosClass: x}\n";
    let loaded = load("t", text);
    assert_eq!(loaded.findings, []);
    let [Object::Pod(pod)] = &loaded.objects[..] else { panic!("{loaded:?}") };
    assert_eq!(pod.spec.status.as_ref().and_then(|status| status.pod_ip.as_deref()), Some("10.0.0.1"));
}

#[test]
fn a_string_match_tells_empty_from_absent() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {http: [{match: [{uri: {}, headers: {a: {}, b: {exact: ''}}}]}]}\n";
    let loaded = load("t", text);
    let [Object::VirtualService(service)] = &loaded.objects[..] else { panic!("{loaded:?}") };
    let condition = &service.spec.http[0].matches[0];
    assert!(condition.uri.as_ref().is_some_and(crate::wire::StringMatch::is_empty));
    assert!(condition.scheme.is_none());
    assert!(condition.headers.get("a").is_some_and(crate::wire::StringMatch::is_empty));
    assert!(condition.headers.get("b").is_some_and(|matched| !matched.is_empty()));
}

#[test]
fn findings_are_bounded() {
    let mut text = String::from("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n");
    for index in 0..MAX_FINDINGS + 10 {
        text.push_str(&format!("  k{index}: 1\n"));
    }
    let loaded = load("t", &text);
    assert!(loaded.objects.is_empty());
    assert_eq!(loaded.findings.len(), MAX_FINDINGS + 1);
    assert_eq!(loaded.findings[MAX_FINDINGS].message, "10 more findings are not shown");
}

#[test]
fn the_size_of_a_text_is_bounded() {
    let text = " ".repeat(MAX_SOURCE_BYTES + 1);
    assert_eq!(summary(&text), ["error TooLarge 0"]);
}

/// Words and marks of YAML in any order: far more likely to reach the parser's corners than random characters.
fn yaml_soup() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a",
        "kind",
        "Gateway",
        "apiVersion",
        "networking.istio.io/v1",
        "metadata",
        "name",
        "spec",
        "servers",
        ": ",
        ":\n",
        "- ",
        "-\n",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x ",
        "<<: *x",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "#",
        "? ",
        "!!str ",
        "!t ",
        "%YAML 1.2\n",
        "---\n",
        "\n---\n",
        "...\n",
        "\t",
        "\r\n",
        "80",
        "yes",
        "~",
        "\u{feff}",
        "\u{85}",
        "é",
        "\0",
    ]);
    prop::collection::vec(word, 0..120).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}|[\\x00-\\x7f]{0,200}") {
        load("t", &text);
    }

    #[test]
    fn any_yaml_is_survived(text in yaml_soup()) {
        load("t", &text);
    }

    #[test]
    fn any_change_to_an_object_is_survived(at in 0..GATEWAY.len(), cut in 0_usize..9, put in yaml_soup()) {
        let end = (at + cut).min(GATEWAY.len());
        load("t", &format!("{}{put}{}", &GATEWAY[..at], &GATEWAY[end..]));
    }

    #[test]
    fn every_document_is_read_on_its_own(soup in yaml_soup()) {
        let soup = soup.replace('\n', "\n ");
        let text = format!("{GATEWAY}\n---\n {soup}\n---\n{GATEWAY}");
        let loaded = load("t", &text);
        prop_assert!(loaded.objects.len() >= 2, "{loaded:?}");
    }
}
