//! The http rules of a VirtualService, with its delegates put in their place (routing reference §2.3).

mod merge;

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_api::networking::{Delegate, HttpRoute};
use portcullis_api::{Kind, VirtualService};

use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::names::{gateway_reference, visibility};
use crate::objects::{Key, Objects};

/// One http rule as it takes effect.
#[derive(Debug)]
pub(crate) struct Rule<'a> {
    /// The rule; owned if it was merged with that of a root.
    pub(crate) http: Cow<'a, HttpRoute>,
    /// The VirtualService it was written in: its namespace completes the short names.
    pub(crate) owner: &'a VirtualService,
    /// Position in `spec.http` of the owner.
    pub(crate) index: usize,
    /// For the route's origin: `VirtualService team/part, delegate of default/root`.
    pub(crate) object: Arc<str>,
}

impl<'a> Rule<'a> {
    /// Whether it is a delegate's, so that parts of it may be the root's.
    pub(crate) fn is_merged(&self) -> bool {
        matches!(self.http, Cow::Owned(_))
    }

    /// For diagnostics.
    pub(crate) fn subject(&self) -> Subject<'a> {
        Subject::new(Kind::VirtualService, self.owner)
    }
}

/// The rules of `root` in order. A delegate that cannot be used costs only the root's rule.
pub(crate) fn rules<'a>(
    root: &'a VirtualService,
    objects: &'a Objects,
    default_export: &[String],
    diagnostics: &mut Diagnostics,
) -> Vec<Rule<'a>> {
    let meta = &root.meta;
    let object: Arc<str> = format!("VirtualService {}/{}", meta.namespace, meta.name).into();
    let mut rules = Vec::with_capacity(root.spec.http.len());
    for (index, http) in root.spec.http.iter().enumerate() {
        if http.delegate.is_none() {
            rules.push(Rule { http: Cow::Borrowed(http), owner: root, index, object: object.clone() });
            continue;
        }
        match delegate_of(root, index, objects, default_export) {
            Ok(delegate) => rules.extend(merged(root, http, delegate)),
            Err(message) => diagnostics.report(
                Code::DelegateNotUsable,
                Subject::new(Kind::VirtualService, root),
                format!("spec.http[{index}].delegate"),
                format!("the rule is left out: {message}"),
                "name a VirtualService without hosts that is exported to this namespace",
            ),
        }
    }
    rules
}

/// Reports what a delegate may not have.
pub(crate) fn check(delegate: &VirtualService, diagnostics: &mut Diagnostics) {
    let spec = &delegate.spec;
    let mut refuse = |field: &str, message: &str| {
        let subject = Subject::new(Kind::VirtualService, delegate);
        diagnostics.report(Code::SchemaValidationError, subject, field, message, "");
    };
    for (field, present) in [
        ("spec.gateways", !spec.gateways.is_empty()),
        ("spec.tls", !spec.tls.is_empty()),
        ("spec.tcp", !spec.tcp.is_empty()),
    ] {
        if present {
            refuse(field, "a VirtualService without hosts is a delegate and may not have this");
        }
    }
    if spec.http.iter().any(|http| http.delegate.is_some()) {
        refuse("spec.http", "a delegate may not delegate further");
    }
}

/// The VirtualServices that rules of `root` delegate to, whether they are there or not.
pub(crate) fn targets(root: &VirtualService) -> impl Iterator<Item = Key> {
    root.spec.http.iter().filter_map(|rule| Some(target(rule.delegate.as_ref()?, root)))
}

fn target(named: &Delegate, root: &VirtualService) -> Key {
    let namespace = named.namespace.clone().filter(|namespace| !namespace.is_empty());
    (namespace.unwrap_or_else(|| root.meta.namespace.clone()), named.name.clone().unwrap_or_default())
}

fn delegate_of<'a>(
    root: &VirtualService,
    index: usize,
    objects: &'a Objects,
    default_export: &[String],
) -> Result<&'a VirtualService, String> {
    let own = &root.meta.namespace;
    let key = root.spec.http[index].delegate.as_ref().map(|named| target(named, root)).unwrap_or_default();
    let http = &root.spec.http[index];
    if !http.route.is_empty() || http.redirect.is_some() {
        return Err("a rule with a delegate may have neither route nor redirect".to_owned());
    }
    let Some(delegate) = objects.virtual_services.get(&key) else {
        return Err(format!("VirtualService {}/{} does not exist", key.0, key.1));
    };
    if !delegate.spec.hosts.is_empty() {
        return Err(format!("VirtualService {}/{} has hosts, so it is no delegate", key.0, key.1));
    }
    if visibility(&delegate.spec.export_to, default_export, &key.0, own).is_none() {
        return Err(format!("VirtualService {}/{} is not exported to namespace {own}", key.0, key.1));
    }
    Ok(delegate)
}

fn merged<'a>(
    root: &'a VirtualService,
    root_rule: &'a HttpRoute,
    delegate: &'a VirtualService,
) -> impl Iterator<Item = Rule<'a>> {
    let (from, to) = (&delegate.meta, &root.meta);
    let object: Arc<str> =
        format!("VirtualService {}/{}, delegate of {}/{},", from.namespace, from.name, to.namespace, to.name)
            .into();
    // One level only: a delegate's own delegation is dropped.
    let rules = delegate.spec.http.iter().enumerate().filter(|(_, rule)| rule.delegate.is_none());
    let root_rule = with_complete_gateways(root_rule, &to.namespace);
    rules.filter_map(move |(index, rule)| {
        let http = Cow::Owned(merge::rule(&root_rule, &with_complete_gateways(rule, &from.namespace))?);
        Some(Rule { http, owner: delegate, index, object: object.clone() })
    })
}

/// A rule whose matches name Gateways with their namespaces: what is merged no longer knows where it was written.
fn with_complete_gateways(rule: &HttpRoute, namespace: &str) -> HttpRoute {
    let mut rule = rule.clone();
    for reference in rule.matches.iter_mut().flat_map(|entry| &mut entry.gateways) {
        if let Some((namespace, name)) = gateway_reference(reference, namespace) {
            *reference = format!("{namespace}/{name}");
        }
    }
    rule
}
