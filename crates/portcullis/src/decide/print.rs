//! A decision as text for people.

use std::fmt::{self, Display, Formatter};

use super::facts::{Decision, DestinationFacts, ForwardFacts, Outcome, Rule};
use crate::output::Style;

/// Width of the column of labels.
const LABEL: usize = 14;

/// Endpoints shown of one cluster.
const MAX_ENDPOINTS: usize = 10;

impl Decision {
    /// The text, coloured as `style` says.
    pub(crate) fn shown(&self, style: Style) -> impl Display + '_ {
        Shown { decision: self, style }
    }
}

struct Shown<'a> {
    decision: &'a Decision,
    style: Style,
}

impl Display for Shown<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.style.bold(&self.decision.asked))?;
        self.connection(out)?;
        self.rules(out)?;
        self.outcome(out)?;
        for note in &self.decision.notes {
            row(out, "note", note)?;
        }
        Ok(())
    }
}

impl Shown<'_> {
    fn connection(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Decision { listener, chain, virtual_host, .. } = self.decision;
        if let Some(listener) = listener {
            let bound = match listener.declared_port == listener.bound_port {
                true => String::new(),
                false => format!(", bound on {}", listener.bound_port),
            };
            row(out, "listener", format_args!("{} (port {}{bound})", listener.name, listener.declared_port))?;
        }
        if let Some(chain) = chain {
            row(out, "server", &chain.origin)?;
            row(out, "tls", chain.tls)?;
            if let Some(name) = &chain.server_name {
                row(out, "server name", name)?;
            }
            for certificate in &chain.certificates {
                let left = match certificate.days_left {
                    days @ 0.. => format!("{days} days left"),
                    _ => self.style.red("expired"),
                };
                let until = &certificate.not_after;
                row(
                    out,
                    "certificate",
                    format_args!("{} ({}), until {until}, {left}", certificate.source, certificate.subject),
                )?;
            }
            if let Some(asked) = chain.client_certificate {
                row(out, "client cert.", asked)?;
            }
        }
        match virtual_host {
            Some(host) => row(out, "virtual host", host),
            None => Ok(()),
        }
    }

    fn rules(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Decision { left_out, lost, untold, won, .. } = self.decision;
        for entry in left_out {
            row(out, "not here", format_args!("{}: {}", entry.origin, entry.why))?;
        }
        for rule in lost {
            let why = rule.lost_because.as_deref().unwrap_or("");
            row(out, "rule lost", format_args!("{}: {why}", named(rule)))?;
        }
        if *untold > 0 {
            row(out, "rules lost", format_args!("{untold} more"))?;
        }
        match won {
            Some(rule) => {
                row(out, &self.style.green("rule won"), format_args!("{}: {}", named(rule), rule.conditions))
            }
            None => Ok(()),
        }
    }

    fn outcome(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let bad = |label: &str| self.style.red(label);
        match &self.decision.outcome {
            Outcome::Forward(forward) => self.forward(out, forward),
            Outcome::Redirect { status, location, why } => {
                row(out, "answer", format_args!("{status}, location {location} ({why})"))
            }
            Outcome::Respond { status, body_bytes, .. } => {
                row(out, "answer", format_args!("{status}, a fixed response of {body_bytes} bytes"))
            }
            Outcome::Fail { status, flags, why } => {
                row(out, &bad("answer"), format_args!("{status} (flags {flags}): {why}"))
            }
            Outcome::Refuse { why } => row(out, &bad("refused"), why),
        }
    }

    fn forward(&self, out: &mut Formatter<'_>, forward: &ForwardFacts) -> fmt::Result {
        for destination in &forward.destinations {
            self.destination(out, destination, forward.destinations.len() > 1)?;
        }
        for (label, value) in [("path sent", &forward.path), ("host sent", &forward.authority)] {
            if let Some(value) = value {
                row(out, label, value)?;
            }
        }
        for operation in &forward.headers {
            row(out, "headers", operation)?;
        }
        if let Some(timeout) = forward.timeout_ms {
            row(out, "timeout", format_args!("{timeout} ms"))?;
        }
        if forward.retries > 0 {
            let each = forward.per_try_timeout_ms.map(|each| format!(", {each} ms each")).unwrap_or_default();
            row(
                out,
                "retries",
                format_args!("{}{each}, on {}", forward.retries, forward.retry_on.join(",")),
            )?;
        }
        for also in &forward.also {
            row(out, "also", also)?;
        }
        Ok(())
    }

    fn destination(&self, out: &mut Formatter<'_>, to: &DestinationFacts, weighted: bool) -> fmt::Result {
        let share = if weighted { format!("{:.4} % ", to.share).replace(".0000", "") } else { String::new() };
        let protocol = if to.protocol.is_empty() { String::new() } else { format!(" ({})", to.protocol) };
        row(out, "forward to", format_args!("{share}{}{protocol}", to.cluster))?;
        if let Some(problem) = &to.problem {
            row(out, &self.style.red("problem"), problem)?;
        }
        for endpoint in to.endpoints.iter().take(MAX_ENDPOINTS) {
            let weight =
                if endpoint.weight == 1 { String::new() } else { format!(", weight {}", endpoint.weight) };
            let health = if endpoint.healthy { "" } else { ", not ready" };
            row(out, "endpoint", format_args!("{}{weight}{health}", endpoint.address))?;
        }
        match to.endpoints.len().checked_sub(MAX_ENDPOINTS) {
            Some(more @ 1..) => row(out, "endpoints", format_args!("{more} more")),
            _ => Ok(()),
        }
    }
}

fn named(rule: &Rule) -> String {
    if rule.name.is_empty() { rule.origin.clone() } else { format!("{} ({})", rule.origin, rule.name) }
}

fn row(out: &mut Formatter<'_>, label: &str, value: impl Display) -> fmt::Result {
    // Colour codes take no room on the screen.
    let hidden = label.len() - crate::output::visible_len(label);
    writeln!(out, "  {label:<width$}{value}", width = LABEL + hidden)
}
