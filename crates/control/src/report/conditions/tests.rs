//! What a status becomes.

use std::time::{Duration, UNIX_EPOCH};

use portcullis_api::ObjectRef;

use super::*;

fn notice(severity: Severity, code: &'static str, message: &str) -> Notice {
    let object = ObjectRef { kind: "Gateway".into(), namespace: "a".to_owned(), name: "b".to_owned() };
    let mut notice = Notice::about_object(severity, code, object);
    message.clone_into(&mut notice.message);
    notice
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn facts<'a>(findings: &'a [&'a Notice], programmed: Programmed) -> Facts<'a> {
    Facts { generation: 3, programmed, findings, counts_matter: false, certificates: Certificates::NotAsked }
}

/// `Accepted=True/Accepted` of each condition.
fn shown(status: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = status["conditions"].as_array().expect("conditions").iter();
    conditions
        .map(|found| {
            format!("{}={}/{}", text(&found["type"]), text(&found["status"]), text(&found["reason"]))
        })
        .collect()
}

#[test]
fn an_object_without_findings_is_accepted_and_written_once() {
    let facts = facts(&[], Programmed::All(3));
    let status = patch(&Value::Null, facts, at(0)).expect("something to write");
    assert_eq!(
        shown(&status),
        ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed"]
    );
    assert_eq!(status["conditions"][2]["message"], "generation 3 is served by 3 of 3 replicas");
    assert_eq!(status["conditions"][2]["lastTransitionTime"], "2027-01-15T08:00:00Z");
    assert_eq!((&status["observedGeneration"], &status["validationMessages"]), (&json!(3), &Value::Null));
    assert_eq!(patch(&status, facts, at(9)), None);
    assert!(is_programmed(&status, 3) && !is_programmed(&status, 4));
    // A replica more is no news, where there are many objects, and is where there are few.
    let more = Facts { programmed: Programmed::All(4), ..facts };
    assert_eq!(patch(&status, more, at(9)), None);
    let told = patch(&status, Facts { counts_matter: true, ..more }, at(9)).expect("something to write");
    assert_eq!(told["conditions"][2]["message"], "generation 3 is served by 4 of 4 replicas");
    assert_eq!(told["conditions"][2]["lastTransitionTime"], "2027-01-15T08:00:00Z", "still true");
}

#[test]
fn findings_make_conditions_and_messages_and_are_taken_back() {
    let error = notice(Severity::Error, "SchemaError", "is no port");
    let missing = notice(Severity::Error, "IST0101", "is not there");
    let shadowed = notice(Severity::Warning, "PCL1041", "an older one has it");
    let info = notice(Severity::Info, "PCL1040", "is shared");
    let found = [&error, &missing, &shadowed, &info];
    let pending = Programmed::Some(Served { by: 1, of: 3 });
    let status = patch(&Value::Null, facts(&found, pending), at(0)).expect("something to write");
    assert_eq!(
        shown(&status),
        [
            "Accepted=False/SchemaError",
            "ResolvedRefs=False/IST0101",
            "Conflicted=True/PCL1041",
            "Programmed=False/Pending"
        ]
    );
    let messages = status["validationMessages"].as_array().expect("messages");
    assert_eq!(messages.len(), 3, "none of severity info");
    assert_eq!(messages[1]["type"]["code"], "IST0101");
    assert_eq!(messages[1]["level"], "ERROR");
    assert_eq!(
        messages[1]["documentationUrl"],
        "https://istio.io/latest/docs/reference/config/analysis/ist0101/"
    );
    assert_eq!(patch(&status, facts(&found, pending), at(9)), None);
    let mended = patch(&status, facts(&[], Programmed::All(3)), at(9)).expect("something to write");
    assert_eq!(shown(&mended).len(), 3, "no conflict any more");
    assert_eq!(mended["validationMessages"], Value::Null);
    assert_eq!(mended["conditions"][0]["lastTransitionTime"], "2027-01-15T08:00:09Z");
}

#[test]
fn conditions_of_others_are_kept() {
    let theirs = json!({"type": "Reconciled", "status": "True", "odd": [1]});
    let current = json!({"conditions": [theirs], "addresses": ["10.0.0.1"]});
    let status = patch(&current, facts(&[], Programmed::Unusable), at(0)).expect("something to write");
    assert_eq!(status["conditions"][0], theirs);
    assert_eq!(shown(&status)[3], "Programmed=False/Invalid");
    assert_eq!(status.get("addresses"), None, "not named, so not touched");
    assert_eq!(cleared(&current), None, "nothing of ours");
    let cleared = cleared(&status).expect("something to take back");
    assert_eq!(
        cleared,
        json!({"conditions": [theirs], "validationMessages": null, "observedGeneration": null})
    );
}

#[test]
fn long_stories_are_cut() {
    let long = notice(Severity::Error, "SchemaError", &"ä".repeat(2000));
    let others: Vec<Notice> = (0..5).map(|_| notice(Severity::Error, "SchemaError", "short")).collect();
    let mut found = vec![&long];
    found.extend(&others);
    let status = patch(&Value::Null, facts(&found, Programmed::All(1)), at(0)).expect("something to write");
    let message = status["conditions"][0]["message"].as_str().expect("text");
    assert!(message.len() <= MAX_MESSAGE && message.ends_with("And 3 more"), "{message}");
    assert_eq!(status["validationMessages"].as_array().expect("messages").len(), 1);
}
