//! The routing table as text for people.

use std::fmt::{self, Display, Formatter};

use super::{HostRows, RuleRow, ServerRows, Table};
use crate::output::Style;

impl Table {
    /// The text, coloured as `style` says.
    pub(crate) fn shown(&self, style: Style) -> impl Display + '_ {
        Shown { table: self, style }
    }
}

struct Shown<'a> {
    table: &'a Table,
    style: Style,
}

impl Display for Shown<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if self.table.listeners.is_empty() {
            return writeln!(out, "no port is open");
        }
        for listener in &self.table.listeners {
            let heading = format!("listener {} (bound on {})", listener.name, listener.bound_port);
            writeln!(out, "{}", self.style.bold(&heading))?;
            for server in &listener.servers {
                self.server(out, server)?;
            }
        }
        Ok(())
    }
}

impl Shown<'_> {
    fn server(&self, out: &mut Formatter<'_>, server: &ServerRows) -> fmt::Result {
        let ServerRows { origin, declared_port, server_names, tls, problem, hosts, connection } = server;
        write!(out, "  {origin}, port {declared_port}")?;
        match server_names.as_slice() {
            [] => writeln!(out, ", without TLS")?,
            names => writeln!(out, ", TLS {tls} for {}", names.join(", "))?,
        }
        if let Some(problem) = problem {
            writeln!(out, "    {}: handshakes fail: {problem}", self.style.red("problem"))?;
        }
        for host in hosts {
            self.host(out, host)?;
        }
        match connection {
            Some(rule) => writeln!(out, "    every connection -> {}  ({})", rule.action, rule.origin),
            None if hosts.is_empty() => {
                writeln!(out, "    {}", self.style.yellow("nothing is routed here"))
            }
            None => Ok(()),
        }
    }

    fn host(&self, out: &mut Formatter<'_>, host: &HostRows) -> fmt::Result {
        let only = if host.https_only { " (plaintext is redirected to https)" } else { "" };
        writeln!(out, "    host {}{only}", self.style.bold(&host.host))?;
        let width = host.rules.len().saturating_sub(1).to_string().len();
        for rule in &host.rules {
            self.rule(out, rule, width)?;
        }
        for entry in &host.left_out {
            let label = self.style.yellow("not here");
            writeln!(out, "      {label} {}: {}", entry.origin, entry.why)?;
        }
        Ok(())
    }

    fn rule(&self, out: &mut Formatter<'_>, rule: &RuleRow, width: usize) -> fmt::Result {
        let RuleRow { ordinal, origin, name, conditions, action, never_reached_behind } = rule;
        write!(out, "      {ordinal:>width$}  {conditions} -> {action}  ({origin}")?;
        if !name.is_empty() {
            write!(out, ", {name}")?;
        }
        out.write_str(")")?;
        if let Some(earlier) = never_reached_behind {
            let mark = format!("never reached: {earlier} takes all its requests");
            write!(out, "  {}", self.style.yellow(&mark))?;
        }
        writeln!(out)
    }
}
