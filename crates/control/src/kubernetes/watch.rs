//! One watch, from the question whether there is anything to watch to its news.
//!
//! ```text
//!   ask which version is served ──► list in pages ──► follow ──┐ a connection that ends in order
//!      ▲      │                          │              ▲      │ is followed by the next one,
//!      │      │ none                     │              └──────┘ from where it ended
//!      │      ▼                          ▼
//!      └── ask again later ◄──── refused, broken, 410: what was told stays
//! ```

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Error};
use rand::RngExt as _;

use super::Sink;
use super::kinds::{Place, Watched};
use super::read::{read, reference};
use crate::live::{Absence, Change, Event, Read, Scope};

/// The wait after a first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// After this long without a failure, the next one is a first one again.
const CALM: Duration = Duration::from_secs(60);
/// How often it is asked whether a kind has been installed meanwhile.
const ABSENT_WAIT: Duration = Duration::from_secs(8);
/// How often in a row an API server may refuse before it is believed: one that starts refuses what it has not read
/// the rules of, and installers write rules after the pods that need them.
const DOUBTS: u32 = 4;
/// Objects in a page of a list.
const PAGE: u32 = 500;
/// Seconds after which a watch is begun anew from where it was: within them, and a few more, it shows that a connection
/// was lost without a word.
const WATCH_SECONDS: std::ops::Range<u32> = 90..150;
/// A server that says nothing for so long, longer than any watch, is given up.
pub(super) const SILENCE: Duration = Duration::from_secs(180);

/// One watch.
pub(super) struct Task {
    pub(super) client: Client,
    pub(super) watched: Watched,
    pub(super) scope: Scope,
    /// The object of which all is kept.
    pub(super) whole: Option<&'static str>,
    /// The only object to watch.
    pub(super) only: Option<&'static str>,
    pub(super) sink: Sink,
}

/// Why a watch ended.
enum End {
    /// Nobody takes its news any more.
    Unwanted,
    /// Its place in the history is gone.
    Expired,
    Absent(Absence),
    Failed(String),
}

/// What came of the attempts so far.
#[derive(Default)]
struct Course {
    pause: Pause,
    /// Whether there was a whole list once.
    listed: bool,
    /// Refusals in a row.
    refused: u32,
}

