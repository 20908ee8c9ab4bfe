//! Services, endpoints, rules and credentials thrown together at random: compiling never panics, and never depends
//! on the order of its input.

use portcullis_api::Object;
use portcullis_compile::{Environment, Objects, compile};
use proptest::prelude::*;

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(texts)
}

fn namespace() -> impl Strategy<Value = &'static str> {
    one_of(&["app", "istio-system"])
}

fn name() -> impl Strategy<Value = &'static str> {
    one_of(&["a", "b", "a-cacert"])
}

fn host() -> impl Strategy<Value = &'static str> {
    one_of(&[
        "a",
        "b.app.svc.cluster.local",
        "x.ext",
        "*.ext",
        "*",
        "",
        "10.0.0.1",
        "*.app.svc.cluster.local",
        "é.ext",
    ])
}

fn address() -> impl Strategy<Value = &'static str> {
    one_of(&[
        "10.0.0.1",
        "10.0.0.2",
        "fd00::1",
        "a.example.com",
        "",
        "unix:///run/x",
        "unix://@x",
        "300.1.1.1",
        ".",
    ])
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        Just(-1),
        Just(1),
        Just(80),
        Just(65_535),
        Just(65_536),
        Just(i64::from(i32::MAX)),
        0..200_i64
    ]
}

fn duration() -> impl Strategy<Value = &'static str> {
    one_of(&["0s", "1ms", "5s", "-3s", "2540400h"])
}

fn export() -> impl Strategy<Value = &'static str> {
    one_of(&[
        "",
        "exportTo: ['.'],",
        "exportTo: ['*'],",
        "exportTo: [app, '~'],",
        "exportTo: [istio-system],",
    ])
}

fn service() -> impl Strategy<Value = String> {
    let kind =
        one_of(&["", "type: ExternalName, externalName: a,", "type: ExternalName,", "selector: {app: a},"]);
    let port = one_of(&["http", "grpc-web-", "tcp", "\"\"", "é-x"]);
    let annotation = one_of(&["", ", annotations: {networking.istio.io/exportTo: '., x ,,'}"]);
    (namespace(), name(), kind, port, number(), annotation).prop_map(
        |(namespace, name, kind, port, number, annotation)| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}{annotation}}}\nspec: \
                 {{{kind} ports: [{{name: {port}, port: {number}, targetPort: {number}}}, {{name: x, port: 81}}]}}"
            )
        },
    )
}

fn slice() -> impl Strategy<Value = String> {
    let target = one_of(&["", ", targetRef: {kind: Pod, name: a}", ", targetRef: {kind: Pod}"]);
    let conditions = one_of(&["{}", "{ready: false}", "{ready: false, terminating: false}"]);
    (namespace(), name(), address(), number(), target, conditions).prop_map(
        |(namespace, name, address, port, target, conditions)| {
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: \
                 {namespace}, labels: {{kubernetes.io/service-name: a}}}}\naddressType: IPv4\nports: [{{name: http, \
                 port: {port}}}]\nendpoints: [{{addresses: ['{address}'], conditions: {conditions}{target}}}]"
            )
        },
    )
}

fn pod() -> impl Strategy<Value = String> {
    (namespace(), name(), address()).prop_map(|(namespace, name, address)| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: a, \
             pod-template-hash: '-', istio-locality: '..'}}}}\nstatus: {{podIP: '{address}'}}"
        )
    })
}

fn service_entry() -> impl Strategy<Value = String> {
    let resolution = one_of(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]);
    let members = (address(), number()).prop_map(|(address, weight)| {
        let weight = weight.max(0);
        format!("endpoints: [{{address: '{address}', weight: {weight}, ports: {{http: {weight}}}}}]")
    });
    let members = prop_oneof![Just("workloadSelector: {labels: {app: a}}".to_owned()), members];
    (namespace(), name(), host(), resolution, members, number(), export()).prop_map(
        |(namespace, name, host, resolution, members, port, export)| {
            let port = port.max(0);
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: \
                 {namespace}}}\nspec: {{hosts: ['{host}', one.ext], resolution: {resolution}, {export} ports: \
                 [{{number: {port}, name: http, protocol: HTTP, targetPort: {port}}}], {members}}}"
            )
        },
    )
}

fn workload_entry() -> impl Strategy<Value = String> {
    (namespace(), name(), address()).prop_map(|(namespace, name, address)| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: \
             {namespace}}}\nspec: {{address: '{address}', labels: {{app: a}}}}"
        )
    })
}

fn policy() -> impl Strategy<Value = String> {
    let balancer = prop_oneof![
        one_of(&[
            "simple: PASSTHROUGH",
            "simple: RANDOM",
            "consistentHash: {}",
            "consistentHash: {maglev: {}}"
        ])
        .prop_map(str::to_owned),
        number().prop_map(|size| format!("consistentHash: {{maglev: {{tableSize: {}}}}}", size.max(0))),
        duration().prop_map(|ttl| format!("consistentHash: {{httpCookie: {{name: '', ttl: {ttl}}}}}")),
    ];
    let tls = one_of(&[
        "mode: SIMPLE, credentialName: a",
        "mode: MUTUAL, credentialName: 'kubernetes://b', sni: 'not a name'",
        "mode: MUTUAL, credentialName: app/a",
        "mode: ISTIO_MUTUAL",
        "mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: ['', '*.x']",
        "mode: SIMPLE, credentialName: '-cacert'",
        "credentialName: a",
    ]);
    (balancer, tls, number(), duration()).prop_map(|(balancer, tls, number, duration)| {
        let number = number.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        format!(
            "loadBalancer: {{{balancer}}}, tls: {{{tls}}}, connectionPool: {{tcp: {{maxConnections: {number}, \
             connectTimeout: {duration}, idleTimeout: {duration}}}, http: {{maxRetries: {number}, idleTimeout: \
             {duration}}}}}, outlierDetection: {{interval: {duration}, baseEjectionTime: {duration}, \
             maxEjectionPercent: {number}, minHealthPercent: {number}}}"
        )
    })
}

