//! The writer against an API server that answers as a script says.

use serde_json::json;

use super::super::ledger::tests::{facts, reference};
use super::*;
use crate::kubernetes::scripted::{client, refusal, script};
use crate::notice::Notice;

/// Lets a writer work on one Gateway until so much was asked of the API server; gives that.
fn asked(answers: Vec<(u16, Value)>, notices: &[Notice]) -> Vec<String> {
    let count = answers.len();
    let (port, asked) = script(answers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (book, start) = (Shared::default(), Instant::now());
        book.lock().unwrap().ledger.put(reference("Gateway", "gw"), facts("uid", 1), 1);
        let mut writer = Writer::new(Caller::new(client(port)), book, Arc::default(), "me", start);
        let bulletin =
            Bulletin { generation: 1, news: 1, live: true, notices: notices.into(), ..Bulletin::default() };
        let deadline = start + Duration::from_secs(20);
        while asked.lock().unwrap().len() < count && Instant::now() < deadline {
            let next = writer.turn(bulletin.clone(), Some(1), || true).await;
            if let Some(due) = next.due {
                tokio::time::sleep_until(due.into()).await;
            }
        }
    });
    let asked = asked.lock().unwrap();
    asked.clone()
}

fn gateway(version: &str, status: &Value) -> Value {
    json!({"metadata": {"generation": 1, "resourceVersion": version}, "status": status})
}

#[test]
fn after_a_conflict_the_status_is_made_anew_from_what_is_there() {
    let theirs = json!({"conditions": [{"type": "Theirs", "status": "True"}]});
    let answers = vec![(409, refusal(409)), (200, gateway("7", &theirs)), (200, gateway("8", &theirs))];
    let asked = asked(answers, &[]);
    let path = "/apis/networking.istio.io/v1/namespaces/a/gateways/gw";
    assert!(asked[0].starts_with(&format!("PATCH {path}/status?fieldManager=portcullis ")), "{asked:?}");
    assert!(asked[0].contains("\"resourceVersion\":\"1\"") && !asked[0].contains("Theirs"), "{asked:?}");
    assert!(asked[1].starts_with(&format!("GET {path} ")), "{asked:?}");
    assert!(asked[2].contains("\"resourceVersion\":\"7\"") && asked[2].contains("Theirs"), "{asked:?}");
}

#[test]
fn an_error_is_an_event_of_its_object() {
    let mut error =
        Notice::about_object(portcullis_api::Severity::Error, "IST0101", reference("Gateway", "gw"));
    error.message = "is not there".to_owned();
    // Somebody else has told it before: that is all right, and the status is written all the same.
    let asked = asked(vec![(409, refusal(409)), (200, gateway("2", &Value::Null))], &[error]);
    assert!(asked[0].starts_with("POST /apis/events.k8s.io/v1/namespaces/a/events?"), "{asked:?}");
    assert!(asked[0].contains("\"note\":\"is not there\""), "{asked:?}");
    assert!(asked[1].starts_with("PATCH ") && asked[1].contains("IST0101"), "{asked:?}");
}
