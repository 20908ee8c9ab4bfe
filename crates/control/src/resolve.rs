//! DNS for the names that clusters need (ServiceEntry `resolution: DNS`), on a thread of its own.
//!
//! An answer is asked for again when its time to live is over. A failure keeps the last answer and is tried
//! again soon: a name server that is away must not take endpoints away.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Shortest time between two questions for one name, whatever its time to live.
pub const SHORTEST_TTL: Duration = Duration::from_secs(1);

/// Longest time an answer is believed, whatever its time to live.
pub const LONGEST_TTL: Duration = Duration::from_secs(300);

/// Between two questions for a name that did not resolve.
pub const RETRY: Duration = Duration::from_secs(5);

/// Questions under way at once.
const PARALLEL: usize = 16;

/// What is known of the names asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// The last answer for each name that ever had one, sorted.
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
    /// Why the last question failed, for each name whose did.
    pub failures: BTreeMap<String, String>,
}

/// Called with all answers whenever one has changed; false stops the resolver.
pub type OnAnswers = Box<dyn FnMut(Answers) -> bool + Send>;

/// Addresses and how long they are good for (`None`: they do not say), or why there are none.
type Answer = Result<(Vec<IpAddr>, Option<Instant>), String>;

/// How one name is asked for.
type Ask = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// The resolver; dropping it ends its thread.
pub struct Resolver {
    wanted: watch::Sender<Wanted>,
}

/// What is to be resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    names: BTreeSet<String>,
    /// Between two questions for a name whose answer has no time to live.
    refresh: Duration,
}

impl Resolver {
    /// Starts the thread. The system's name servers and hosts file are read when the first name is wanted.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be started.
    pub fn start(on_answers: OnAnswers) -> io::Result<Self> {
        Self::with(on_answers, system)
    }

    fn with(on_answers: OnAnswers, ask: fn() -> Ask) -> io::Result<Self> {
        let (wanted, receiver) = watch::channel(Wanted::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("dns".to_owned()).spawn(move || {
            runtime.block_on(run(receiver, on_answers, ask));
        })?;
        Ok(Self { wanted })
    }

    /// Resolves exactly these names from now on; `refresh` is between two questions for a name whose answer has no
    /// time to live, within [`SHORTEST_TTL`] and [`LONGEST_TTL`].
    pub fn want(&self, names: BTreeSet<String>, refresh: Duration) {
        let new = Wanted { names, refresh };
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != new;
            *wanted = new;
            changed
        });
    }
}

/// Asks for what is wanted until nobody wants anything any more. Dropping it drops the questions under way.
async fn run(mut wanted: watch::Receiver<Wanted>, mut on_answers: OnAnswers, ask: fn() -> Ask) {
    if wanted.changed().await.is_err() {
        return;
    }
    let ask = ask();
    let mut answers = Answers::default();
    let mut due: BTreeMap<String, Instant> = BTreeMap::new();
    let mut questions: JoinSet<(String, Answer)> = JoinSet::new();
    follow(&wanted.borrow_and_update().names, &mut due, &mut answers);
    loop {
        let now = Instant::now();
        let ready: Vec<_> = due.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        for name in ready.into_iter().take(PARALLEL.saturating_sub(questions.len())) {
            // Until its answer is here, the name is not due again.
            due.insert(name.clone(), now + LONGEST_TTL);
            let question = ask(name.clone());
            questions.spawn(async move { (name, question.await) });
        }
        let next = match questions.len() {
            PARALLEL.. => None,
            _ => due.values().min().copied(),
        };
        let sleep = tokio::time::sleep_until(next.unwrap_or(now + LONGEST_TTL).into());
        tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => follow(&wanted.borrow_and_update().names, &mut due, &mut answers),
                Err(_) => return,
            },
            Some(Ok((name, answer))) = questions.join_next() => {
                // An answer to what nobody wants any more is dropped.
                let Some(at) = due.get_mut(&name) else { continue };
                let again = answers.take(&name, answer, Instant::now(), wanted.borrow().refresh);
                *at = again.at;
                if again.changed && !on_answers(answers.clone()) {
                    return;
                }
            }
            () = sleep => {}
        }
    }
}

/// Names new to `due` are asked for at once, and the others forgotten.
fn follow(wanted: &BTreeSet<String>, due: &mut BTreeMap<String, Instant>, answers: &mut Answers) {
    due.retain(|name, _| wanted.contains(name));
    answers.addresses.retain(|name, _| wanted.contains(name));
    answers.failures.retain(|name, _| wanted.contains(name));
    let now = Instant::now();
    for name in wanted {
        due.entry(name.clone()).or_insert(now);
    }
}

/// What an answer means for its name.
struct Again {
    at: Instant,
    changed: bool,
}

