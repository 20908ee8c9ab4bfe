//! Rules and match entries that no request reaches: covered by earlier ones, impossible to meet, or for a port
//! or Gateway that never serves them.
//!
//! An entry becomes a route in every virtual host its VirtualService serves. It is reported only when it is out
//! of reach in all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use portcullis_snapshot::VirtualHost;
use portcullis_snapshot::route::{LeftOut, Origin, WhyLeftOut};

use super::impossible::{self, Traffic};
use super::{Scene, Table, reach};
use crate::binding::Bound;
use crate::diagnostic::{Code, Diagnostics, Subject};

/// A place in the configuration, hashable.
type Place = (Arc<str>, u32, Option<u32>);

/// Why an entry is out of reach.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// This one takes its requests.
    Covered(Origin),
    /// Its condition on this field cannot hold.
    Impossible(String, String),
}

/// Reports the entries and rules that are out of reach.
pub(super) fn report(scene: &Scene<'_, '_>, tables: &[Table<'_>], diagnostics: &mut Diagnostics) {
    let dead = dead(scene, tables);
    let unused = unused(tables);
    if dead.is_empty() && unused.is_empty() {
        return;
    }
    let subjects = subjects(scene);
    report_dead(&dead, &subjects, diagnostics);
    for ((object, rule, entry), (field, message, remedy)) in unused {
        if let Some(known) = subjects.get(&*object) {
            let path = format!("{}.{field}", path(rule, entry));
            diagnostics.report(Code::NeverApplies, known.subject, path, message, remedy);
        }
    }
}

/// What is known of the VirtualService a route's origin names.
struct Known<'c, 'a> {
    subject: Subject<'a>,
    /// The VirtualService that was bound: of a delegate, its root.
    root: &'c Bound<'a>,
    /// Match entries of its rules, by position; a rule without any counts as one.
    entries: HashMap<u32, usize>,
}

impl Known<'_, '_> {
    /// For messages about a delegate, whose rule may be within reach under another root.
    fn context(&self, object: &str) -> String {
        if object == &*self.root.name {
            String::new()
        } else {
            format!(" (as delegate of {})", self.root.name)
        }
    }
}

type Subjects<'c, 'a> = HashMap<Arc<str>, Known<'c, 'a>>;

fn subjects<'c, 'a>(scene: &Scene<'c, 'a>) -> Subjects<'c, 'a> {
    let mut subjects = Subjects::new();
    for root in scene.bindings.all() {
        for rule in &root.rules {
            let known = subjects.entry(Arc::clone(&rule.object)).or_insert_with(|| Known {
                subject: rule.subject(),
                root,
                entries: HashMap::new(),
            });
            let index = u32::try_from(rule.index).unwrap_or(u32::MAX);
            known.entries.insert(index, rule.http.matches.len().max(1));
        }
    }
    subjects
}

/// A finding: field below the entry, message, remedy.
type Finding = (&'static str, String, &'static str);

/// The entries that a port or Gateway condition keeps out of every table.
fn unused(tables: &[Table<'_>]) -> BTreeMap<Place, Finding> {
    let mut ports: BTreeMap<Place, (u32, BTreeSet<u16>)> = BTreeMap::new();
    let mut gateways: BTreeMap<Place, BTreeSet<Arc<str>>> = BTreeMap::new();
    for LeftOut { origin, why, .. } in tables.iter().flat_map(|table| &table.routes.left_out) {
        match why {
            WhyLeftOut::Port { wanted, declared } => {
                ports.entry(place(origin)).or_insert((*wanted, BTreeSet::new())).1.insert(*declared);
            }
            WhyLeftOut::Gateway { serving } => {
                gateways.entry(place(origin)).or_default().insert(Arc::clone(serving));
            }
            WhyLeftOut::Source | WhyLeftOut::Unusable | WhyLeftOut::AfterCatchAll(_) => {}
        }
    }
    if ports.is_empty() && gateways.is_empty() {
        return BTreeMap::new();
    }
    // Used somewhere, or already reported for another reason.
    let routes = tables.iter().flat_map(|table| table.routes.hosts.values()).flat_map(|host| host.routes());
    let elsewhere = routes.map(|route| &route.origin).chain(
        tables.iter().flat_map(|table| &table.routes.left_out).filter_map(|left| match left.why {
            WhyLeftOut::Port { .. } | WhyLeftOut::Gateway { .. } => None,
            _ => Some(&left.origin),
        }),
    );
    for origin in elsewhere {
        let place = place(origin);
        ports.remove(&place);
        gateways.remove(&place);
    }
    let mut found = BTreeMap::new();
    for (place, (wanted, declared)) in ports {
        let declared = declared.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let message = format!(
            "no request ever meets this: the servers for these hosts declare port {declared}, not {wanted}"
        );
        found.insert(place, ("port", message, "use the number that the Gateway's server declares"));
    }
    for (place, serving) in gateways {
        let serving = serving.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
        let message = format!("no request ever meets this: these hosts are served by Gateway {serving}");
        found.entry(place).or_insert((
            "gateways",
            message,
            "name a Gateway of spec.gateways that serves the hosts",
        ));
    }
    found
}

fn place(origin: &Origin) -> Place {
    (Arc::clone(&origin.object), origin.rule, origin.entry)
}

/// The entries that are out of reach wherever they are.
fn dead(scene: &Scene<'_, '_>, tables: &[Table<'_>]) -> BTreeMap<Place, Why> {
    let mut dead: BTreeMap<Place, Why> = BTreeMap::new();
    let mut lost: HashMap<*const VirtualHost, HashSet<usize>> = HashMap::new();
    for table in tables {
        let traffic = traffic(scene, table);
        for host in table.routes.hosts.values() {
            let routes = host.routes();
            let covered = reach::shadowed(routes).into_iter();
            let covered = covered.map(|found| (found.ordinal, Why::Covered(routes[found.by].origin.clone())));
            let impossible = routes.iter().enumerate().filter_map(|(ordinal, route)| {
                let (field, why) = impossible::reason(&route.matcher, traffic)?;
                Some((ordinal, Why::Impossible(field, why)))
            });
            for (ordinal, why) in impossible.chain(covered) {
                lost.entry(Arc::as_ptr(host)).or_default().insert(ordinal);
                // Of several hosts one says it: the one whose reason sorts first, in any order of visits.
                let held = dead.entry(place(&routes[ordinal].origin)).or_insert_with(|| why.clone());
                if rank(&why) < rank(held) {
                    *held = why;
                }
            }
        }
        for LeftOut { origin, why, .. } in &table.routes.left_out {
            if let WhyLeftOut::AfterCatchAll(by) = why {
                dead.entry(place(origin)).or_insert_with(|| Why::Covered(by.clone()));
            }
        }
    }
    if dead.is_empty() {
        return dead;
    }
    for table in tables {
        for host in table.routes.hosts.values() {
            let lost = lost.get(&Arc::as_ptr(host));
            for (ordinal, route) in host.routes().iter().enumerate() {
                if lost.is_none_or(|lost| !lost.contains(&ordinal)) {
                    dead.remove(&place(&route.origin));
                }
            }
        }
    }
    dead
}

/// An order among reasons that does not depend on the order of virtual hosts.
fn rank(why: &Why) -> (u8, String) {
    match why {
        Why::Impossible(field, why) => (0, format!("{field} {why}")),
        Why::Covered(by) => (1, by.to_string()),
    }
}

fn traffic(scene: &Scene<'_, '_>, table: &Table<'_>) -> Traffic {
    // With proxies in front, x-forwarded-proto says the scheme.
    let told = scene.settings.trusted_proxies > 0;
    Traffic { level: scene.settings.path_normalization, schemes: (told || !table.tls, told || table.tls) }
}

/// An entry of a known rule, and why it is out of reach.
type LostEntry<'c> = (Option<u32>, &'c Why);

/// Groups what is out of reach by rule: a rule that is lost as a whole is one finding.
fn report_dead(dead: &BTreeMap<Place, Why>, subjects: &Subjects<'_, '_>, diagnostics: &mut Diagnostics) {
    let mut rules: BTreeMap<(&Arc<str>, u32), Vec<LostEntry<'_>>> = BTreeMap::new();
    for ((object, rule, entry), why) in dead {
        rules.entry((object, *rule)).or_default().push((*entry, why));
    }
    for ((object, rule), lost) in rules {
        let Some(known) = subjects.get(object) else { continue };
        let entries = known.entries.get(&rule).copied().unwrap_or(usize::MAX);
        let mut covered = Vec::new();
        for (entry, why) in lost {
            match why {
                Why::Covered(by) => covered.push((entry, by)),
                Why::Impossible(field, why) => {
                    let field = format!("{}.{field}", path(rule, entry));
                    let message = format!("no request ever meets this: {why}");
                    let remedy = "correct the condition, or remove the entry";
                    diagnostics.report(Code::NeverApplies, known.subject, field, message, remedy);
                }
            }
        }
        let lost = Lost { object, rule, whole: covered.len() >= entries, covered };
        report_covered(&lost, known, subjects, diagnostics);
    }
}

/// What is covered of one rule.
struct Lost<'c> {
    object: &'c Arc<str>,
    rule: u32,
    /// Whether nothing of the rule is left.
    whole: bool,
    covered: Vec<(Option<u32>, &'c Origin)>,
}

fn report_covered(
    lost: &Lost<'_>,
    known: &Known<'_, '_>,
    subjects: &Subjects<'_, '_>,
    diagnostics: &mut Diagnostics,
) {
    const TOGETHER: &str = "put both rules into one VirtualService in the order meant";
    let context = known.context(lost.object);
    let own = |by: &Origin| {
        subjects.get(&by.object).is_some_and(|other| Arc::ptr_eq(&other.root.name, &known.root.name))
    };
    // A place in the object itself needs no object's name.
    let shown = |by: &Origin| match by.object == *lost.object {
        true => path(by.rule, by.entry),
        false => by.to_string(),
    };
    if lost.whole
        && let Some((_, by)) = lost.covered.first()
    {
        let message = format!("the rule is never reached{context}: {} takes its requests first", shown(by));
        let (code, remedy) = match lost.covered.iter().all(|(_, by)| own(by)) {
            true => (Code::UnreachableRule, "move it up, or remove it"),
            false => (Code::ShadowedByOther, TOGETHER),
        };
        diagnostics.report(code, known.subject, path(lost.rule, None), message, remedy);
        return;
    }
    for (entry, by) in &lost.covered {
        let message = format!("the entry is never reached{context}: {} takes its requests first", shown(by));
        let (code, remedy) = match own(by) {
            true => (Code::IneffectiveMatch, "remove it"),
            false => (Code::ShadowedByOther, TOGETHER),
        };
        diagnostics.report(code, known.subject, path(lost.rule, *entry), message, remedy);
    }
}

/// `spec.http[0].match[1]`.
fn path(rule: u32, entry: Option<u32>) -> String {
    match entry {
        Some(entry) => format!("spec.http[{rule}].match[{entry}]"),
        None => format!("spec.http[{rule}]"),
    }
}
