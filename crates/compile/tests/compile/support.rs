//! What the tests of the compiler share.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{LazyLock, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_compile::Compiled;
use portcullis_snapshot::Snapshot;
use portcullis_snapshot::action::HeaderOps;
use portcullis_snapshot::listener::ChainService;

/// Snapshot and diagnostics as text.
pub(crate) fn printed(compiled: &Compiled) -> (String, String) {
    let diagnostics: Vec<String> = compiled.diagnostics.iter().map(|found| format!("{found}\n")).collect();
    (portcullis_snapshot::text::snapshot(&compiled.snapshot), diagnostics.join("\n"))
}

/// Every HTTP route in full, with what the snapshot's own text leaves out.
pub(crate) fn whole_routes(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    for listener in &snapshot.listeners {
        let tls = listener.tls.sorted().into_iter().map(|(_, chain)| chain);
        for chain in listener.plain.iter().chain(tls) {
            let ChainService::Http(table) = &chain.service else { continue };
            for (pattern, host) in table.hosts.sorted() {
                out += &format!("\n{} {} {pattern} ({})\n", listener.name, table.name, host.name);
                for (ordinal, route) in host.routes().iter().enumerate() {
                    out +=
                        &format!("  {ordinal} {:?} {}\n    {:?}\n", &*route.name, route.origin, route.action);
                    let parts: [&dyn Debug; 4] =
                        [&route.request_headers, &route.response_headers, &route.cors, &route.fault];
                    for part in parts.map(|part| format!("{part:?}")) {
                        if part != "None" && part != format!("{:?}", HeaderOps::default()) {
                            out += &format!("    {part}\n");
                        }
                    }
                }
            }
        }
    }
    out
}

/// Puts things into another order, the same one in every run.
#[derive(Debug)]
pub(crate) struct Shuffle(u64);

impl Default for Shuffle {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Shuffle {
    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = u64::try_from(last + 1).expect("a length fits 64 bits");
            let other = usize::try_from(self.next() % bound).expect("smaller than a length");
            items.swap(last, other);
        }
    }

    fn next(&mut self) -> u64 {
        // Xorshift: any sequence will do.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Puts certificates in place of `@cert(host)@` and their keys in place of `@key(host)@`.
pub(crate) fn with_certificates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('@') {
        out.push_str(before);
        let found = ["cert(", "key("].iter().find_map(|kind| {
            let (host, tail) = after.strip_prefix(kind)?.split_once(")@")?;
            Some((*kind, host, tail))
        });
        match found {
            Some((kind, host, tail)) => {
                let (cert, key) = pair(host);
                out.push_str(if kind == "cert(" { &cert } else { &key });
                rest = tail;
            }
            None => {
                out.push('@');
                rest = after;
            }
        }
    }
    out + rest
}

static PAIRS: LazyLock<Mutex<HashMap<String, (String, String)>>> = LazyLock::new(Mutex::default);

fn pair(host: &str) -> (String, String) {
    let mut pairs = PAIRS.lock().expect("no test panics while it holds the lock");
    let made = pairs.entry(host.to_owned()).or_insert_with(|| {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("the host is a name");
        (STANDARD.encode(made.cert.pem()), STANDARD.encode(made.signing_key.serialize_pem()))
    });
    made.clone()
}