fn destination_rule() -> impl Strategy<Value = String> {
    let selector = one_of(&["", "workloadSelector: {matchLabels: {istio: ingressgateway}},"]);
    (namespace(), name(), host(), policy(), policy(), export(), selector).prop_map(
        |(namespace, name, host, policy, port, export, selector)| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: \
                 {namespace}}}\nspec: {{host: '{host}', {export} {selector} trafficPolicy: {{{policy}, \
                 portLevelSettings: [{{port: {{number: 81}}, {port}}}]}}, subsets: [{{name: s, labels: {{app: a}}}}, \
                 {{name: s, trafficPolicy: {{{port}}}}}, {{name: ''}}]}}"
            )
        },
    )
}

fn secret() -> impl Strategy<Value = String> {
    let content = one_of(&[
        "tls.crt: x, tls.key: y, ca.crt: z",
        "cert: '', key: ''",
        "cacert: '-----BEGIN CERTIFICATE-----'",
        "tls.crt: \"-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\\n\", tls.key: k",
        "ca.crt: \"-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\\n\", ca.crl: '-'",
    ]);
    (namespace(), name(), content).prop_map(|(namespace, name, content)| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData: {{{content}}}")
    })
}

fn gateway() -> impl Strategy<Value = String> {
    let tls = one_of(&[
        "mode: SIMPLE, credentialName: a",
        "mode: MUTUAL, credentialNames: [a, b], subjectAltNames: [x]",
        "mode: OPTIONAL_MUTUAL, credentialName: a, caCertCredentialName: 'configmap://x/'",
        "mode: MUTUAL, credentialName: b, verifyCertificateHash: ['é', ':'], verifyCertificateSpki: ['=']",
        "mode: SIMPLE, credentialName: '', minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_0",
        "mode: SIMPLE, credentialName: a, cipherSuites: [AES128-SHA, x, x]",
    ]);
    (namespace(), name(), tls).prop_map(|(namespace, name, tls)| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: \
             {namespace}}}\nspec: {{servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['*'], \
             tls: {{{tls}}}}}]}}"
        )
    })
}

fn route() -> impl Strategy<Value = String> {
    (namespace(), host(), one_of(&["", ", subset: s", ", subset: t", ", port: {number: 81}"])).prop_map(
        |(namespace, host, more)| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a, namespace: \
                 {namespace}}}\nspec: {{hosts: ['*'], gateways: [app/a, istio-system/a], http: [{{route: \
                 [{{destination: {{host: '{host}'{more}}}}}]}}]}}"
            )
        },
    )
}

fn object() -> impl Strategy<Value = String> {
    prop_oneof![
        service(),
        slice(),
        pod(),
        service_entry(),
        workload_entry(),
        destination_rule(),
        secret(),
        gateway(),
        route()
    ]
}

fn printed(objects: impl IntoIterator<Item = Object>) -> String {
    let mut environment = Environment::for_tests();
    let addresses = ["10.2.0.2", "10.2.0.1"].map(|text| text.parse().expect("an address"));
    environment.resolved.insert("a.example.com".to_owned(), addresses.to_vec());
    let compiled = compile(&objects.into_iter().collect::<Objects>(), &environment);
    let clusters: Vec<_> =
        compiled.snapshot.clusters.iter().map(|cluster| format!("{cluster:?}\n")).collect();
    let text = portcullis_snapshot::text::snapshot(&compiled.snapshot);
    format!("{text}{}{:#?}{:?}", clusters.concat(), compiled.diagnostics, compiled.wanted_names)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_objects_in_any_order(texts in prop::collection::vec(object(), 0..14)) {
        let loaded = portcullis_api::load("random.yaml", &texts.join("\n---\n"));
        let forwards = printed(loaded.objects.clone());
        let backwards = printed(loaded.objects.into_iter().rev());
        prop_assert_eq!(forwards, backwards);
    }

    #[test]
    fn clusters_are_sorted_and_unique(texts in prop::collection::vec(object(), 0..14)) {
        let loaded = portcullis_api::load("random.yaml", &texts.join("\n---\n"));
        let compiled = compile(&loaded.objects.into_iter().collect(), &Environment::for_tests());
        let names: Vec<_> = compiled.snapshot.clusters.iter().map(|cluster| &cluster.name).collect();
        prop_assert!(names.is_sorted_by(|one, other| one < other));
        for cluster in compiled.snapshot.clusters.iter() {
            let addresses: Vec<_> = cluster.endpoints.all.iter().map(|endpoint| &endpoint.address).collect();
            prop_assert!(addresses.is_sorted_by(|one, other| one < other));
            prop_assert!(cluster.endpoints.all.iter().all(|endpoint| endpoint.weight > 0));
        }
    }
}
