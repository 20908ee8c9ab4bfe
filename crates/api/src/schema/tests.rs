//! What the schema says about the types.

use super::*;

fn find(kind: Kind, path: &str) -> &'static FieldInfo {
    fields(kind).iter().find(|field| field.path == path).unwrap_or_else(|| panic!("{path} of {kind:?}"))
}

#[test]
fn fields_have_paths_types_and_docs() {
    let mode = find(Kind::Gateway, "spec.servers[].tls.mode");
    assert_eq!(
        mode.type_name,
        "one of PASSTHROUGH, SIMPLE, MUTUAL, AUTO_PASSTHROUGH, ISTIO_MUTUAL, OPTIONAL_MUTUAL"
    );
    assert!(mode.doc.starts_with("Whether TLS is terminated here"), "{}", mode.doc);
    assert!(!mode.required);
    assert_eq!(find(Kind::VirtualService, "spec.http[].timeout").type_name, "duration");
    assert_eq!(find(Kind::VirtualService, "spec.http[].match[].headers.*.exact").type_name, "string");
    assert_eq!(find(Kind::VirtualService, "spec.http[].directResponse.body.bytes").type_name, "base64");
    assert!(find(Kind::VirtualService, "spec.http[].route[].destination.host").required);
    assert_eq!(find(Kind::EndpointSlice, "endpoints[].addresses").type_name, "list of string");
    assert_eq!(find(Kind::Service, "spec.ports[].targetPort").type_name, "integer or string");
}

#[test]
fn every_field_is_documented() {
    for kind in Kind::ALL {
        for field in fields(kind) {
            assert!(!field.doc.is_empty(), "{kind:?} {}", field.path);
        }
    }
}

/// Whatever the schema calls structural must be so for the API server: a type everywhere or an explicit opt-out, no
/// references, no keywords it refuses.
#[test]
fn definitions_are_structural() {
    fn check(schema: &Value, path: &str) {
        let object = schema.as_object().unwrap_or_else(|| panic!("{path} is no object"));
        for key in object.keys() {
            let known = [
                "type",
                "properties",
                "items",
                "additionalProperties",
                "required",
                "enum",
                "format",
                "minimum",
                "maximum",
                "minItems",
                "maxItems",
                "maxLength",
                "maxProperties",
                "oneOf",
                "allOf",
                "description",
                "nullable",
            ];
            assert!(known.contains(&key.as_str()) || key.starts_with("x-kubernetes-"), "{path}: {key}");
        }
        assert!(object["type"].is_string(), "{path}");
        if let Some(properties) = object.get("properties") {
            for (name, child) in properties.as_object().unwrap() {
                check(child, &format!("{path}.{name}"));
            }
        }
        for key in ["items", "additionalProperties"] {
            if let Some(child) = object.get(key) {
                check(child, &format!("{path}.{key}"));
            }
        }
    }
    let crds = crds();
    assert_eq!(crds.len(), 5);
    for crd in crds {
        let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
        let versions = crd["spec"]["versions"].as_array().unwrap();
        assert_eq!(versions.iter().filter(|version| version["storage"] == true).count(), 1, "{name}");
        for version in versions {
            check(&version["schema"]["openAPIV3Schema"], &name);
        }
    }
}

#[test]
fn definitions_have_the_names_of_istio() {
    let short: Vec<_> = crds()
        .iter()
        .map(|crd| {
            let names = &crd["spec"]["names"];
            format!("{} {} {}", names["plural"], names["singular"], names["shortNames"][0]).replace('"', "")
        })
        .collect();
    assert_eq!(
        short,
        [
            "gateways gateway gw",
            "virtualservices virtualservice vs",
            "destinationrules destinationrule dr",
            "serviceentries serviceentry se",
            "workloadentries workloadentry we",
        ]
    );
    assert_eq!(crds()[0]["spec"]["versions"][0]["name"], "v1");
}

/// Istio's schema of mid-2026, counted: a field that gets lost by accident is missed here.
#[test]
fn no_field_is_missing() {
    for (kind, count) in [
        (Kind::Gateway, 33),
        (Kind::VirtualService, 168),
        (Kind::DestinationRule, 387),
        (Kind::ServiceEntry, 21),
        (Kind::WorkloadEntry, 7),
    ] {
        assert_eq!(fields(kind).len(), count, "{kind:?}");
    }
}

