//! The clerk: while this replica holds the Lease, it keeps the Certificates as they are asked for, and tells how they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Orders, Standing, Step, is_made_by_hand, standing, steps};
use crate::kubernetes::call::{Caller, Failure};

/// How soon is looked again where a certificate is not there yet, or cannot be asked for.
const LOOK_UNREADY: Duration = Duration::from_secs(10);
/// The same where all are: whoever deletes one gets it back.
const LOOK_READY: Duration = Duration::from_secs(300);
/// After that long a certificate that is not issued is no matter of patience any more: a challenge that can be met is met
/// within minutes.
const LATE: Duration = Duration::from_secs(600);
/// Certificates in a page of a list, and most pages that are read.
const PAGE: usize = 500;
const MAX_PAGES: usize = 20;

/// Who is told how the certificates stand; nobody knows once another replica has taken over.
pub(crate) type Tell = Box<dyn Fn(Option<BTreeMap<String, Standing>>) + Send + Sync>;

/// Writes Certificates.
pub(crate) struct Clerk {
    caller: Caller,
    namespace: String,
    tell: Tell,
    /// What was asked for when it was looked last, and when to look again.
    done: Option<(Orders, Option<Instant>)>,
    told: Option<BTreeMap<String, Standing>>,
    /// Since when certificates are waited for, as far as this replica has seen.
    waiting: BTreeMap<String, Instant>,
}

impl Clerk {
    pub(crate) fn new(caller: Caller, namespace: String, tell: Tell) -> Self {
        Self { caller, namespace, tell, done: None, told: None, waiting: BTreeMap::new() }
    }

    /// Somebody else writes.
    pub(crate) fn rest(&mut self) {
        self.done = None;
        self.waiting.clear();
        if self.told.take().is_some() {
            (self.tell)(None);
        }
    }

    /// Does what is due, as long as it may; tells when something is due again.
    pub(crate) async fn turn(&mut self, orders: &Orders, may_write: impl Fn() -> bool) -> Option<Instant> {
        if let Some((done, due)) = &self.done
            && Arc::ptr_eq(done, orders)
            && due.is_none_or(|due| Instant::now() < due)
        {
            return *due;
        }
        let mut stand = self.work(orders, may_write).await;
        lose_patience(&mut self.waiting, &mut stand, Instant::now());
        let all_ready = stand.values().all(|standing| *standing == Standing::Ready);
        let pause = if all_ready { LOOK_READY } else { LOOK_UNREADY };
        // Nobody asks, and what was left over is gone: there is nothing more to look for.
        let due = (!orders.is_empty()).then(|| Instant::now() + pause);
        self.done = Some((Arc::clone(orders), due));
        if self.told.as_ref() != Some(&stand) {
            self.told = Some(stand.clone());
            (self.tell)(Some(stand));
        }
        due
    }

    /// Brings the Certificates up to the orders; gives how each that is wanted stands.
    async fn work(&self, orders: &Orders, may_write: impl Fn() -> bool) -> BTreeMap<String, Standing> {
        let of_all =
            |standing: &Standing| orders.keys().map(|name| (name.clone(), standing.clone())).collect();
        let there = match self.list().await {
            Ok(there) => there,
            Err(failure) if failure.is_missing() => return of_all(&Standing::Absent),
            Err(failure) => return of_all(&Standing::Failed(failure.message)),
        };
        let mut stand: BTreeMap<String, Standing> = BTreeMap::new();
        for certificate in &there {
            if let Some(name) =
                certificate["metadata"]["name"].as_str().filter(|name| orders.contains_key(*name))
            {
                stand.insert(name.to_owned(), standing(certificate));
            }
        }
        let unmade = orders.keys().filter(|name| !stand.contains_key(*name));
        let mut by_hand = BTreeSet::new();
        for name in unmade {
            match self.caller.read(&format!("/api/v1/namespaces/{}/secrets/{name}", self.namespace)).await {
                Ok(secret) if is_made_by_hand(&secret) => {
                    by_hand.insert(name.clone());
                }
                // Without a look at it, nothing is put in its place.
                Err(failure) if !failure.is_missing() => return of_all(&Standing::Failed(failure.message)),
                _ => {}
            }
        }
        for (name, step) in steps(&self.namespace, orders, &there, &by_hand) {
            if !may_write() {
                break;
            }
            if let Some(standing) = self.step(&name, step).await {
                stand.insert(name, standing);
            }
        }
        stand.retain(|name, _| orders.contains_key(name));
        stand
    }

    async fn step(&self, name: &str, step: Step) -> Option<Standing> {
        let path = format!("{}/{name}", self.collection());
        let (what, done) = match step {
            Step::Refuse(why) => return Some(Standing::Refused(why)),
            Step::Apply(certificate) => {
                ("written", self.caller.apply(&path, &certificate).await.map(|held| Some(standing(&held))))
            }
            Step::Delete(uid) => ("deleted", self.caller.delete(&path, &uid).await.map(|()| None)),
        };
        match done {
            Ok(standing) => {
                tracing::info!(certificate = name, namespace = self.namespace, "Certificate {what}");
                standing
            }
            // Gone, or another one by now: the next look sees what there is.
            Err(failure) if failure.is_missing() || failure.is_conflict() => None,
            Err(Failure { code, message }) => {
                tracing::warn!(certificate = name, code, "a Certificate cannot be {what}: {message}");
                Some(Standing::Failed(message))
            }
        }
    }

