//! What one change costs, by how much there is: a VirtualService, an EndpointSlice, an application that comes and goes,
//! beside compiling everything; and what the objects and the compiler's memory of them take.
//!
//! Not criterion: what counts here is the slowest of a hundred, since each is a client's wait. Both the time on the
//! clock and the time on the processor are told: on a busy machine the former says more about the others.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use portcullis_api::{Kind, Object};
use portcullis_compile::{Compiler, Environment, Objects, Work, compile};

/// The binary's, so that compiling costs what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Changes of each kind.
const TURNS: usize = 200;
/// Whole compilations are slow: fewer tell enough.
const WHOLE_TURNS: usize = 10;

fn main() {
    // Cargo hands over `--bench` and the filter of all benchmarks.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if filter.is_some_and(|filter| !"changes".contains(&filter)) {
        return;
    }
    println!(
        "{:>8}  {:<28} {:>10} {:>10} {:>10} {:>10}",
        "hosts", "", "median", "99 of 100", "processor", "99 of 100"
    );
    for count in [10, 1_000, 10_000] {
        measure(count);
    }
}

fn measure(count: usize) {
    let before = resident();
    let text = configuration(count);
    let clock = Clock::start();
    let mut objects: Objects = load(&text).into_iter().collect();
    let reading = clock.stop();
    drop(text);
    let with_objects = resident();
    let environment = Environment::for_tests();
    let mut compiler = Compiler::default();
    let clock = Clock::start();
    let mut held = compiler.compile(&objects, &environment).snapshot;
    let first = clock.stop();
    let with_compiler = resident();
    row(count, "read from YAML", &mut [reading]);
    row(count, "first snapshot", &mut [first]);
    let whole = (0..WHOLE_TURNS).map(|_| {
        let clock = Clock::start();
        drop(compile(&objects, &environment));
        clock.stop()
    });
    row(count, "everything, with findings", &mut whole.collect::<Vec<_>>());
    let kinds: [(&str, Change); 3] =
        [("a VirtualService", route), ("an EndpointSlice", slice), ("a Service's ports", service)];
    for (name, change) in kinds {
        let mut times = Vec::new();
        for turn in 0..TURNS {
            for object in load(&change(turn * 7919 % count, turn + 1)) {
                objects.update(object);
            }
            let clock = Clock::start();
            let built = compiler.compile(&objects, &environment);
            // The last snapshot goes when the new one is there.
            held = built.snapshot;
            times.push(clock.stop());
            assert_ne!(built.work, Work::Whole, "{name}");
        }
        row(count, name, &mut times);
    }
    let mut times = Vec::new();
    for turn in 0..TURNS {
        let name = format!("app-{}", count + 1);
        if turn % 2 == 0 {
            for object in load(&application(count + 1)) {
                objects.update(object);
            }
        } else {
            for kind in [Kind::VirtualService, Kind::Service, Kind::EndpointSlice] {
                objects.remove(kind, "default", &name);
            }
        }
        let clock = Clock::start();
        held = compiler.compile(&objects, &environment).snapshot;
        times.push(clock.stop());
    }
    row(count, "an application comes or goes", &mut times);
    println!(
        "{count:>8}  resident: objects {:.1} MiB, snapshot and compiler {:.1} MiB; {} clusters",
        mebibytes(before, with_objects),
        mebibytes(with_objects, with_compiler),
        held.clusters.len(),
    );
}

/// The text of application `number` after so many changes.
type Change = fn(usize, usize) -> String;

/// Time on the clock and on the processor.
type Times = (Duration, Duration);

struct Clock {
    begun: Instant,
    processor: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { begun: Instant::now(), processor: processor() }
    }

    fn stop(self) -> Times {
        (self.begun.elapsed(), processor().saturating_sub(self.processor))
    }
}

/// What this thread has had of the processor, as the scheduler counts.
fn processor() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

fn row(count: usize, name: &str, times: &mut [Times]) {
    let [clock, processor] = [|times: &Times| times.0, |times: &Times| times.1].map(|part| {
        let mut times: Vec<Duration> = times.iter().map(part).collect();
        times.sort_unstable();
        [50, 99].map(|percent| {
            let time = times[(times.len() * percent / 100).min(times.len() - 1)];
            format!("{:.3} ms", time.as_secs_f64() * 1e3)
        })
    });
    println!(
        "{count:>8}  {name:<28} {:>10} {:>10} {:>10} {:>10}",
        clock[0], clock[1], processor[0], processor[1]
    );
}

fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn mebibytes(before: usize, after: usize) -> f64 {
    after.saturating_sub(before) as f64 / f64::from(1 << 20)
}

fn load(text: &str) -> Vec<Object> {
    portcullis_api::load("bench", text).objects
}

/// As many applications, behind one port of one Gateway.
fn configuration(count: usize) -> String {
    let mut text = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]"
        .to_owned();
    for number in 0..count {
        let _ = write!(text, "\n---{}", application(number));
    }
    text
}

/// A host with two routes, a Service and its endpoints.
fn application(number: usize) -> String {
    format!("{}\n---{}\n---{}", service(number, 0), slice(number, 0), route(number, 0))
}

fn service(number: usize, turn: usize) -> String {
    let more = if turn % 2 == 1 { ", {name: http-admin, port: 81}" } else { "" };
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: app-{number}, namespace: default}}
spec: {{ports: [{{name: http, port: 80}}{more}]}}"
    )
}

fn slice(number: usize, turn: usize) -> String {
    let (high, low) = (number / 250 % 250, number % 250);
    let last = turn % 250 + 1;
    format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: app-{number}, namespace: default, labels: {{kubernetes.io/service-name: app-{number}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints:
- {{addresses: [10.{high}.{low}.{last}], conditions: {{ready: true}}}}
- {{addresses: [10.{high}.{low}.251], conditions: {{ready: true}}}}
- {{addresses: [10.{high}.{low}.252], conditions: {{ready: true}}}}
- {{addresses: [10.{high}.{low}.253], conditions: {{ready: true}}}}
- {{addresses: [10.{high}.{low}.254], conditions: {{ready: true}}}}"
    )
}

fn route(number: usize, turn: usize) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app-{number}, namespace: default}}
spec:
  hosts: [app-{number}.example.com]
  gateways: [istio-system/edge]
  http:
  - match: [{{uri: {{prefix: /api/}}}}]
    rewrite: {{uri: /}}
    timeout: {}s
    route: [{{destination: {{host: app-{number}, port: {{number: 80}}}}}}]
  - route: [{{destination: {{host: app-{number}, port: {{number: 80}}}}}}]",
        turn % 50 + 1
    )
}
