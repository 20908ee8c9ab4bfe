//! What is expected, compared with what was decided: everything that is written, nothing else.

use portcullis_api::networking::{HeaderOperations, Headers};
use portcullis_api::route_test::{
    Expectation, ExpectedDestination, ExpectedRedirect, ExpectedResponse, ExpectedTls, ExpectedWeight,
};
use portcullis_snapshot::host::without_port;

use crate::decide::{Decision, DestinationFacts, ForwardFacts, HeaderChange, Operation, Outcome, Side};
use crate::question::{Kind, Question};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Miss {
    /// Below `expect`, such as `destination.port`.
    pub(super) field: String,
    pub(super) expected: String,
    pub(super) got: String,
}

/// Everything that is not as expected.
pub(super) fn judge(expect: &Expectation, question: &Question, decision: &Decision) -> Vec<Miss> {
    let mut judge = Judge { decision, misses: Vec::new() };
    judge.outcome(expect, question);
    judge.forwarding(expect, question);
    judge.place("rule", expect.rule.as_deref(), decision.won.as_ref().map(|rule| rule.origin.as_str()));
    judge.place(
        "server",
        expect.server.as_deref(),
        decision.chain.as_ref().map(|chain| chain.origin.as_str()),
    );
    if let Some(expected) = &expect.rule_name {
        let got = decision.won.as_ref().map_or("no rule", |rule| &rule.name);
        judge.text("ruleName", expected, got);
    }
    if let Some(expected) = expect.tls {
        judge.tls(expected);
    }
    judge.misses
}

struct Judge<'d> {
    decision: &'d Decision,
    misses: Vec<Miss>,
}

