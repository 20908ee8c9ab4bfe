//! What Istio's validating webhook says of an object: what it refuses, and what it warns about.
//!
//! An object is judged by itself, as when it is applied: nothing here looks at another object. The rules are those
//! of `pkg/config/validation` of Istio (August 2026), one file a kind; each names the function it follows. What the
//! API server refuses before (types, sizes, fields that exclude each other) is the loader's. A refused object is
//! compiled all the same: it may have reached the cluster before the rule did. So this is no part of a compilation, which
//! happens at every change of a running gateway.

mod client_tls;
mod destination_rule;
mod gateway;
mod header_value;
mod http_route;
mod load_balancer;
mod metadata;
mod names;
mod regex;
mod service_entry;
mod unreachable;
mod virtual_service;
mod workload_entry;

use std::fmt::Display;
use std::time::Duration as Length;

use portcullis_api::wire::Duration;
use portcullis_api::{Kind, Resource, Severity};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Reporter, Subject};
use crate::objects::Objects;

/// What Istio's webhook says of each object by itself: refusals are [`Code::SchemaValidationError`], the rest are
/// warnings. Sorted as [`crate::compile`] sorts.
#[must_use]
pub fn admission(objects: &Objects) -> Vec<Diagnostic> {
    let mut collected = Diagnostics::default();
    let diagnostics = &mut collected;
    for object in objects.gateways.values() {
        if let Some(mut review) = begin(Kind::Gateway, object, diagnostics) {
            gateway::review(object, &mut review);
        }
    }
    for object in objects.virtual_services.values() {
        if let Some(mut review) = begin(Kind::VirtualService, object, diagnostics) {
            virtual_service::review(object, &mut review);
        }
    }
    for object in objects.destination_rules.values() {
        if let Some(mut review) = begin(Kind::DestinationRule, object, diagnostics) {
            destination_rule::review(object, &mut review);
        }
    }
    for object in objects.service_entries.values() {
        if let Some(mut review) = begin(Kind::ServiceEntry, object, diagnostics) {
            service_entry::review(object, &mut review);
        }
    }
    for object in objects.workload_entries.values() {
        if let Some(mut review) = begin(Kind::WorkloadEntry, object, diagnostics) {
            workload_entry::review(&object.spec, None, true, &mut review.at("spec"));
        }
    }
    collected.into_sorted()
}

/// Looks at the metadata; `None` when Istio would look no further.
fn begin<'d, 's, S>(
    kind: Kind,
    object: &'s Resource<S>,
    diagnostics: &'d mut Diagnostics,
) -> Option<Review<'d, 's>> {
    let reporter = Reporter::new(diagnostics, Subject::new(kind, object), "");
    let mut review = Review { reporter, silent: false };
    metadata::review(&object.meta, &mut review).then_some(review)
}

/// What is wrong with a value, and what to do about it.
struct Fault {
    message: String,
    remedy: &'static str,
}

/// `Err` where Istio refuses.
type Verdict = Result<(), Fault>;

fn fault(message: impl Into<String>, remedy: &'static str) -> Verdict {
    Err(Fault { message: message.into(), remedy })
}

/// Collects what is said of one part of one object.
struct Review<'d, 's> {
    reporter: Reporter<'d, 's>,
    silent: bool,
}

impl<'s> Review<'_, 's> {
    /// A part of this part.
    fn at(&mut self, field: impl Display) -> Review<'_, 's> {
        Review { reporter: self.reporter.at(field), silent: self.silent }
    }

    /// The same part without warnings: Istio drops them on the way out of some parts.
    fn silent(self) -> Self {
        Self { silent: true, ..self }
    }

    /// Refuses the object for the sake of `field`; an empty one is this part itself.
    fn refuse(&mut self, field: impl Display, message: impl Into<String>, remedy: &'static str) {
        self.reporter.report(Code::SchemaValidationError, field, message, remedy);
    }

    /// Warns: the object is accepted.
    fn warn(&mut self, field: impl Display, message: impl Into<String>, remedy: &'static str) {
        self.warn_as(Code::SchemaWarning, field, message, remedy);
    }

    /// Warns with a code of its own, whatever its usual severity.
    fn warn_as(&mut self, code: Code, field: impl Display, message: impl Into<String>, remedy: &'static str) {
        if !self.silent {
            self.reporter.report_as(Severity::Warning, code, field, message, remedy);
        }
    }

    /// Refuses the object where the verdict does.
    fn judge(&mut self, field: impl Display, verdict: Verdict) {
        if let Err(Fault { message, remedy }) = verdict {
            self.refuse(field, message, remedy);
        }
    }

    /// Refuses a length of time that is not a positive, whole number of milliseconds (`ValidateDuration`).
    fn length(&mut self, field: impl Display, length: Option<&Duration>) {
        let Some(length) = length else { return };
        let verdict = match length.nanos() {
            nanos if nanos < MILLISECOND => fault("must be at least 1ms", "write a length such as 5s"),
            nanos if nanos % MILLISECOND != 0 => {
                fault("is finer than a millisecond", "round it to whole milliseconds")
            }
            _ => Ok(()),
        };
        self.judge(field, verdict);
    }
}

/// In nanoseconds.
const MILLISECOND: i64 = Length::from_millis(1).as_nanos() as i64;

/// `1 to 65535` (`ValidatePort`).
fn port(number: u32) -> Verdict {
    match number {
        1..=65535 => Ok(()),
        _ => fault(format!("{number} is no port"), "use 1 to 65535"),
    }
}

/// The part of a map or a field named like a key: `set.x-a`, or `set["a.b"]` where a dot would mislead.
fn member(field: &str, key: &str) -> String {
    let plain =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if plain { format!("{field}.{key}") } else { format!("{field}[{key:?}]") }
}

/// A protocol Istio has a name for (`protocol.Parse`), in lower case.
pub(crate) fn protocol(text: &str) -> Option<&'static str> {
    const KNOWN: [&str; 12] = [
        "tcp",
        "udp",
        "grpc",
        "grpc-web",
        "http",
        "http_proxy",
        "http2",
        "https",
        "tls",
        "mongo",
        "redis",
        "mysql",
    ];
    KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(text))
}

/// Whether a protocol is HTTP or stands on it, without TLS.
fn is_http(protocol: Option<&str>) -> bool {
    matches!(protocol, Some("http" | "http2" | "http_proxy" | "grpc" | "grpc-web"))
}

/// Whether a protocol is or begins with TLS.
fn is_tls(protocol: Option<&str>) -> bool {
    matches!(protocol, Some("https" | "tls"))
}

#[cfg(test)]
mod tests;
