//! Delegates nobody delegates to, and rules of delegates whose matches do not fit those of their root.

use std::collections::HashSet;

use portcullis_api::networking::Delegate;
use portcullis_api::{Kind, VirtualService};

use super::Scene;
use crate::binding::Bound;
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::names::visibility;
use crate::settings::mesh;

/// Reports them.
pub(super) fn report(scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    unused(scene, diagnostics);
    for bound in scene.bindings.all() {
        if bound.resource.spec.http.iter().any(|rule| rule.delegate.is_some()) {
            dropped(bound, scene, diagnostics);
        }
    }
}

fn unused(scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    let all = || scene.objects.virtual_services.values();
    let mut unused: Vec<&VirtualService> =
        all().filter(|resource| resource.spec.hosts.is_empty()).map(|resource| &**resource).collect();
    if unused.is_empty() {
        return;
    }
    let roots = all().filter(|resource| !resource.spec.hosts.is_empty());
    let named: HashSet<(&str, &str)> = roots
        .flat_map(|root| {
            let delegates = root.spec.http.iter().filter_map(|rule| rule.delegate.as_ref());
            delegates.map(|delegate| target(delegate, root))
        })
        .collect();
    unused.retain(|delegate| !named.contains(&(&delegate.meta.namespace, &delegate.meta.name)));
    for delegate in unused {
        diagnostics.report(
            Code::DelegateNotUsed,
            Subject::new(Kind::VirtualService, delegate),
            "spec.hosts",
            "is missing, so this is a delegate, and no VirtualService delegates to it",
            "name it in http[].delegate of another VirtualService, or give it hosts",
        );
    }
}

/// Namespace and name of the delegate that a rule of `root` names.
fn target<'r>(delegate: &'r Delegate, root: &'r VirtualService) -> (&'r str, &'r str) {
    let namespace = delegate.namespace.as_deref().filter(|name| !name.is_empty());
    (namespace.unwrap_or(&root.meta.namespace), delegate.name.as_deref().unwrap_or_default())
}

/// Reports the rules of the delegates of one root that are not among its rules. A delegate that cannot be used at
/// all has a finding of its own.
fn dropped(bound: &Bound<'_>, scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    let own = &bound.resource.meta.namespace;
    let default: &[String] =
        mesh(scene.objects).map_or(&[], |mesh| &mesh.spec.default_virtual_service_export_to);
    for (index, rule) in bound.resource.spec.http.iter().enumerate() {
        let Some(delegate) = &rule.delegate else { continue };
        let (namespace, name) = target(delegate, bound.resource);
        let key = (namespace.to_owned(), name.to_owned());
        let Some(delegate) = scene.objects.virtual_services.get(&key) else { continue };
        let usable = delegate.spec.hosts.is_empty()
            && rule.route.is_empty()
            && rule.redirect.is_none()
            && visibility(&delegate.spec.export_to, default, namespace, own).is_some();
        if !usable {
            continue;
        }
        let kept: HashSet<usize> = bound
            .rules
            .iter()
            .filter(|kept| std::ptr::eq(kept.owner, &**delegate))
            .map(|kept| kept.index)
            .collect();
        for (at, leaf) in delegate.spec.http.iter().enumerate() {
            if leaf.delegate.is_some() || kept.contains(&at) {
                continue;
            }
            diagnostics.report(
                Code::DelegateRuleDropped,
                Subject::new(Kind::VirtualService, &**delegate),
                format!("spec.http[{at}].match"),
                format!(
                    "the rule is left out: one of its matches fits none of the matches of {} spec.http[{index}]",
                    bound.name
                ),
                "each match must narrow one of the root's: a longer prefix, the same exact text, no expression on both",
            );
        }
    }
}