impl Task {
    /// Follows its scope until nobody takes its news any more.
    pub(super) async fn follow(self) {
        let mut course = Course::default();
        loop {
            let (news, wait) = match self.attempt(&mut course).await {
                End::Unwanted => return,
                End::Expired => (None, course.pause.next(Instant::now())),
                End::Failed(reason) => (Some(Change::Failing(reason)), course.pause.next(Instant::now())),
                End::Absent(absence) => match course.doubts(&absence) {
                    Some(reason) => (Some(Change::Failing(reason)), course.pause.next(Instant::now())),
                    None => (Some(Change::Absent(absence)), vary(ABSENT_WAIT)),
                },
            };
            if news.is_some_and(|news| !self.tell(news)) {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn tell(&self, change: Change) -> bool {
        (self.sink)(Event { scope: self.scope.clone(), change })
    }

    async fn attempt(&self, course: &mut Course) -> End {
        match self.served().await {
            Ok(Some(resource)) => self.observe(&resource, course).await,
            Ok(None) => End::Absent(Absence::NotInstalled),
            Err(error) => ended(&error),
        }
    }

    /// The version of the kind to watch: the best of those that are served.
    async fn served(&self) -> Result<Option<ApiResource>, Error> {
        let Watched { kind, group, versions, plural, .. } = self.watched;
        let resource = |version: &str| {
            let kind = GroupVersionKind::gvk(group, version, kind.name());
            ApiResource::from_gvk_with_plural(&kind, plural)
        };
        if group.is_empty() {
            return Ok(Some(resource(versions[0])));
        }
        for version in versions {
            match self.client.list_api_group_resources(&format!("{group}/{version}")).await {
                Ok(list) if list.resources.iter().any(|found| found.name == plural) => {
                    return Ok(Some(resource(version)));
                }
                Ok(_) => {}
                Err(Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Lists and follows, until something is wrong. What the library would do then is not enough: it tries for ever to
    /// go on from a place that the server, restored from a backup, has not come to yet.
    async fn observe(&self, resource: &ApiResource, course: &mut Course) -> End {
        let client = self.client.clone();
        let api: Api<DynamicObject> = match &self.scope.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        };
        let mut stream = pin!(watcher(api, self.selection()));
        let mut listed = Vec::new();
        while let Some(event) = stream.next().await {
            let change = match event {
                Ok(event) => match self.step(event, &mut listed) {
                    Some(change) => change,
                    None => continue,
                },
                Err(error) => return broken(&error),
            };
            (course.listed, course.refused) = (true, 0);
            if !self.tell(change) {
                return End::Unwanted;
            }
        }
        End::Unwanted
    }

    /// What an event of the library comes to; objects of a list are gathered until it is whole.
    fn step(&self, event: watcher::Event<DynamicObject>, listed: &mut Vec<Read>) -> Option<Change> {
        let read = |object| read(self.watched, self.whole, object);
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => listed.push(read(object)),
            watcher::Event::InitDone => return Some(Change::Listed(std::mem::take(listed))),
            watcher::Event::Apply(object) => return Some(Change::Applied(read(object))),
            watcher::Event::Delete(object) => {
                let object = reference(self.watched, &object);
                return Some(Change::Deleted { namespace: object.namespace, name: object.name });
            }
        }
        None
    }

    /// Lists are of the newest state, never of a cache that lags: a second list must not bring back what is gone.
    fn selection(&self) -> watcher::Config {
        let config = watcher::Config::default().page_size(PAGE);
        let config = config.timeout(rand::rng().random_range(WATCH_SECONDS));
        match (self.only, self.watched.place) {
            (Some(name), _) => config.fields(&format!("metadata.name={name}")),
            // Helm's history and account tokens are no credentials, and may be large.
            (None, Place::Own) => {
                config.fields("type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token")
            }
            (None, Place::Namespaces | Place::OwnAndRoot(_)) => config,
        }
    }
}

impl Course {
    /// Why an absence is not believed yet.
    fn doubts(&mut self, absence: &Absence) -> Option<String> {
        let reason = match absence {
            // A kind that never was there is no surprise.
            Absence::NotInstalled if !self.listed => return None,
            Absence::NotInstalled => "the cluster does not know this kind any more".to_owned(),
            Absence::Forbidden(reason) => reason.clone(),
        };
        self.refused += 1;
        (self.refused <= DOUBTS).then_some(reason)
    }
}

fn broken(error: &watcher::Error) -> End {
    match error {
        watcher::Error::WatchError(status) => refused(status.code, &status.message),
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ended(error),
        watcher::Error::NoResourceVersion => End::Failed(error.to_string()),
    }
}

fn ended(error: &Error) -> End {
    match error {
        Error::Api(status) => refused(status.code, &status.message),
        other => End::Failed(causes(other)),
    }
}

fn refused(code: u16, message: &str) -> End {
    match code {
        410 => End::Expired,
        404 => End::Absent(Absence::NotInstalled),
        403 => End::Absent(Absence::Forbidden(message.to_owned())),
        code => End::Failed(format!("{code} {message}")),
    }
}

/// An error with what it comes from: alone it often says no more than that it is one.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Waits between failures: they double up to a bound, and vary so that many gateways do not come at once.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    last: Option<Instant>,
}

impl Pause {
    pub(super) fn next(&mut self, now: Instant) -> Duration {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > CALM) {
            self.failures = 0;
        }
        self.last = Some(now);
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
        self.failures += 1;
        vary(wait)
    }
}

/// Between half of it and half as much again.
fn vary(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.5..1.5))
}

#[cfg(test)]
mod tests;
