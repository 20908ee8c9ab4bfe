//! Gathers findings for one text.

use std::sync::Arc;

use super::node::Mark;
use crate::finding::{Code, Finding, Severity};
use crate::meta::ObjectRef;

/// The most findings kept for one text; those beyond are only counted.
pub const MAX_FINDINGS: usize = 1_000;

/// The findings of one text so far, and what the next one is about.
pub(super) struct Report {
    pub(super) source: Arc<str>,
    pub(super) object: Option<ObjectRef>,
    findings: Vec<Finding>,
    dropped: usize,
    errors: usize,
}

/// One finding, before its place is filled in.
pub(super) struct Note {
    pub(super) code: Code,
    pub(super) mark: Mark,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) remedy: String,
}

impl Report {
    pub(super) fn new(source: Arc<str>) -> Self {
        Self { source, object: None, findings: Vec::new(), dropped: 0, errors: 0 }
    }

    /// Adds a finding as bad as its code usually is.
    pub(super) fn add(&mut self, note: Note) {
        self.add_as(severity(note.code), note);
    }

    /// Adds a finding.
    pub(super) fn add_as(&mut self, severity: Severity, note: Note) {
        self.errors += usize::from(costs_the_object(note.code));
        if self.findings.len() >= MAX_FINDINGS {
            self.dropped += 1;
            return;
        }
        self.findings.push(Finding {
            severity,
            code: note.code,
            source: self.source.clone(),
            line: note.mark.line,
            column: note.mark.column,
            object: self.object.clone(),
            field: note.field,
            message: note.message,
            remedy: note.remedy,
        });
    }

    /// How many findings there were, kept or not, with which an object cannot be read.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// How many findings there are, kept or not.
    pub(super) fn count(&self) -> usize {
        self.findings.len() + self.dropped
    }

    /// The findings; where some were dropped, a last one says how many.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        if self.dropped > 0 {
            self.findings.push(Finding {
                severity: Severity::Error,
                code: Code::TooLarge,
                source: self.source,
                line: 0,
                column: 0,
                object: None,
                field: String::new(),
                message: format!("{} more findings are not shown", self.dropped),
                remedy: "correct the first ones and look again".into(),
            });
        }
        self.findings
    }
}

/// How bad each kind of finding is.
fn severity(code: Code) -> Severity {
    match code {
        Code::UnsupportedKind => Severity::Info,
        _ => Severity::Error,
    }
}

/// Whether nothing can be made of the object. An unknown field and a value that breaks a rule leave it in use,
/// although `kubectl apply` refuses them: an object may be older than the rule, or have got past it.
fn costs_the_object(code: Code) -> bool {
    !matches!(code, Code::UnsupportedKind | Code::UnknownField | Code::InvalidValue)
}