impl Judge<'_> {
    fn miss(&mut self, field: &str, expected: impl Into<String>, got: impl Into<String>) {
        self.misses.push(Miss { field: field.to_owned(), expected: expected.into(), got: got.into() });
    }

    fn text(&mut self, field: &str, expected: &str, got: &str) {
        if expected != got {
            self.miss(field, expected, got);
        }
    }

    fn number(&mut self, field: &str, expected: Option<u16>, got: u16) {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            self.miss(field, expected.to_string(), got.to_string());
        }
    }

    /// A place in the configuration, of which the beginning may be given.
    fn place(&mut self, field: &str, expected: Option<&str>, got: Option<&str>) {
        let Some(expected) = expected else { return };
        let rest = got.and_then(|got| got.strip_prefix(expected));
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '[', '.'])) {
            self.miss(field, expected, got.unwrap_or("none"));
        }
    }

    fn outcome(&mut self, expect: &Expectation, question: &Question) {
        if let Some(expected) = &expect.destination {
            self.only_destination(expected);
        }
        if let Some(expected) = &expect.weights {
            self.weights(expected);
        }
        if let Some(expected) = &expect.redirect {
            self.redirect(expected);
        }
        if let Some(expected) = &expect.response {
            self.response(expected);
        }
        let outcome = &self.decision.outcome;
        let connection = !matches!(question.kind, Kind::Http(_));
        // A connection to a service that does not exist is closed, a request gets 503.
        let lost = matches!(outcome, Outcome::Forward(to) if to.destinations.iter().all(|to| !to.known));
        if let Some(expected) = &expect.error {
            match outcome {
                Outcome::Fail { status, .. } => self.number("error.status", Some(expected.status), *status),
                _ if lost && !connection => self.number("error.status", Some(expected.status), 503),
                other => self.miss("error", format!("an error {}", expected.status), in_words(other)),
            }
        }
        let refused = matches!(outcome, Outcome::Refuse { .. }) || (lost && connection);
        if let Some(expected) = expect.refused.filter(|expected| *expected != refused) {
            let expected = if expected { "the connection is refused" } else { "the connection is taken" };
            self.miss("refused", expected, in_words(outcome));
        }
    }

    fn only_destination(&mut self, expected: &ExpectedDestination) {
        match &self.decision.outcome {
            Outcome::Forward(forward) => match forward.destinations.as_slice() {
                [only] => self.destination(expected, only),
                several => self.miss("destination", "one destination", listed(several)),
            },
            other => self.miss("destination", destination_in_words(expected), in_words(other)),
        }
    }

    fn redirect(&mut self, expected: &ExpectedRedirect) {
        match &self.decision.outcome {
            Outcome::Redirect { status, location, .. } => {
                self.number("redirect.status", expected.status, *status);
                if let Some(expected) = &expected.location {
                    self.text("redirect.location", expected, location);
                }
            }
            other => self.miss("redirect", "a redirect", in_words(other)),
        }
    }

    fn response(&mut self, expected: &ExpectedResponse) {
        match &self.decision.outcome {
            Outcome::Respond { status, body, .. } => {
                self.number("response.status", expected.status, *status);
                if let Some(expected) = &expected.body {
                    self.text("response.body", expected, &String::from_utf8_lossy(body));
                }
            }
            other => self.miss("response", "a fixed response", in_words(other)),
        }
    }

    fn destination(&mut self, expected: &ExpectedDestination, got: &DestinationFacts) {
        let to = Target::of(got);
        if !names(&expected.host, to.host) {
            self.miss("destination.host", &expected.host, to.host);
        }
        self.number("destination.port", expected.port, to.port);
        if let Some(subset) = &expected.subset {
            self.text("destination.subset", subset, to.subset);
        }
        self.known(got);
    }

    /// A destination that does not exist is not what anybody expects. One without endpoints may well be: they are
    /// rarely kept beside the routes.
    fn known(&mut self, got: &DestinationFacts) {
        if !got.known {
            let why = got.problem.as_deref().unwrap_or_default();
            self.miss("destination", "a service that exists", format!("{}: {why}", got.cluster));
        }
    }

    fn weights(&mut self, expected: &[ExpectedWeight]) {
        let Outcome::Forward(forward) = &self.decision.outcome else {
            return self.miss("weights", weights_in_words(expected), in_words(&self.decision.outcome));
        };
        let mut left: Vec<&DestinationFacts> = forward.destinations.iter().collect();
        let all = expected.iter().all(|expected| {
            // A destination of weight 0 is no destination.
            let found = left.iter().position(|got| is_weighted(expected, got));
            found.map(|at| left.remove(at)).is_some() || expected.weight == 0
        });
        if !(all && left.is_empty()) {
            self.miss("weights", weights_in_words(expected), listed(&forward.destinations));
        }
        forward.destinations.iter().for_each(|got| self.known(got));
    }

    fn forwarding(&mut self, expect: &Expectation, question: &Question) {
        let written = [
            ("path", expect.path.is_some()),
            ("authority", expect.authority.is_some()),
            ("headers", expect.headers.is_some()),
        ];
        let Some((field, _)) = written.into_iter().find(|(_, written)| *written) else { return };
        let decision = self.decision;
        let Outcome::Forward(forward) = &decision.outcome else {
            return self.miss(field, "a request that is forwarded", in_words(&decision.outcome));
        };
        if let Some(expected) = &expect.path {
            let got = forward.path.as_ref().or(decision.path.as_ref()).map_or("", String::as_str);
            self.text("path", expected, got);
        }
        if let Some(expected) = &expect.authority {
            self.text("authority", expected, &authority(forward, question));
        }
        let Some(Headers { request, response }) = &expect.headers else { return };
        for (side, name, operations) in
            [(Side::Request, "headers.request", request), (Side::Response, "headers.response", response)]
        {
            if let Some(operations) = operations {
                self.headers(side, name, operations, &forward.headers);
            }
        }
    }

    fn headers(&mut self, side: Side, field: &str, expected: &HeaderOperations, made: &[HeaderChange]) {
        let set = expected.set.iter().map(|(name, value)| (Operation::Set, name, value.as_str()));
        let add = expected.add.iter().map(|(name, value)| (Operation::Add, name, value.as_str()));
        let remove = expected.remove.iter().map(|name| (Operation::Remove, name, ""));
        for (operation, name, value) in set.chain(add).chain(remove) {
            let name = match name.to_ascii_lowercase() {
                authority if authority == ":authority" => "host".to_owned(),
                name => name,
            };
            let wanted = HeaderChange { side, operation, name, value: value.to_owned() };
            if made.contains(&wanted) {
                continue;
            }
            let same = made.iter().filter(|made| made.side == side && made.name == wanted.name);
            let same: Vec<String> = same.map(ToString::to_string).collect();
            let got = if same.is_empty() { "no such change".to_owned() } else { same.join("; ") };
            self.miss(field, wanted.to_string(), got);
        }
    }

    fn tls(&mut self, expected: ExpectedTls) {
        let got = self.decision.chain.as_ref().map_or("no server", |chain| match chain.tls {
            // The certificate is taken for granted.
            "unavailable" => "terminated",
            other => other,
        });
        let expected = match expected {
            ExpectedTls::Plaintext => "plaintext",
            ExpectedTls::Terminated => "terminated",
            ExpectedTls::PassedThrough => "passed through",
        };
        self.text("tls", expected, got);
    }
}

