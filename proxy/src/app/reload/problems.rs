//! What is wrong with a configuration, for the log.

use std::io;

use config::{Problem, Severity};

use crate::table::Bind;

/// Problems of one load that are logged one by one.
const LOGGED_PROBLEMS_MAX: usize = 50;

/// Why a change was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    #[error("{} in the configuration", count(.0))]
    Problems(Vec<Problem>),
    #[error("listen at {bind}")]
    Bind { bind: Bind, source: io::Error },
}

fn count(problems: &[Problem]) -> String {
    match count_errors(problems) {
        1 => "1 error".to_owned(),
        errors => format!("{errors} errors"),
    }
}

pub(super) fn count_errors(problems: &[Problem]) -> usize {
    let errors = problems.iter();
    errors
        .filter(|problem| problem.severity == Severity::Error)
        .count()
}

/// Logs problems, not more of them than a person would read.
pub(super) fn log_problems<'p>(problems: impl Iterator<Item = &'p Problem>) {
    let mut problems = problems;
    problems
        .by_ref()
        .take(LOGGED_PROBLEMS_MAX)
        .for_each(log_problem);
    match problems.count() {
        0 => {}
        more => tracing::warn!(more, "further problems: see `meshproxy check` or /config"),
    }
}

fn log_problem(problem: &Problem) {
    match problem.severity {
        Severity::Error => tracing::error!("{problem}"),
        Severity::Warning => tracing::warn!("{problem}"),
    }
}