/// Every expression of the definitions has its function: one that had none would only be checked in a cluster.
#[test]
fn every_rule_is_checked_here_too() {
    fn check(schema: &Value, found: &mut usize) {
        if let Some(Value::Array(written)) = schema.get("x-kubernetes-validations") {
            assert!(
                written.iter().all(|entry| rules::cel(entry["rule"].as_str().unwrap()).is_some()),
                "{written:?}"
            );
            *found += written.len();
        }
        match schema {
            Value::Object(object) => object.values().for_each(|child| check(child, found)),
            Value::Array(items) => items.iter().for_each(|child| check(child, found)),
            _ => {}
        }
    }
    let mut found = 0;
    crds().iter().for_each(|crd| check(crd, &mut found));
    assert!(found > 100, "only {found} expressions");
}

/// The schema says what serde reads: an object with every field is read, and a wrong value in any one of them is
/// noticed, which it would not be if serde passed the field over.
#[test]
fn serde_reads_every_field_of_the_schema() {
    for kind in Kind::ALL {
        let full = sample(shape(kind));
        assert!(reads(kind, full.clone()), "{kind:?}: {full:#}");
        let mut pointers = Vec::new();
        typed_fields(shape(kind), String::new(), &mut pointers);
        for pointer in pointers {
            let mut broken = full.clone();
            let value = broken.pointer_mut(&pointer).expect("the sample has every field");
            *value = if value.is_boolean() { "x".into() } else { true.into() };
            assert!(!reads(kind, broken), "{kind:?} {pointer} is not read");
        }
    }
}

/// A value with everything in it, one item for each list and map.
fn sample(shape: &Shape) -> Value {
    match shape {
        Shape::Any => Value::Bool(true),
        Shape::Text | Shape::IntOrString => "x".into(),
        Shape::Enum(names) => names[0].as_str().into(),
        Shape::Duration => "5s".into(),
        Shape::Bytes => "aGk=".into(),
        Shape::Bool => true.into(),
        Shape::Int { .. } => 7.into(),
        Shape::Float => 1.5.into(),
        Shape::List(item) => Value::Array(vec![sample(item)]),
        Shape::Map(value) => serde_json::json!({ "k": sample(value) }),
        Shape::Ruled(shape, _) => sample(shape),
        Shape::Record(record) => {
            record.fields.iter().map(|(name, field)| (name.clone(), sample(&field.shape))).collect()
        }
    }
}

/// JSON pointers into a sample, to every field that has a type.
fn typed_fields(shape: &Shape, at: String, out: &mut Vec<String>) {
    match shape {
        Shape::Any => return,
        Shape::Ruled(shape, _) => return typed_fields(shape, at, out),
        Shape::List(item) => typed_fields(item, format!("{at}/0"), out),
        Shape::Map(value) => typed_fields(value, format!("{at}/k"), out),
        Shape::Record(record) => {
            for (name, field) in &record.fields {
                typed_fields(&field.shape, format!("{at}/{name}"), out);
            }
        }
        _ => {}
    }
    out.push(at);
}

fn reads(kind: Kind, value: Value) -> bool {
    fn as_type<T: serde::de::DeserializeOwned>(value: Value) -> bool {
        serde_json::from_value::<T>(value).is_ok()
    }
    match kind {
        Kind::Gateway => as_type::<GatewaySpec>(value),
        Kind::VirtualService => as_type::<VirtualServiceSpec>(value),
        Kind::DestinationRule => as_type::<DestinationRuleSpec>(value),
        Kind::ServiceEntry => as_type::<ServiceEntrySpec>(value),
        Kind::WorkloadEntry => as_type::<WorkloadEntrySpec>(value),
        Kind::MeshConfig => as_type::<MeshConfig>(value),
        Kind::Service => as_type::<ServiceSpec>(value),
        Kind::EndpointSlice => as_type::<EndpointSliceBody>(value),
        Kind::Endpoints => as_type::<EndpointsBody>(value),
        Kind::Secret => as_type::<SecretBody>(value),
        Kind::ConfigMap => as_type::<ConfigMapBody>(value),
        Kind::Namespace => as_type::<NamespaceBody>(value),
        Kind::Pod => as_type::<PodBody>(value),
        Kind::Ingress => as_type::<IngressSpec>(value),
        Kind::HttpRoute => as_type::<HttpRouteSpec>(value),
    }
}