impl Answers {
    fn take(&mut self, name: &str, answer: Answer, now: Instant, refresh: Duration) -> Again {
        match answer {
            Ok((addresses, until)) => {
                let failed = self.failures.remove(name).is_some();
                let old = self.addresses.insert(name.to_owned(), addresses);
                let changed = failed || old.as_ref() != self.addresses.get(name);
                let until = until.unwrap_or_else(|| now + refresh.min(LONGEST_TTL));
                Again { at: until.clamp(now + SHORTEST_TTL, now + LONGEST_TTL), changed }
            }
            Err(reason) => {
                let old = self.failures.insert(name.to_owned(), reason);
                Again { at: now + RETRY, changed: old.as_ref() != self.failures.get(name) }
            }
        }
    }
}

/// Asks as the system is configured to.
fn system() -> Ask {
    match system_resolver() {
        Ok(resolver) => Arc::new(move |name| {
            let resolver = resolver.clone();
            Box::pin(async move { look_up(&resolver, name).await })
        }),
        Err(reason) => Arc::new(move |_| {
            let reason = reason.clone();
            Box::pin(async move { Err(reason) })
        }),
    }
}

fn system_resolver() -> Result<TokioResolver, String> {
    let mut builder = TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
    // Addresses of a family that the host does not have are found out when connecting.
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Times to live are kept here; a second cache would only add to them.
    builder.options_mut().cache_size = 0;
    builder.build().map_err(|error| error.to_string())
}

async fn look_up(resolver: &TokioResolver, mut name: String) -> Answer {
    // A name with a dot is complete: the search list of a pod would multiply the questions.
    if name.contains('.') && !name.ends_with('.') {
        name.push('.');
    }
    let answer = resolver.lookup_ip(name).await.map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = answer.iter().collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err("no address".to_owned());
    }
    // A time to live of zero asks for the configured rate (Envoy: `respect_dns_ttl`).
    let until = Some(answer.valid_until()).filter(|until| *until > Instant::now());
    Ok((addresses, until))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn start(ask: fn() -> Ask) -> (Resolver, Receiver<Answers>) {
        let (sender, receiver) = channel();
        let resolver = Resolver::with(Box::new(move |answers| sender.send(answers).is_ok()), ask);
        (resolver.expect("thread"), receiver)
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn localhost_needs_no_name_server() {
        let (resolver, answers) = start(system);
        resolver.want(names(&["localhost"]), SHORTEST_TTL);
        let answers = answers.recv_timeout(DEADLINE).expect("an answer");
        let loopback = |address: &IpAddr| address.is_loopback();
        assert!(answers.addresses["localhost"].iter().all(loopback), "{answers:?}");
    }

    #[test]
    fn a_failure_keeps_the_last_answer() {
        /// Answers once, with no time to live, then fails.
        fn once() -> Ask {
            let asked = Arc::new(Mutex::new(false));
            Arc::new(move |_| {
                let first = !std::mem::replace(&mut *asked.lock().expect("lock"), true);
                Box::pin(async move {
                    let loopback = IpAddr::from([127, 0, 0, 1]);
                    if first { Ok((vec![loopback], None)) } else { Err("away".to_owned()) }
                })
            })
        }
        let (resolver, answers) = start(once);
        resolver.want(names(&["a.test"]), SHORTEST_TTL);
        let first = answers.recv_timeout(DEADLINE).expect("an answer");
        let second = answers.recv_timeout(DEADLINE).expect("a failure");
        assert_eq!(first.addresses, second.addresses);
        assert_eq!(second.failures["a.test"], "away");
    }

    #[test]
    fn when_a_name_is_asked_for_again() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let again = |answer: Answer, refresh| Answers::default().take("a", answer, now, refresh).at - now;
        let good = |until: Option<Duration>| Ok((Vec::new(), until.map(|until| now + until)));
        for (answer, refresh, expected) in [
            (good(Some(30 * second)), 60 * second, 30 * second),
            (good(Some(second / 10)), 60 * second, SHORTEST_TTL),
            (good(Some(3600 * second)), 60 * second, LONGEST_TTL),
            (good(None), 60 * second, 60 * second),
            (good(None), Duration::ZERO, SHORTEST_TTL),
            (good(None), Duration::MAX, LONGEST_TTL),
            (Err("away".to_owned()), 60 * second, RETRY),
            (Err("away".to_owned()), second, RETRY),
        ] {
            assert_eq!(again(answer.clone(), refresh), expected, "{answer:?} {refresh:?}");
        }
    }

    #[test]
    fn names_no_longer_wanted_are_forgotten() {
        let mut answers = Answers::default();
        let mut due = BTreeMap::new();
        follow(&names(&["a", "b"]), &mut due, &mut answers);
        answers.addresses.insert("a".into(), Vec::new());
        answers.failures.insert("b".into(), String::new());
        follow(&names(&["c"]), &mut due, &mut answers);
        assert_eq!(due.keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(answers, Answers::default());
    }
}
