//! What is printed: colours on a terminal, notices for people and for programs.

use std::io::{self, IsTerminal as _, Write};

use portcullis_api::Severity;
use portcullis_control::Notice;
use serde_json::{Value, json};

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs.
    Json,
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As on a terminal.
    Coloured,
    /// As in a file.
    Plain,
}

impl Style {
    /// Colours if standard output is a terminal and `NO_COLOR` (<https://no-color.org>) is not set.
    pub(crate) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && io::stdout().is_terminal() { Self::Coloured } else { Self::Plain }
    }

    /// Headings.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint(text, "1")
    }

    /// What is bad.
    pub(crate) fn red(self, text: &str) -> String {
        self.paint(text, "1;31")
    }

    /// What is doubtful.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint(text, "1;33")
    }

    /// What is good.
    pub(crate) fn green(self, text: &str) -> String {
        self.paint(text, "1;32")
    }

    /// What is neither.
    pub(crate) fn blue(self, text: &str) -> String {
        self.paint(text, "1;34")
    }

    fn paint(self, text: &str, code: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// Characters of `text` that show on a screen.
pub(crate) fn visible_len(text: &str) -> usize {
    let mut hidden = false;
    let visible = text.chars().filter(|&char| {
        let shows = !hidden && char != '\x1b';
        hidden = match char {
            '\x1b' => true,
            'm' => false,
            _ => hidden,
        };
        shows
    });
    visible.count()
}

/// Prints notices one block each, as compilers do.
pub(crate) fn notices(out: &mut impl Write, notices: &[Notice], style: Style) -> io::Result<()> {
    for notice in notices {
        let severity = match notice.severity {
            Severity::Error => style.red("error"),
            Severity::Warning => style.yellow("warning"),
            Severity::Info => style.blue("info"),
        };
        let title = match notice.title == notice.code {
            true => notice.code.to_owned(),
            false => format!("{} {}", notice.code, notice.title),
        };
        writeln!(out, "{severity}[{title}]: {}", notice.message)?;
        if let Some(place) = notice.place() {
            writeln!(out, "  {} {place}", style.blue("-->"))?;
        }
        if let Some(subject) = notice.subject() {
            writeln!(out, "   {} {subject}", style.blue("="))?;
        }
        if !notice.remedy.is_empty() {
            writeln!(out, "   {} help: {}", style.blue("="), notice.remedy)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// A notice for programs. Keys are stable.
pub(crate) fn notice_json(notice: &Notice) -> Value {
    json!({
        "severity": notice.severity.to_string(),
        "code": notice.code,
        "title": notice.title,
        "file": notice.source,
        "line": (notice.line > 0).then_some(notice.line),
        "column": (notice.column > 0).then_some(notice.column),
        "object": notice.object.as_ref().map(|object| json!({
            "kind": object.kind,
            "namespace": object.namespace,
            "name": object.name,
        })),
        "field": notice.field,
        "message": notice.message,
        "remedy": notice.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        assert_eq!(visible_len(&Style::Coloured.red("rule")), 4);
        assert_eq!(Style::Plain.red("rule"), "rule");
    }
}
