//! Where the rules stand: one function for each place of a type that has some, named in its `schemars` attribute.

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::rules::{self, ONE_OF};

/// A length of time of at least 1 ms.
pub(crate) fn at_least_1ms(schema: &mut Schema) {
    rules::add(object(schema), &[&rules::AT_LEAST_1MS]);
}

/// A port that may not be 0.
pub(crate) fn port(schema: &mut Schema) {
    rules::add(object(schema), &[&rules::PORT]);
}

/// One or two items.
pub(crate) fn one_or_two(schema: &mut Schema) {
    set(object(schema), &[("minItems", 1), ("maxItems", 2)]);
}

/// At least one item.
pub(crate) fn not_empty(schema: &mut Schema) {
    set(object(schema), &[("minItems", 1)]);
}

/// What a route test expects: one outcome, and something at all. (The rule on entries counts fields, too.)
pub(crate) fn expectation(schema: &mut Schema) {
    one_of(schema, &[&["destination", "weights", "redirect", "response", "error", "refused"]]);
    not_empty(schema);
}

/// A share in percent.
pub(crate) fn percent(schema: &mut Schema) {
    set(object(schema), &[("minimum", 0), ("maximum", 100)]);
}

/// A number that is not negative.
pub(crate) fn not_negative(schema: &mut Schema) {
    set(object(schema), &[("minimum", 0)]);
}

/// A positive number of 32 bits.
pub(crate) fn positive(schema: &mut Schema) {
    set(object(schema), &[("minimum", 1), ("maximum", u32::MAX.into())]);
}

/// Status codes.
pub(crate) fn statuses(schema: &mut Schema) {
    within(schema, "items", |item| set(item, &[("minimum", 100), ("maximum", 599)]));
}

/// Settings for single ports.
pub(crate) fn port_settings(schema: &mut Schema) {
    set(object(schema), &[("maxItems", 4096)]);
}

/// `LoadBalancerSettings`.
pub(crate) fn load_balancer(schema: &mut Schema) {
    one_of(schema, &[&["simple", "consistentHash", "backendUtilization"]]);
}

/// `ConsistentHash`.
pub(crate) fn consistent_hash(schema: &mut Schema) {
    let source = ["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"];
    one_of(schema, &[&source, &["ringHash", "maglev"]]);
}

/// `StringMatch`.
pub(crate) fn string_match(schema: &mut Schema) {
    one_of(schema, &[&["exact", "prefix", "regex"]]);
}

/// `HttpBody`.
pub(crate) fn body(schema: &mut Schema) {
    one_of(schema, &[&["string", "bytes"]]);
}

/// `Abort`.
pub(crate) fn abort(schema: &mut Schema) {
    one_of(schema, &[&["httpStatus", "grpcStatus", "http2Error"]]);
}

/// `Delay`.
pub(crate) fn delay(schema: &mut Schema) {
    one_of(schema, &[&["fixedDelay", "exponentialDelay"]]);
}

/// `HttpRedirect`.
pub(crate) fn redirect(schema: &mut Schema) {
    one_of(schema, &[&["port", "derivePort"]]);
}

/// `ServerTlsSettings`.
pub(crate) fn server_tls(schema: &mut Schema) {
    rules::add(object(schema), &[&rules::SECRETS_OR_FILES, &rules::ONE_CREDENTIAL_OR_SEVERAL]);
}

/// `matchLabels` of a workload selector.
pub(crate) fn match_labels(schema: &mut Schema) {
    let labels = object(schema);
    set(labels, &[("maxProperties", 4096)]);
    rules::add(labels, &[&rules::KEYS_WITHOUT_WILDCARD, &rules::KEYS_NOT_EMPTY]);
    within(schema, "additionalProperties", label_value);
}

/// `labels` of a ServiceEntry's workload selector.
pub(crate) fn selector_labels(schema: &mut Schema) {
    set(object(schema), &[("maxProperties", 256)]);
    within(schema, "additionalProperties", label_value);
}

