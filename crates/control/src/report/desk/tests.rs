//! What is planned, and when.

use super::super::ledger::tests::{facts, reference};
use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn bulletin(news: u64, notices: &[Notice]) -> Bulletin {
    Bulletin { generation: 1, news, live: true, notices: notices.into(), ..Bulletin::default() }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.work.iter().map(|work| work.name.name.as_str()).collect()
}

/// As if the API server had taken everything.
fn write(plan: &Plan, ledger: &mut Ledger) {
    for work in &plan.work {
        ledger.wrote(&work.name, "9".to_owned(), work.patch["status"].clone());
    }
}

#[test]
fn what_all_replicas_serve_is_written_once() {
    let (mut desk, mut ledger, start) = (Desk::default(), Ledger::default(), Instant::now());
    ledger.put(reference("Gateway", "gw"), facts("1", 1), 1);
    assert_eq!(desk.plan(&ledger, &[Some(1)], start, NOW), Plan::default(), "not compiled yet");
    desk.take(bulletin(1, &[]));
    let waits = desk.plan(&ledger, &[Some(1), None], start, NOW);
    assert!(waits.work.is_empty() && waits.waits);
    let plan = desk.plan(&ledger, &[Some(1), Some(1)], start, NOW);
    assert_eq!(names(&plan), ["gw"]);
    assert_eq!(plan.work[0].path, "/apis/networking.istio.io/v1/namespaces/a/gateways/gw");
    assert_eq!(plan.work[0].patch["metadata"], json!({"uid": "1", "resourceVersion": "1"}));
    write(&plan, &mut ledger);
    assert_eq!(desk.plan(&ledger, &[Some(1), Some(1)], start, NOW), Plan::default());
    // A replica that is not known to serve it takes nothing back.
    let plan = desk.plan(&ledger, &[Some(1), Some(1), None], start, NOW);
    assert!(!plan.waits);
}

#[test]
fn a_replica_that_does_not_follow_is_told_after_a_while() {
    let (mut desk, mut ledger, start) = (Desk::default(), Ledger::default(), Instant::now());
    ledger.put(reference("Gateway", "gw"), facts("1", 1), 1);
    desk.take(bulletin(1, &[]));
    assert!(desk.plan(&ledger, &[Some(1), Some(0)], start, NOW).work.is_empty());
    let plan = desk.plan(&ledger, &[Some(1), Some(0)], start + SETTLE, NOW);
    let conditions = plan.work[0].patch["status"]["conditions"].to_string();
    assert!(conditions.contains("generation 1 is served by 1 of 2 replicas"), "{conditions}");
    write(&plan, &mut ledger);
    let plan = desk.plan(&ledger, &[Some(1), Some(1)], start + SETTLE, NOW);
    assert_eq!(names(&plan), ["gw"]);
}

#[test]
fn what_is_of_other_gateways_is_left_to_them() {
    let (mut desk, mut ledger, start) = (Desk::default(), Ledger::default(), Instant::now());
    let of_other = Notice::about_object(Severity::Info, "PCL1012", reference("Gateway", "other"));
    let route = |name: &str, gateways: &[&str]| {
        let gateways = gateways.iter().map(|gateway| ("a".to_owned(), (*gateway).to_owned())).collect();
        (reference("VirtualService", name), Facts { gateways, ..facts(name, 1) })
    };
    ledger.put(reference("Gateway", "own"), facts("1", 1), 1);
    ledger.put(reference("Gateway", "other"), facts("2", 1), 1);
    for (name, facts) in
        [route("both", &["other", "own"]), route("theirs", &["other"]), route("lost", &["nowhere"])]
    {
        ledger.put(name, facts, 1);
    }
    ledger.put(reference("AuthorizationPolicy", "policy"), facts("3", 1), 1);
    desk.take(bulletin(1, std::slice::from_ref(&of_other)));
    let plan = desk.plan(&ledger, &[Some(1)], start, NOW);
    assert_eq!(names(&plan), ["own", "both", "lost"]);
    write(&plan, &mut ledger);
    // A Gateway that selects other workloads from now on.
    let also = Notice::about_object(Severity::Info, "PCL1012", reference("Gateway", "own"));
    desk.take(bulletin(1, &[of_other, also]));
    let plan = desk.plan(&ledger, &[Some(1)], start, NOW);
    assert_eq!(names(&plan), ["own", "both"]);
    assert_eq!(plan.work[0].patch["status"]["conditions"], Value::Null);
}

#[test]
fn what_does_not_last_is_written_ever_later() {
    let (mut desk, mut ledger, start) = (Desk::default(), Ledger::default(), Instant::now());
    ledger.put(reference("Gateway", "gw"), facts("1", 1), 1);
    desk.take(bulletin(1, &[]));
    let plan = desk.plan(&ledger, &[Some(1)], start, NOW);
    desk.tried(&plan.work[0], start);
    // Somebody else took it away.
    let later = desk.plan(&ledger, &[Some(1)], start, NOW);
    assert!(later.work.is_empty());
    let due = later.due.expect("put off");
    assert_eq!(names(&desk.plan(&ledger, &[Some(1)], due, NOW)), ["gw"]);
    // News of the object are not put off.
    ledger.put(reference("Gateway", "gw"), facts("1", 2), 2);
    desk.take(bulletin(2, &[]));
    assert_eq!(names(&desk.plan(&ledger, &[Some(2)], start, NOW)), ["gw"]);
}

#[test]
fn errors_are_those_of_objects_of_the_cluster() {
    let (mut desk, mut ledger) = (Desk::default(), Ledger::default());
    ledger.put(reference("Gateway", "gw"), facts("1", 1), 1);
    let error = |name: &str| Notice::about_object(Severity::Error, "IST0101", reference("Gateway", name));
    let of_file = Notice { source: Some("a.yaml".into()), ..error("gw") };
    let warning = Notice { severity: Severity::Warning, ..error("gw") };
    desk.take(bulletin(1, &[error("gw"), error("gone"), of_file, warning]));
    assert_eq!(desk.errors(&ledger).count(), 1);
}
