//! Names, labels and annotations.

use super::compare;

#[test]
fn what_every_object_has() {
    let text = |meta: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {meta}\nspec: {{host: a.com}}\n"
        )
    };
    let long = format!("{{name: {}, namespace: ns}}", "a".repeat(254));
    let large = format!("{{name: a, namespace: ns, annotations: {{a: {}}}}}", "x".repeat(256 << 10));
    compare(
        [
            ("{name: a.b-c, namespace: ns}", ""),
            ("{name: A, namespace: ns}", "!metadata.name"),
            (&long, "!metadata.name"),
            ("{name: a, namespace: n.m}", "!metadata.namespace"),
            ("{name: a, namespace: ns, labels: {a.b/c-d: e_f}}", ""),
            ("{name: a, namespace: ns, labels: {-a: b}}", "!metadata.labels.-a"),
            ("{name: a, namespace: ns, labels: {a: b c}}", "!metadata.labels.a"),
            ("{name: a, namespace: ns, annotations: {A.b/c: anything at all}}", ""),
            ("{name: a, namespace: ns, annotations: {a b: c}}", "!metadata.annotations[\"a b\"]"),
            (&large, "!metadata.annotations"),
            (
                "{name: a, namespace: ns, annotations: {internal.istio.io/parents: b}}",
                "!metadata.annotations[\"internal.istio.io/parents\"]",
            ),
            (
                "{name: a, namespace: ns, annotations: {istio.io/dry-run: 'true'}}",
                "!metadata.annotations[\"istio.io/dry-run\"]",
            ),
        ]
        .map(|(meta, expected)| (meta, text(meta), expected)),
    );
}

#[test]
fn a_gateway_is_named_like_a_label() {
    let text = |meta: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {meta}\nspec: {{servers: \
             [{{port: {{number: 80, name: a, protocol: HTTP}}, hosts: [a.com]}}]}}\n"
        )
    };
    compare(
        [
            ("{name: a, namespace: ns}", ""),
            ("{name: a.b, namespace: ns}", "!metadata.name"),
            ("{name: a.b, namespace: ns, annotations: {internal.istio.io/gateway-semantics: gateway}}", ""),
        ]
        .map(|(meta, expected)| (meta, text(meta), expected)),
    );
}