/// A cluster's name, `outbound|80|v1|shop.default.svc.cluster.local`, in its parts.
struct Target<'a> {
    host: &'a str,
    port: u16,
    subset: &'a str,
}

impl<'a> Target<'a> {
    fn of(destination: &'a DestinationFacts) -> Self {
        let mut parts = destination.cluster.splitn(4, '|').skip(1);
        let mut next = || parts.next().unwrap_or_default();
        let (port, subset, host) = (next(), next(), next());
        Self { host, port: port.parse().unwrap_or(0), subset }
    }
}

/// Whether `written` is the service `host`, or a short name of it.
fn names(written: &str, host: &str) -> bool {
    let short = |own: &str| {
        let name = own.split('.').next().unwrap_or(own);
        written == name || written == own || written.strip_suffix(".svc") == Some(own)
    };
    written == host || host.split_once(".svc.").is_some_and(|(own, _)| short(own))
}

fn is_weighted(expected: &ExpectedWeight, got: &DestinationFacts) -> bool {
    let to = Target::of(got);
    names(&expected.host, to.host)
        && expected.port.is_none_or(|port| port == to.port)
        && expected.subset.as_ref().is_none_or(|subset| subset == to.subset)
        && (got.share - f64::from(expected.weight)).abs() < 0.5
}

/// The host the backend sees.
fn authority(forward: &ForwardFacts, question: &Question) -> String {
    let set = |change: &&HeaderChange| change.side == Side::Request && change.name == "host";
    if let Some(change) = forward.headers.iter().find(set) {
        return change.value.clone();
    }
    let asked = match &question.kind {
        Kind::Http(request) => request.authority.as_str(),
        Kind::Tls { .. } | Kind::Tcp => "",
    };
    forward.authority.clone().unwrap_or_else(|| asked.to_owned())
}

fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Forward(forward) => format!("forwarded to {}", listed(&forward.destinations)),
        Outcome::Redirect { status, location, .. } => format!("a redirect {status} to {location}"),
        Outcome::Respond { status, .. } => format!("a fixed response {status}"),
        Outcome::Fail { status, why, .. } => format!("an error {status}: {why}"),
        Outcome::Refuse { why } => format!("refused: {why}"),
    }
}

fn listed(destinations: &[DestinationFacts]) -> String {
    match destinations {
        [only] => only.cluster.clone(),
        several => {
            let each = several.iter().map(|to| format!("{} % {}", to.share.round(), to.cluster));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

fn destination_in_words(expected: &ExpectedDestination) -> String {
    let port = expected.port.map(|port| format!(":{port}")).unwrap_or_default();
    let subset = expected.subset.as_ref().map(|subset| format!(" subset {subset:?}")).unwrap_or_default();
    format!("forwarded to {}{port}{subset}", without_port(&expected.host))
}

fn weights_in_words(expected: &[ExpectedWeight]) -> String {
    let one = |to: &ExpectedWeight| {
        let port = to.port.map(|port| format!(":{port}")).unwrap_or_default();
        let subset = to.subset.as_ref().map(|subset| format!(" subset {subset:?}")).unwrap_or_default();
        format!("{} % {}{port}{subset}", to.weight, to.host)
    };
    expected.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_short_names() {
        const HOST: &str = "shop.default.svc.cluster.local";
        for (written, same) in [
            (HOST, true),
            ("shop", true),
            ("shop.default", true),
            ("shop.default.svc", true),
            ("shop.default.svc.cluster", false),
            ("shop.other", false),
            ("sho", false),
        ] {
            assert_eq!(names(written, HOST), same, "{written}");
        }
        assert!(names("a.com", "a.com") && !names("a", "a.com"));
    }
}
