//! What is said about the configuration, whoever found it: the loader, the compiler or this crate.

use std::fmt;
use std::sync::Arc;

use portcullis_api::{Finding, ObjectRef, Severity};
use portcullis_compile::Diagnostic;

/// One thing worth saying about a file or an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Notice {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code, such as `IST0101` or `SyntaxError`: metrics count by it.
    pub code: &'static str,
    /// Short title; the same as `code` where that is a word already.
    pub title: &'static str,
    /// The file it was read from.
    pub source: Option<Arc<str>>,
    /// Line in the file, from 1; 0 = unknown.
    pub line: u32,
    /// Column in the line, from 1; 0 = unknown.
    pub column: u32,
    /// The object, if it is about one.
    pub object: Option<ObjectRef>,
    /// Path of the field, such as `spec.http[0].route`; empty for the whole.
    pub field: String,
    /// What was found.
    pub message: String,
    /// What to do about it; empty where there is nothing to add.
    pub remedy: String,
}

impl Notice {
    /// About a whole file.
    pub(crate) fn about_file(
        severity: Severity,
        code: &'static str,
        source: Arc<str>,
        message: String,
        remedy: &str,
    ) -> Self {
        Self {
            severity,
            code,
            title: code,
            source: Some(source),
            line: 0,
            column: 0,
            object: None,
            field: String::new(),
            message,
            remedy: remedy.to_owned(),
        }
    }

    /// About an object of the cluster.
    pub(crate) fn about_object(severity: Severity, code: &'static str, object: ObjectRef) -> Self {
        Self { object: Some(object), ..Self::about_cluster(severity, code) }
    }

    /// About the cluster.
    pub(crate) fn about_cluster(severity: Severity, code: &'static str) -> Self {
        Self {
            severity,
            code,
            title: code,
            source: None,
            line: 0,
            column: 0,
            object: None,
            field: String::new(),
            message: String::new(),
            remedy: String::new(),
        }
    }

    /// `file:line:column` as far as it is known.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        let mut place = self.source.as_deref()?.to_owned();
        for number in [self.line, self.column] {
            if number == 0 {
                break;
            }
            place = format!("{place}:{number}");
        }
        Some(place)
    }

    /// What it is about: object and field.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        let object = self.object.as_ref().map(ToString::to_string);
        match (object, self.field.as_str()) {
            (Some(object), "") => Some(object),
            (Some(object), field) => Some(format!("{object} {field}")),
            (None, "") => None,
            (None, field) => Some(field.to_owned()),
        }
    }
}

impl fmt::Display for Notice {
    /// One line: `file:1:2: error[IST0101]: VirtualService default/app spec.http[0]: message; remedy`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place() {
            write!(out, "{place}: ")?;
        }
        write!(out, "{}[{}]: ", self.severity, self.code)?;
        if let Some(subject) = self.subject() {
            write!(out, "{subject}: ")?;
        }
        out.write_str(&self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(out, "; {}", self.remedy) }
    }
}

impl From<Finding> for Notice {
    fn from(finding: Finding) -> Self {
        Self {
            severity: finding.severity,
            code: finding.code.name(),
            title: finding.code.name(),
            source: Some(finding.source),
            line: finding.line,
            column: finding.column,
            object: finding.object,
            field: finding.field,
            message: finding.message,
            remedy: finding.remedy,
        }
    }
}

impl From<Diagnostic> for Notice {
    fn from(diagnostic: Diagnostic) -> Self {
        let origin = diagnostic.origin.filter(|origin| !origin.source.is_empty());
        Self {
            severity: diagnostic.severity,
            code: diagnostic.code.code(),
            title: diagnostic.code.title(),
            line: origin.as_ref().map_or(0, |origin| origin.line),
            source: origin.map(|origin| origin.source),
            column: 0,
            object: Some(diagnostic.object),
            field: diagnostic.field,
            message: diagnostic.message,
            remedy: diagnostic.remedy,
        }
    }
}

/// The worst first, then by place.
pub fn sort(notices: &mut Vec<Notice>) {
    notices.sort_by(|left, right| right.severity.cmp(&left.severity).then_with(|| place_order(left, right)));
    notices.dedup();
}

fn place_order(left: &Notice, right: &Notice) -> std::cmp::Ordering {
    (&left.source, left.line, left.column, left).cmp(&(&right.source, right.line, right.column, right))
}
