//! What `istioctl analyze` says under its own codes and nothing else here does: about objects side by side, whether
//! this gateway serves them or not.
//!
//! Like the conflicts, it runs after the routing state is built and changes nothing of it. Which analyzers there are
//! and which are left out, with the reason, stands in `docs/diagnostics.md`.

mod certificates;
mod destination_rules;
mod mesh_hosts;
mod service_entries;
mod services;

use crate::conflicts::Scene;
use crate::diagnostic::Diagnostics;

/// Reports everything.
pub(crate) fn report(scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    certificates::report(scene.objects, diagnostics);
    destination_rules::report(scene, diagnostics);
    mesh_hosts::report(scene, diagnostics);
    service_entries::report(scene.objects, diagnostics);
    services::report(scene.objects, diagnostics);
}

/// Who an object is exported to: its own namespace written out, everyone as `*`.
fn exported_to<'a>(export_to: &'a [String], own: &'a str) -> Vec<&'a str> {
    if export_to.is_empty() || export_to.iter().any(|name| name == "*") {
        return vec!["*"];
    }
    export_to.iter().map(|name| if name == "." { own } else { name.as_str() }).collect()
}

/// Whether anybody sees both.
fn meet(one: &[&str], other: &[&str]) -> bool {
    let nobody = |list: &[&str]| list.iter().all(|name| *name == "~");
    let all = |list: &[&str]| list.contains(&"*");
    !nobody(one) && !nobody(other) && (all(one) || all(other) || one.iter().any(|name| other.contains(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_both() {
        let to = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (one, other, both) in [
            (&[][..], &["b"][..], true),
            (&["."], &["a"], true),
            (&["."], &["b"], false),
            (&["b", "c"], &["c"], true),
            (&["~"], &["*"], false),
        ] {
            let (one, other) = (to(one), to(other));
            assert_eq!(meet(&exported_to(&one, "a"), &exported_to(&other, "a")), both, "{one:?} {other:?}");
        }
    }
}
