//! What has been said about the configuration: what is true now, and what was logged of it.

use std::collections::HashSet;
use std::sync::Arc;

use portcullis_api::Severity;

use crate::judge::Verdict;
use crate::notice::{self, Notice};
use crate::status::Report;

/// Notices logged after one report; the rest is on the admin page.
const LOGGED_AT_ONCE: usize = 100;

/// What there is to say, as of the last report.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What the compiler found, and in which generation.
    findings: Vec<Notice>,
    judged: u64,
    /// The rest.
    others: Vec<Notice>,
    /// Notices already logged and still true.
    logged: HashSet<Notice>,
}

impl Said {
    /// Takes in what the compiler found. If it failed, what it found before stays.
    pub(crate) fn take(&mut self, verdict: Verdict) {
        if verdict.generation < self.judged {
            return;
        }
        self.judged = verdict.generation;
        if let Some(diagnostics) = verdict.diagnostics {
            self.findings = diagnostics.into_iter().map(Notice::from).collect();
        }
    }

    /// `report` with everything there is to say: the findings, and `others`. What was not true before is logged.
    pub(crate) fn report(&mut self, report: Report, others: Vec<Notice>) -> Report {
        if others == self.others && report.judged == self.judged {
            // As in the report before this one, which `report` was made of.
            return report;
        }
        let mut notices = self.findings.clone();
        notices.extend(others.iter().cloned());
        notice::sort(&mut notices);
        self.others = others;
        self.log(&notices);
        Report { judged: self.judged, notices: Arc::from(notices), ..report }
    }

    fn log(&mut self, notices: &[Notice]) {
        let fresh: Vec<_> = notices.iter().filter(|notice| !self.logged.contains(*notice)).collect();
        for notice in fresh.iter().take(LOGGED_AT_ONCE) {
            log_one(notice);
        }
        if let Some(more @ 1..) = fresh.len().checked_sub(LOGGED_AT_ONCE) {
            tracing::warn!(more, "further notices are on the admin page /diagnostics");
        }
        self.logged = notices.iter().cloned().collect();
    }
}

fn log_one(notice: &Notice) {
    let Notice { code, title, message, remedy, .. } = notice;
    let (place, about) = (notice.place().unwrap_or_default(), notice.subject().unwrap_or_default());
    match notice.severity {
        Severity::Error => tracing::error!(code, title, place, about, remedy, "{message}"),
        Severity::Warning => tracing::warn!(code, title, place, about, remedy, "{message}"),
        Severity::Info => tracing::debug!(code, title, place, about, remedy, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn about(message: &str) -> Notice {
        let mut notice = Notice::about_cluster(Severity::Warning, "Test");
        notice.message = message.to_owned();
        notice
    }

    #[test]
    fn a_report_says_what_is_true_and_copies_nothing_that_stays() {
        let mut said = Said::default();
        let first = said.report(Report::default(), vec![about("one")]);
        assert_eq!(&*first.notices, [about("one")]);
        let same = said.report(Report { generation: 2, ..first.clone() }, vec![about("one")]);
        assert!(Arc::ptr_eq(&first.notices, &same.notices));
        let took = Duration::ZERO;
        let verdict = |generation, diagnostics| Verdict { generation, edition: None, diagnostics, took };
        said.take(verdict(2, Some(Vec::new())));
        let judged = said.report(same, vec![about("one")]);
        assert_eq!((judged.judged, &*judged.notices), (2, &*first.notices));
        // Of an older state nothing is taken.
        said.take(verdict(1, None));
        assert_eq!(said.report(judged, Vec::new()).judged, 2);
    }
}
