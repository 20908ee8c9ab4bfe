//! Header operations.

use bytes::Bytes;
use http::HeaderName;
use portcullis_api::Map;
use portcullis_api::networking::{HeaderOperations, Headers};
use portcullis_snapshot::action::{HeaderOperations as Operations, HeaderOps};
use portcullis_snapshot::template::{Template, TemplateError};

use crate::diagnostic::{Code, Reporter};

/// Operations on requests and on responses; `None` when one cannot be read.
pub(super) fn operations(
    headers: Option<&Headers>,
    reporter: &mut Reporter<'_, '_>,
) -> Option<(HeaderOps, HeaderOps)> {
    let Some(headers) = headers else { return Some(Default::default()) };
    let mut request = one_way(headers.request.as_ref(), &mut reporter.at("request"))?;
    let response = one_way(headers.response.as_ref(), &mut reporter.at("response"))?;
    // Only a request has an authority; of two operations on it, `set` counts.
    request.authority = headers.request.as_ref().and_then(|operations| {
        let authority = authority(&operations.set).or_else(|| authority(&operations.add))?;
        // Istio hands it on as it is: no operators here.
        Some(Template::Literal(Bytes::copy_from_slice(authority.as_bytes())))
    });
    Some((request.into(), response.into()))
}

fn one_way(operations: Option<&HeaderOperations>, reporter: &mut Reporter<'_, '_>) -> Option<Operations> {
    let Some(operations) = operations else { return Some(Operations::default()) };
    Some(Operations {
        remove: removed(&operations.remove, reporter)?,
        set: written(&operations.set, "set", reporter)?,
        add: written(&operations.add, "add", reporter)?,
        authority: None,
    })
}

fn authority(map: &Map<String>) -> Option<&str> {
    let found = map
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host"));
    found.map(|(_, value)| value.as_str()).find(|value| !value.is_empty())
}

/// Pseudo-headers and Host cannot be changed like others; Istio passes over them.
fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn removed(names: &[String], reporter: &mut Reporter<'_, '_>) -> Option<Vec<Box<str>>> {
    let names = names.iter().enumerate().filter(|(_, name)| !is_internal(name));
    let names = names.map(|(index, name)| {
        let field = format!("remove[{index}]");
        checked_name(name, &field, reporter).map(|name| name.as_str().into())
    });
    names.collect()
}

fn written(
    map: &Map<String>,
    operation: &str,
    reporter: &mut Reporter<'_, '_>,
) -> Option<Vec<(Bytes, Template)>> {
    let mut all = Vec::with_capacity(map.len());
    for (name, value) in map.iter().filter(|(name, _)| !is_internal(name)) {
        let field = format!("{operation}[{name:?}]");
        let name = checked_name(name, &field, reporter)?;
        let name = Bytes::copy_from_slice(name.as_str().as_bytes());
        match template(value, &field, reporter)? {
            Value::Known(template) => all.push((name, template)),
            Value::NotServed => {}
        }
    }
    Some(all)
}

fn checked_name(name: &str, field: &str, reporter: &mut Reporter<'_, '_>) -> Option<HeaderName> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Some(name),
        Err(_) => {
            reporter.refuse(field, format!("{name:?} is no header name"), "use letters, digits and hyphens")
        }
    }
}

/// A header's value.
enum Value {
    Known(Template),
    /// It asks for what we cannot give; the header is left as it is.
    NotServed,
}

fn template(value: &str, field: &str, reporter: &mut Reporter<'_, '_>) -> Option<Value> {
    // A line break would let a value write further headers (RFC 9110 §5.5).
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return reporter.refuse(field, "has a control character", "remove it");
    }
    match Template::parse(value) {
        Ok(template) => {
            without_value(&template, field, reporter);
            Some(Value::Known(template))
        }
        // As with what is no operator at all.
        Err(TemplateError::Expression(operator, error)) => {
            reporter.report(
                Code::NotServed,
                field,
                format!(
                    "the expression in %{operator}% cannot be used: {error}; the header is left alone, and Istio's \
                     gateway would refuse every route of the port"
                ),
                "mend the expression, or say it with other operators, such as %REQ(name)%",
            );
            Some(Value::NotServed)
        }
        // Envoy refuses the whole route configuration: under Istio every host of the port is lost. Here only the header is.
        Err(TemplateError::Unknown(operator)) => {
            reporter.report(
                Code::NotServed,
                field,
                format!(
                    "%{operator}% is no operator, so the header is left alone; Istio's gateway would refuse every route \
                     of the port"
                ),
                "write %% for a percent sign, or an operator such as %REQ(name)%",
            );
            Some(Value::NotServed)
        }
        Err(TemplateError::Unterminated) => {
            reporter.refuse(field, "has a percent sign without partner", "write %% for a percent sign")
        }
        Err(TemplateError::BadArgument(operator)) => reporter.refuse(
            field,
            format!("%{operator}% has a bad argument"),
            "write it as %REQ(name)% or %REQ(name?other):length%",
        ),
    }
}

/// What an expression asks for and never gets: Envoy takes any name for one that might have a value.
fn without_value(template: &Template, field: &str, reporter: &mut Reporter<'_, '_>) {
    for name in template.expressions().flat_map(|expression| expression.unset()) {
        reporter.report(
            Code::FieldNotHonoured,
            field,
            format!("{name} never has a value in an expression here, and what needs it has none either"),
            "name an attribute that there is, such as request.path",
        );
    }
}
