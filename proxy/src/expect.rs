//! `meshproxy test`: whether requests meet what is expected of them. Nothing is sent: what would
//! become of a request is what `meshproxy explain` says.

mod compare;
#[cfg(test)]
mod tests;
mod written;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::Problem;
use config::strict::{self, Document};
use serde::Serialize;

use crate::bootstrap::{Output, TestArgs};
use crate::check;
use crate::explain::asked::Asked;
use crate::explain::listener::{Undecided, Views};
use crate::offline::Offline;
use compare::{Difference, differences};
use written::{Suite, Test};

/// Namespace of documents and callers that name none.
const NAMESPACE: &str = "default";

/// What came of one test.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    name: String,
    file: PathBuf,
    line: u32,
    passed: bool,
    differences: Vec<Difference>,
    /// Where the request came in and which rule took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// What came of all of them.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    passed: usize,
    failed: usize,
    tests: Vec<Verdict>,
    /// Why tests could not be made.
    problems: Vec<Problem>,
}

/// Makes the tests of all files and prints what came of them to stdout: success if all passed, and
/// failure if one did not, a file cannot be used or stdout not be written.
pub fn run(arguments: &TestArgs) -> ExitCode {
    let report = report(&arguments.files);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let printed = match arguments.output {
        Output::Text => print_text(&mut out, &report),
        Output::Json => serde_json::to_writer_pretty(&mut out, &report)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out)),
    };
    let good = report.failed == 0 && report.problems.is_empty();
    match printed.and_then(|()| out.flush()) {
        Ok(()) if good => ExitCode::SUCCESS,
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

fn report(files: &[PathBuf]) -> Report {
    let mut report = Report::default();
    for file in files {
        match verdicts(file) {
            Ok(verdicts) => report.tests.extend(verdicts),
            Err(problems) => report.problems.extend(problems),
        }
    }
    report.passed = report.tests.iter().filter(|test| test.passed).count();
    report.failed = report.tests.len() - report.passed;
    report
}

/// What comes of the tests of one file.
fn verdicts(file: &Path) -> Result<Vec<Verdict>, Vec<Problem>> {
    let document: Document<Suite> = strict::read(file)?;
    let suite = &document.value;
    let requests = requests(&document)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let paths: Vec<PathBuf> = suite.config.iter().map(|path| folder.join(path)).collect();
    let namespace = suite.namespace.as_deref().unwrap_or(NAMESPACE);
    let mut views = Views::new(Offline::load(&paths, namespace)?);
    let tests = suite.tests.iter().zip(&requests).enumerate();
    let verdicts = tests.map(|(at, (test, asked))| {
        let (differences, rule) = tried(test, asked, namespace, &mut views)?;
        Ok(Verdict {
            name: test.name.clone(),
            file: file.to_owned(),
            line: document.line(&format!("tests[{at}]")),
            passed: differences.is_empty(),
            differences,
            rule,
        })
    });
    verdicts.collect()
}

/// The requests of the tests, in order, if all of the file has what it must have.
fn requests(document: &Document<Suite>) -> Result<Vec<Asked>, Vec<Problem>> {
    let Suite {
        config,
        tests,
        path_normalization,
        ..
    } = &document.value;
    let mut problems = Vec::new();
    let mut requests = Vec::new();
    if config.is_empty() {
        let message = "must have `config` with at least one file or folder";
        problems.push(document.problem("", message));
    }
    if tests.is_empty() {
        problems.push(document.problem("", "must have `tests` with at least one test"));
    }
    for (at, test) in tests.iter().enumerate() {
        let mut wrong = |message| problems.push(document.problem(&format!("tests[{at}]"), message));
        if test.name.is_empty() {
            wrong("must have a `name`");
        }
        match test.request.asked(*path_normalization) {
            Some(asked) => requests.push(asked),
            None => wrong("must have a `request` with a `url`"),
        }
        if test.expect.is_empty() {
            wrong("must `expect` something");
        }
    }
    match problems.is_empty() {
        true => Ok(requests),
        false => Err(problems),
    }
}

/// How a test differs from what is expected, and the rule that took its request.
fn tried(
    test: &Test,
    asked: &Asked,
    namespace: &str,
    views: &mut Views,
) -> Result<(Vec<Difference>, Option<String>), Vec<Problem>> {
    let from = &test.request.from;
    let listener = test.request.listener.as_ref();
    match views.decide(&from.workload(namespace), listener, asked) {
        Ok(decision) => {
            let rule = decision.rule().map(ToString::to_string);
            Ok((differences(&test.expect, &decision), rule))
        }
        Err(Undecided::NoListener(reason)) => {
            let difference = Difference {
                field: "listener".to_owned(),
                expected: "one that takes the request".to_owned(),
                got: reason,
            };
            Ok((vec![difference], None))
        }
        Err(Undecided::Problems(problems)) => Err(problems),
    }
}

fn print_text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    check::print(out, Output::Text, &report.problems)?;
    for test in &report.tests {
        if test.passed {
            writeln!(out, "ok    {}", test.name)?;
            continue;
        }
        let place = format!("{}:{}", test.file.display(), test.line);
        writeln!(out, "FAIL  {} ({place})", test.name)?;
        for Difference {
            field,
            expected,
            got,
        } in &test.differences
        {
            writeln!(out, "        {field}: expected {expected}, got {got}")?;
        }
        if let Some(rule) = &test.rule {
            writeln!(out, "        rule: {rule}")?;
        }
    }
    let tests = report.tests.len();
    match (report.failed, report.problems.len()) {
        (0, 0) => writeln!(out, "ok: {tests} passed"),
        (0, _) => Ok(()),
        (failed, _) => writeln!(out, "{failed} of {tests} failed"),
    }
}
