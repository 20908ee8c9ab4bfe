//! Waits and doubts by themselves; watches against a server on loopback that answers as a script says.

use std::sync::{Arc, Mutex};

use portcullis_api::Kind;
use serde_json::{Value, json};

use super::super::kinds::READ;
use super::super::scripted::{client, refusal, script};
use super::*;
use crate::live::Change;

#[test]
fn waits_grow_vary_and_start_anew() {
    let (mut pause, mut now) = (Pause::default(), Instant::now());
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        let wait = pause.next(now);
        longest = longest.max(wait);
        now += wait;
    }
    assert!(longest > LONGEST_WAIT.mul_f64(0.5) && longest <= LONGEST_WAIT.mul_f64(1.5), "{longest:?}");
    assert!(pause.next(now + CALM + Duration::from_secs(1)) <= FIRST_WAIT.mul_f64(1.5));
}

#[test]
fn an_api_server_that_starts_is_not_believed_at_once() {
    let forbidden = Absence::Forbidden("no rules yet".to_owned());
    let mut course = Course::default();
    assert_eq!(course.doubts(&Absence::NotInstalled), None);
    let doubts = (0..10).filter_map(|_| course.doubts(&forbidden)).count();
    assert_eq!(doubts, DOUBTS as usize);
    let mut course = Course { listed: true, ..Course::default() };
    assert!(course.doubts(&Absence::NotInstalled).is_some());
}

/// Follows `kind` until so many news have come.
fn news(kind: Kind, port: u16, count: usize) -> Vec<Change> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let heard = Arc::<Mutex<Vec<Change>>>::default();
    let changes = Arc::clone(&heard);
    let sink: Sink = Arc::new(move |news: News| {
        let mut changes = changes.lock().unwrap();
        changes.extend(match news {
            News::Told { event, .. } => Some(event.change),
            _ => None,
        });
        changes.len() < count
    });
    runtime.block_on(async {
        let client = client(port);
        let watched = READ.into_iter().find(|watched| watched.kind == Followed::Read(kind)).unwrap();
        let (clock, book) = (Arc::new(Clock::new(kind.name(), "", true)), Shared::default());
        let keep = Keep::default();
        let task =
            Task { client, watched, namespace: None, whole: None, only: None, keep, clock, book, sink };
        tokio::time::timeout(Duration::from_secs(20), task.follow()).await.expect("news in time");
    });
    std::mem::take(&mut *heard.lock().unwrap())
}

fn list(version: &str, more: &str, names: &[&str]) -> (u16, Value) {
    let items: Vec<Value> =
        names.iter().map(|name| json!({"metadata": {"name": name, "namespace": "a"}})).collect();
    let metadata = json!({"resourceVersion": version, "continue": more});
    (200, json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": metadata, "items": items}))
}

fn listed(change: &Change) -> Vec<&str> {
    match change {
        Change::Listed(read) => read.iter().map(|read| read.object.name.as_str()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_410_within_a_watch_is_followed_by_a_whole_list() {
    let (port, asked) = script(vec![
        list("7", "more", &["one"]),
        list("7", "", &["two"]),
        (200, json!({"type": "ERROR", "object": refusal(410)})),
        list("9", "", &["two"]),
    ]);
    let news = news(Kind::Service, port, 2);
    assert_eq!((listed(&news[0]), listed(&news[1])), (vec!["one", "two"], vec!["two"]));
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("limit=500") && asked[1].contains("continue=more"), "{asked:?}");
    assert!(asked[2].contains("watch=true") && asked[2].contains("resourceVersion=7"), "{asked:?}");
    assert!(asked[2].contains("allowWatchBookmarks=true"), "{asked:?}");
}

#[test]
fn a_bookmark_moves_the_place_from_which_a_watch_goes_on() {
    let bookmark = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "8"}});
    let (port, asked) = script(vec![
        list("7", "", &["one"]),
        (200, json!({"type": "BOOKMARK", "object": bookmark})),
        (200, json!({"type": "ERROR", "object": refusal(500)})),
    ]);
    let news = news(Kind::Service, port, 2);
    assert_eq!(news[1], Change::Failing("500 as scripted".to_owned()));
    let asked = asked.lock().unwrap();
    assert!(asked[1].contains("resourceVersion=7") && asked[2].contains("resourceVersion=8"), "{asked:?}");
}

#[test]
fn a_watch_that_is_refused_lists_anew_instead_of_asking_for_ever() {
    let (port, _) = script(vec![list("7", "", &["one"]), (500, refusal(500)), list("3", "", &["one"])]);
    let news = news(Kind::Service, port, 3);
    assert_eq!((listed(&news[0]), listed(&news[2])), (vec!["one"], vec!["one"]));
    assert_eq!(news[1], Change::Failing("500 as scripted".to_owned()));
}

#[test]
fn of_the_versions_served_the_best_one_is_watched() {
    let resources = |names: &[&str]| {
        let list: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "X", "verbs": []}))
            .collect();
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "x/v1", "resources": list})
    };
    let (port, asked) = script(vec![
        (404, refusal(404)),
        (200, resources(&["virtualservices", "gateways"])),
        list("7", "", &["one"]),
    ]);
    assert_eq!(listed(&news(Kind::Gateway, port, 1)[0]), ["one"]);
    let asked = asked.lock().unwrap();
    assert!(asked[2].starts_with("GET /apis/networking.istio.io/v1beta1/gateways"), "{asked:?}");
}