    async fn list(&self) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        let mut next = String::new();
        for _ in 0..MAX_PAGES {
            let path = format!("{}?limit={PAGE}&continue={next}", self.collection());
            let mut page = self.caller.read(&path).await?;
            if let Some(items) = page["items"].as_array_mut() {
                all.append(items);
            }
            match page["metadata"]["continue"].as_str() {
                // Opaque, and in the letters of base64 for addresses.
                Some(more) if !more.is_empty() => more.clone_into(&mut next),
                _ => break,
            }
        }
        Ok(all)
    }

    fn collection(&self) -> String {
        format!("/apis/cert-manager.io/v1/namespaces/{}/certificates", self.namespace)
    }
}

/// Tells those that have been waited for too long from the others. `waiting` says since when.
fn lose_patience(
    waiting: &mut BTreeMap<String, Instant>,
    stand: &mut BTreeMap<String, Standing>,
    now: Instant,
) {
    waiting.retain(|name, _| matches!(stand.get(name), Some(Standing::Waiting(_))));
    for (name, standing) in stand {
        let Standing::Waiting(said) = standing else { continue };
        let since = *waiting.entry(name.clone()).or_insert(now);
        if now.saturating_duration_since(since) >= LATE {
            *standing = Standing::Late(std::mem::take(said));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use portcullis_api::ObjectRef;
    use portcullis_api::cert_manager::CertificateSpec;
    use portcullis_compile::WantedCertificate;
    use serde_json::json;

    use super::*;
    use crate::kubernetes::scripted::{client, refusal, script};

    type Stand = Option<BTreeMap<String, Standing>>;

    fn orders(names: &[&str]) -> Orders {
        let wanted = |name: &&str| {
            let gateway = ObjectRef { kind: "Gateway".into(), namespace: "gw".into(), name: "g".into() };
            let spec = CertificateSpec { secret_name: (*name).to_owned(), ..CertificateSpec::default() };
            ((*name).to_owned(), WantedCertificate { gateway, gateway_uid: "u".to_owned(), spec })
        };
        Arc::new(names.iter().map(wanted).collect())
    }

    /// One turn against these answers: what was asked, what was told, and whether there is something due later.
    fn turn(orders: &Orders, answers: Vec<(u16, Value)>) -> (Vec<String>, Vec<Stand>, bool) {
        let (port, asked) = script(answers);
        let told = Arc::new(Mutex::new(Vec::new()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let due = runtime.block_on(async {
            let hear = Arc::clone(&told);
            let tell = Box::new(move |stand| hear.lock().unwrap().push(stand));
            let mut clerk = Clerk::new(Caller::new(client(port)), "gw".to_owned(), tell);
            let due = clerk.turn(orders, || true).await;
            // Nothing is asked again before it is due, and who rests knows nothing any more.
            assert_eq!(clerk.turn(orders, || true).await, due);
            clerk.rest();
            due
        });
        let (asked, told) = (asked.lock().unwrap().clone(), told.lock().unwrap().clone());
        (asked, told, due.is_some())
    }

    fn list(items: &Value) -> (u16, Value) {
        (200, json!({"metadata": {}, "items": items}))
    }

    #[test]
    fn what_is_asked_for_is_applied_unless_a_secret_is_in_the_way() {
        let by_hand = (200, json!({"metadata": {"name": "b"}}));
        let applied = (201, json!({"metadata": {"name": "a"}}));
        let answers = vec![list(&json!([])), (404, refusal(404)), by_hand, applied];
        let (asked, told, due) = turn(&orders(&["a", "b"]), answers);
        assert!(
            asked[0].starts_with("GET /apis/cert-manager.io/v1/namespaces/gw/certificates?"),
            "{asked:?}"
        );
        assert!(asked[3].starts_with("PATCH ") && asked[3].contains("/certificates/a?"), "{asked:?}");
        assert!(asked[3].contains("\"secretName\":\"a\"") && asked[3].contains("force=true"), "{asked:?}");
        let stand = told[0].as_ref().unwrap();
        assert!(matches!(stand["a"], Standing::Waiting(_)) && matches!(stand["b"], Standing::Refused(_)));
        assert!(due && told[1].is_none());
    }

    #[test]
    fn whoever_waits_for_long_is_told_so() {
        let (mut since, start) = (BTreeMap::new(), Instant::now());
        let mut look = |standing: Standing, after: Duration| {
            let mut stand = BTreeMap::from([("a".to_owned(), standing)]);
            lose_patience(&mut since, &mut stand, start + after);
            stand.remove("a").unwrap()
        };
        let waiting = || Standing::Waiting("no answer yet".to_owned());
        assert_eq!(look(waiting(), Duration::ZERO), waiting());
        assert_eq!(look(waiting(), LATE / 2), waiting());
        assert_eq!(look(waiting(), LATE), Standing::Late("no answer yet".to_owned()));
        // It was issued meanwhile.
        assert_eq!(look(Standing::Ready, LATE), Standing::Ready);
        assert_eq!(look(waiting(), LATE * 2), waiting());
    }

    #[test]
    fn what_is_left_over_is_deleted_and_then_there_is_nothing_to_do() {
        let label = json!({portcullis_api::cert_manager::GATEWAY_UID: "u"});
        let ours = json!({"metadata": {"name": "old", "uid": "c", "labels": label}});
        let (asked, told, due) = turn(&orders(&[]), vec![list(&json!([ours])), (200, json!({}))]);
        assert!(asked[1].starts_with("DELETE ") && asked[1].contains("\"uid\":\"c\""), "{asked:?}");
        assert_eq!((told[0].clone(), due), (Some(BTreeMap::new()), false));
    }

    #[test]
    fn without_cert_manager_or_rights_nothing_is_written() {
        for (code, expected) in [(404, Standing::Absent), (403, Standing::Failed("as scripted".to_owned()))] {
            let (asked, told, due) = turn(&orders(&["a"]), vec![(code, refusal(code))]);
            assert_eq!((asked.len(), due), (1, true));
            assert_eq!(told[0].as_ref().unwrap()["a"], expected);
        }
    }
}