fn label_value(value: &mut Map<String, Value>) {
    set(value, &[("maxLength", 63)]);
    rules::add(value, &[&rules::VALUE_WITHOUT_WILDCARD]);
}

/// `ServiceEntrySpec`.
pub(crate) fn service_entry(schema: &mut Schema) {
    let whole = [
        &rules::SELECTOR_OR_ENDPOINTS,
        &rules::BLOCKS_ARE_NOT_RESOLVED,
        &rules::NONE_HAS_NO_ENDPOINTS,
        &rules::ROUND_ROBIN_HAS_ONE_ENDPOINT,
    ];
    rules::add(object(schema), &whole);
}

/// Hosts of a ServiceEntry.
pub(crate) fn entry_hosts(schema: &mut Schema) {
    set(object(schema), &[("minItems", 1), ("maxItems", 256)]);
    within(schema, "items", |host| rules::add(host, &[&rules::NOT_EVERY_HOST]));
}

/// Addresses of a ServiceEntry.
pub(crate) fn entry_addresses(schema: &mut Schema) {
    set(object(schema), &[("maxItems", 256)]);
    within(schema, "items", |address| set(address, &[("maxLength", 64)]));
}

/// Ports of a ServiceEntry.
pub(crate) fn entry_ports(schema: &mut Schema) {
    let ports = object(schema);
    set(ports, &[("maxItems", 256)]);
    ports.insert("x-kubernetes-list-type".to_owned(), json!("map"));
    ports.insert("x-kubernetes-list-map-keys".to_owned(), json!(["name"]));
    rules::add(ports, &[&rules::NUMBERS_DIFFER]);
}

/// Endpoints of a ServiceEntry.
pub(crate) fn entry_endpoints(schema: &mut Schema) {
    set(object(schema), &[("maxItems", 4096)]);
}

/// Name or protocol of a ServiceEntry's port.
pub(crate) fn port_text(schema: &mut Schema) {
    set(object(schema), &[("maxLength", 256)]);
}

/// `WorkloadEntrySpec`.
pub(crate) fn workload(schema: &mut Schema) {
    rules::add(object(schema), &[&rules::ADDRESS_OR_NETWORK, &rules::SOCKET_WITHOUT_PORTS]);
}

/// Address of an endpoint.
pub(crate) fn address(schema: &mut Schema) {
    let address = object(schema);
    set(address, &[("maxLength", 256)]);
    rules::add(address, &[&rules::SOCKET_IS_ABSOLUTE, &rules::SOCKET_IS_NO_FOLDER]);
}

/// Ports of an endpoint by name.
pub(crate) fn endpoint_ports(schema: &mut Schema) {
    let ports = object(schema);
    set(ports, &[("maxProperties", 128)]);
    rules::add(ports, &[&rules::PORT_NAMES]);
    within(schema, "additionalProperties", |port| rules::add(port, &[&rules::PORT]));
}

/// Labels of an endpoint.
pub(crate) fn endpoint_labels(schema: &mut Schema) {
    set(object(schema), &[("maxProperties", 256)]);
}

/// Network or locality of an endpoint.
pub(crate) fn place(schema: &mut Schema) {
    set(object(schema), &[("maxLength", 2048)]);
}

/// Service account of an endpoint.
pub(crate) fn account(schema: &mut Schema) {
    set(object(schema), &[("maxLength", 253)]);
}

fn object(schema: &mut Schema) -> &mut Map<String, Value> {
    schema.ensure_object()
}

fn set(schema: &mut Map<String, Value>, bounds: &[(&str, u64)]) {
    schema.extend(bounds.iter().map(|(name, bound)| ((*name).to_owned(), json!(bound))));
}

/// Changes the schema of a list's items or a map's values.
fn within(schema: &mut Schema, child: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    if let Some(Value::Object(child)) = object(schema).get_mut(child) {
        change(child);
    }
}

fn one_of(schema: &mut Schema, groups: &[&[&str]]) {
    object(schema).insert(ONE_OF.to_owned(), json!(groups));
}
