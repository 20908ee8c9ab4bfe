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
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_util::TryStreamExt as _;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, ListParams, ObjectList, WatchEvent, WatchParams,
};
use kube::core::Request;
use kube::{Client, Error, Resource as _};
use portcullis_api::Kind;
use portcullis_api::cert_manager::SOLVER;
use portcullis_telemetry::metrics::cluster::Clock;
use rand::RngExt as _;

use super::book::{From, Seen, Shared, Told};
use super::kinds::{Followed, Watched};
use super::read::{Keep, Reading, read, reference};
use super::unread::{self, qualified_unless};
use super::{News, Sink};
use crate::live::{Absence, Event, Scope};

/// The wait after a first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// After this long without a failure, the next one is a first one again.
const CALM: Duration = Duration::from_secs(60);
/// How often it is asked whether a kind has been installed meanwhile.
const ABSENT_WAIT: Duration = Duration::from_secs(8);
/// The same for a kind that is not read: nothing is served from it.
const UNREAD_WAIT: Duration = Duration::from_secs(60);
/// A watch that ends sooner is not begun anew at once.
const SHORT: Duration = Duration::from_secs(1);
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
    /// The namespace; `None` = all of them.
    pub(super) namespace: Option<Arc<str>>,
    /// The object of which all is kept.
    pub(super) whole: Option<&'static str>,
    /// The only object to watch.
    pub(super) only: Option<&'static str>,
    pub(super) keep: Keep,
    pub(super) clock: Arc<Clock>,
    pub(super) book: Shared,
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
            let end = self.attempt(&mut course).await;
            if matches!(end, End::Absent(_) | End::Expired) {
                // A refusal is an answer, too.
                self.hear();
            }
            let (news, wait) = match end {
                End::Unwanted => return,
                End::Expired => (None, course.pause.next(Instant::now())),
                End::Failed(reason) => (Some(Told::Failing(reason)), course.pause.next(Instant::now())),
                End::Absent(absence) => match course.doubts(&absence) {
                    Some(reason) => (Some(Told::Failing(reason)), course.pause.next(Instant::now())),
                    None => (Some(Told::Absent(absence)), vary(self.absent_wait())),
                },
            };
            if news.is_some_and(|news| !self.tell(news)) {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn tell(&self, told: Told) -> bool {
        let Watched { kind, group, .. } = self.watched;
        let name = qualified_unless(matches!(kind, Followed::Read(_)), group, kind.name());
        let from = From { kind: &name, namespace: self.namespace.as_deref() };
        let (number, change) = self.book.lock().unwrap_or_else(PoisonError::into_inner).enter(from, told);
        let namespace = self.namespace.clone();
        let news = match kind {
            Followed::Read(kind) => {
                News::Told { number, event: Event { scope: Scope { kind, namespace }, change } }
            }
            Followed::Unread(kind) => News::Unread(unread::Event { kind, group, namespace, change }),
        };
        (self.sink)(news)
    }

    fn absent_wait(&self) -> Duration {
        match self.watched.kind {
            Followed::Read(_) => ABSENT_WAIT,
            Followed::Unread(_) => UNREAD_WAIT,
        }
    }

    fn hear(&self) {
        self.clock.hear(SystemTime::now());
    }

    async fn attempt(&self, course: &mut Course) -> End {
        match self.served().await {
            Ok(Some(resource)) => self.observe(&Arc::new(resource), course).await,
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

    /// Lists and follows, until something is wrong. A watch that ends in order is followed by the next one, from where it
    /// ended; after anything else everything is listed anew. Going on from a place that a server, restored from a backup,
    /// has not come to yet would be to wait for ever.
    async fn observe(&self, resource: &Arc<ApiResource>, course: &mut Course) -> End {
        let mut place = match self.list(resource).await {
            Ok((seen, place)) => {
                (course.listed, course.refused) = (true, 0);
                if !self.tell(Told::Listed(seen)) {
                    return End::Unwanted;
                }
                place
            }
            Err(error) => return ended(&error),
        };
        loop {
            let start = Instant::now();
            if let Some(end) = self.watch(resource, &mut place, course).await {
                return end;
            }
            if start.elapsed() < SHORT {
                tokio::time::sleep(vary(SHORT)).await;
            }
        }
    }

    /// All objects, and the place in the history that they are of. Lists are of the newest state, never of a cache that lags:
    /// a second list must not bring back what is gone.
    async fn list(&self, resource: &Arc<ApiResource>) -> Result<(Vec<Seen>, String), Error> {
        let mut seen = Vec::new();
        let mut page = ListParams {
            field_selector: self.fields(),
            label_selector: self.labels(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        loop {
            let request = self.request(resource);
            let request = match self.watched.kind {
                Followed::Read(_) => request.list(&page),
                Followed::Unread(_) => request.list_metadata(&page),
            };
            let request = request.map_err(Error::BuildRequest)?;
            let list: ObjectList<DynamicObject> = self.client.request(request).await?;
            self.hear();
            seen.extend(list.items.into_iter().map(|object| self.read(resource, object)));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => return Ok((seen, list.metadata.resource_version.unwrap_or_default())),
            }
        }
    }

    /// Follows from `place`, and moves it along; nothing where the server ended it in order.
    async fn watch(
        &self,
        resource: &Arc<ApiResource>,
        place: &mut String,
        course: &mut Course,
    ) -> Option<End> {
        let timeout = Some(rand::rng().random_range(WATCH_SECONDS));
        let wish = WatchParams {
            field_selector: self.fields(),
            label_selector: self.labels(),
            timeout,
            ..WatchParams::default()
        };
        let request = self.request(resource);
        let request = match self.watched.kind {
            Followed::Read(_) => request.watch(&wish, place),
            Followed::Unread(_) => request.watch_metadata(&wish, place),
        };
        let request = match request.map_err(Error::BuildRequest) {
            Ok(request) => request,
            Err(error) => return Some(ended(&error)),
        };
        let stream = match self.client.request_events::<DynamicObject>(request).await {
            Ok(stream) => stream,
            Err(error) => return Some(ended(&error)),
        };
        let mut stream = pin!(stream);
        loop {
            self.hear();
            let event = match stream.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return None,
                Err(error) => return Some(ended(&error)),
            };
            course.refused = 0;
            match self.step(resource, event, place) {
                Ok(told) => {
                    if told.is_some_and(|told| !self.tell(told)) {
                        return Some(End::Unwanted);
                    }
                }
                Err(end) => return Some(end),
            }
        }
    }

    /// What an event comes to, and the place behind it.
    fn step(
        &self,
        resource: &Arc<ApiResource>,
        event: WatchEvent<DynamicObject>,
        place: &mut String,
    ) -> Result<Option<Told>, End> {
        let mut reach = |object: &DynamicObject| {
            if let Some(version) = &object.metadata.resource_version {
                place.clone_from(version);
            }
        };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                reach(&object);
                Ok(Some(Told::Applied(self.read(resource, object))))
            }
            WatchEvent::Deleted(object) => {
                reach(&object);
                Ok(Some(Told::Deleted(reference(self.watched, &object))))
            }
            WatchEvent::Bookmark(bookmark) => {
                *place = bookmark.metadata.resource_version;
                Ok(None)
            }
            WatchEvent::Error(status) => Err(refused(status.code, &status.message)),
        }
    }

    fn read(&self, resource: &Arc<ApiResource>, object: DynamicObject) -> Seen {
        let reading = Reading { watched: self.watched, resource, whole: self.whole, keep: self.keep };
        read(reading, object)
    }

    fn request(&self, resource: &ApiResource) -> Request {
        Request::new(DynamicObject::url_path(resource, self.namespace.as_deref()))
    }

    fn fields(&self) -> Option<String> {
        match (self.only, self.watched.kind) {
            (Some(name), _) => Some(format!("metadata.name={name}")),
            // Helm's history and account tokens are no credentials, and may be large.
            (None, Followed::Read(Kind::Secret)) => {
                Some("type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token".to_owned())
            }
            (None, _) => None,
        }
    }

    fn labels(&self) -> Option<String> {
        let solvers = matches!(self.watched.kind, Followed::Read(Kind::Ingress | Kind::HttpRoute));
        solvers.then(|| format!("{SOLVER}=true"))
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
pub(super) fn causes(error: &dyn std::error::Error) -> String {
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
