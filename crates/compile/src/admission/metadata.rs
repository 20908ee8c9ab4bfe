//! Names, labels and annotations: what the API server asks of every object, and what Istio asks of annotations.

use portcullis_api::Meta;

use super::{Review, member};

/// Annotations that only Istio itself may write (`validateMetadata`).
const INTERNAL: [&str; 3] = [
    "internal.istio.io/webhook-always-reject",
    "internal.istio.io/parent-namespace",
    "internal.istio.io/parents",
];

/// Only on an AuthorizationPolicy (`checkDryRunAnnotation`).
const DRY_RUN: &str = "istio.io/dry-run";

/// The longest name, in bytes (RFC 1123 as Kubernetes reads it).
const MAX_NAME: usize = 253;

/// The longest value of a label, and the longest name part of a key, in bytes.
const MAX_LABEL: usize = 63;

/// The most bytes of all annotations together.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// Whether Istio would go on and look at the rest.
pub(super) fn review(meta: &Meta, review: &mut Review<'_, '_>) -> bool {
    if !is_subdomain(&meta.name) {
        let message = format!("{:?} is no name for an object", meta.name);
        review.refuse("metadata.name", message, "use small letters, digits, - and .");
    }
    if !(meta.namespace.is_empty() || is_subdomain(&meta.namespace) && is_label(&meta.namespace)) {
        let message = format!("{:?} is no name for a namespace", meta.namespace);
        review.refuse("metadata.namespace", message, "use small letters, digits and -");
    }
    for (key, value) in &meta.labels {
        if !is_key(key) {
            review.refuse(
                member("metadata.labels", key),
                "is no key of a label",
                "use letters, digits, -, _ and .",
            );
        }
        if !(value.is_empty() || value.len() <= MAX_LABEL && is_qualified(value)) {
            let message = "is no value of a label";
            review.refuse(
                member("metadata.labels", key),
                message,
                "use at most 63 letters, digits, -, _ and .",
            );
        }
    }
    for key in meta.annotations.keys().filter(|key| !is_key(&key.to_ascii_lowercase())) {
        let message = "is no key of an annotation";
        review.refuse(member("metadata.annotations", key), message, "use letters, digits, -, _ and .");
    }
    if meta.annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_ANNOTATIONS {
        review.refuse("metadata.annotations", "are larger than 256 KiB together", "shorten them");
    }
    annotations(meta, review)
}

fn annotations(meta: &Meta, review: &mut Review<'_, '_>) -> bool {
    let refused = INTERNAL.into_iter().map(|key| (key, "is for Istio's own objects"));
    let refused = refused.chain([(DRY_RUN, "is only for an AuthorizationPolicy")]);
    let mut fine = true;
    for (key, message) in refused.filter(|(key, _)| meta.annotations.contains_key(*key)) {
        review.refuse(member("metadata.annotations", key), message, "remove it");
        fine = false;
    }
    fine
}

/// Labels of small letters, digits and hyphens between dots.
fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= MAX_NAME && name.split('.').all(label)
}

fn is_label(name: &str) -> bool {
    name.len() <= MAX_LABEL && !name.contains('.')
}

fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_subdomain) && name.len() <= MAX_LABEL && is_qualified(name)
}

fn is_qualified(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.bytes().all(inner) && ends(text.bytes().next()) && ends(text.bytes().last())
}
