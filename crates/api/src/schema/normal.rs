//! From what schemars writes to what Kubernetes calls a structural schema.

use serde_json::{Map, Value, json};

/// Rewrites a schema in place: no `null` among the types, enums as one list, bounds instead of formats that
/// Kubernetes does not know. Descriptions stay.
pub(super) fn normalize(schema: &mut Value) {
    if schema.is_boolean() {
        *schema = json!({ "x-kubernetes-preserve-unknown-fields": true });
    }
    let Some(object) = schema.as_object_mut() else { return };
    for unwanted in ["title", "default", "$schema"] {
        object.remove(unwanted);
    }
    unwrap_optional(object);
    gather_enum(object);
    single_type(object);
    bound_integers(object);
    if !object.contains_key("type") && !object.keys().any(|key| key.starts_with("x-kubernetes-")) {
        object.insert("x-kubernetes-preserve-unknown-fields".into(), Value::Bool(true));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = object.get_mut(key) {
            normalize(child);
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(normalize);
    }
}

/// `anyOf: [T, null]` is an optional T; the outer description is the field's, and wins over the type's.
fn unwrap_optional(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.remove("anyOf") else { return };
    let Some(Value::Object(inner)) = choices.into_iter().find(|choice| choice["type"] != "null") else {
        return;
    };
    for (key, value) in inner {
        object.entry(key).or_insert(value);
    }
}

/// A list of constants, documented one by one or not, becomes one `enum`.
fn gather_enum(object: &mut Map<String, Value>) {
    if let Some(Value::Array(choices)) = object.remove("oneOf") {
        let names = choices.iter().flat_map(|choice| match choice.get("enum") {
            Some(Value::Array(names)) => names.clone(),
            _ => choice.get("const").cloned().into_iter().collect(),
        });
        object.insert("enum".into(), names.collect());
        object.insert("type".into(), "string".into());
    }
    if let Some(Value::Array(names)) = object.get_mut("enum") {
        names.retain(|name| !name.is_null());
    }
}

fn single_type(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get("type") {
        let only = types.iter().find(|name| *name != "null").cloned().unwrap_or(Value::Null);
        object.insert("type".into(), only);
    }
}

fn bound_integers(object: &mut Map<String, Value>) {
    let maximum = match object.get("format").and_then(Value::as_str) {
        Some("uint32") => Some(u32::MAX),
        Some("uint64") => None,
        _ => return,
    };
    object.remove("format");
    for (name, bound) in [("minimum", Some(0)), ("maximum", maximum)] {
        if let Some(bound) = bound {
            let narrower = object.get(name).and_then(Value::as_u64);
            object.insert(name.into(), narrower.unwrap_or(bound.into()).into());
        }
    }
}
