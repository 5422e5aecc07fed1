//! `meshproxy check`: every problem of configuration files, for people or as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use config::analyze::analyze;
use config::mesh::{Mesh, MeshSettings, Viewer};
use config::{Loaded, Loader, Problem, Severity};

use crate::bootstrap::{CheckArgs, Output};
use crate::tls::certificates::Certificates;

/// Checks what the arguments name and prints the result to stdout: success, or failure if there are
/// errors or stdout cannot be written.
pub fn run(arguments: &CheckArgs) -> ExitCode {
    let (loaded, problems) = problems(arguments);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let printed = match arguments.output {
        Output::Text => print_text(&mut out, &loaded, &problems),
        Output::Json => print_json(&mut out, &problems),
    };
    match printed.and_then(|()| out.flush()) {
        Ok(()) if count(&problems, Severity::Error) == 0 => ExitCode::SUCCESS,
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

/// What was loaded (its problems moved out), and all problems in the order of files and lines.
fn problems(arguments: &CheckArgs) -> (Loaded, Vec<Problem>) {
    let mut loader = Loader::new(&arguments.namespace);
    let mut loaded = loader.load(&arguments.paths);
    let mut problems = std::mem::take(&mut loaded.problems);
    // With a resource left out, others would be said to name what does not exist.
    if count(&problems, Severity::Error) == 0 {
        let settings = MeshSettings {
            path_normalization: arguments.path_normalization.into(),
            ..MeshSettings::default()
        };
        let mesh = Mesh::new(&loaded.resources, settings);
        let mut findings = analyze(&mesh, &loaded.resources);
        // Without labels it opens every gateway.
        let viewer = Viewer {
            namespace: arguments.namespace.clone(),
            labels: BTreeMap::new(),
        };
        findings.extend(Certificates::load(&mesh, &viewer, &loaded.resources, None, None).1);
        problems.extend(loader.locate(findings));
        let file = |problem: &Problem| {
            let position = loaded.files.iter().position(|file| **file == *problem.file);
            position.unwrap_or(usize::MAX)
        };
        problems.sort_by_cached_key(|problem| (file(problem), problem.line, problem.column));
    }
    (loaded, problems)
}

/// Prints problems that keep another command from its work, in the form of this one.
pub(crate) fn print(out: &mut impl Write, output: Output, problems: &[Problem]) -> io::Result<()> {
    match output {
        Output::Text => problems.iter().try_for_each(|it| writeln!(out, "{it}")),
        Output::Json => print_json(out, problems),
    }
}

fn print_text(out: &mut impl Write, loaded: &Loaded, problems: &[Problem]) -> io::Result<()> {
    for problem in problems {
        writeln!(out, "{problem}")?;
    }
    let files = counted(loaded.files.len(), "file");
    let errors = count(problems, Severity::Error);
    let warnings = count(problems, Severity::Warning);
    if errors > 0 {
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        return writeln!(out, "{errors}, {warnings} in {files}");
    }
    let resources = counted(loaded.resources.len(), "resource");
    match warnings {
        0 => writeln!(out, "ok: {resources} in {files}"),
        _ => writeln!(
            out,
            "ok: {resources} in {files}, {}",
            counted(warnings, "warning")
        ),
    }
}

fn print_json(out: &mut impl Write, problems: &[Problem]) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, problems)?;
    writeln!(out)
}

fn count(problems: &[Problem], severity: Severity) -> usize {
    problems
        .iter()
        .filter(|problem| problem.severity == severity)
        .count()
}

fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::request::path::Normalization;

    const GOOD: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
";
    const ROUTE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.test]
  http:
  - route: [{destination: {host: HOST}}]
";

    fn check(files: &[(&str, &str)]) -> (TempDir, Loaded, Vec<Problem>) {
        let folder = tempfile::tempdir().expect("a folder for the test");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let arguments = CheckArgs {
            paths: vec![folder.path().to_owned()],
            output: Output::Text,
            namespace: "default".into(),
            path_normalization: Normalization::Base,
        };
        let (loaded, problems) = problems(&arguments);
        (folder, loaded, problems)
    }

    fn text(files: &[(&str, &str)]) -> Vec<String> {
        let (folder, loaded, problems) = check(files);
        let mut out = Vec::new();
        print_text(&mut out, &loaded, &problems).expect("printed");
        let prefix = format!("{}/", folder.path().display());
        let text = String::from_utf8(out).expect("text");
        text.lines().map(|line| line.replace(&prefix, "")).collect()
    }

    #[test]
    fn what_is_right_is_ok() {
        let route = ROUTE.replace("HOST", "a.test");

        assert_eq!(
            text(&[("a.yaml", GOOD), ("b.yaml", &route)]),
            ["ok: 2 resources in 2 files"]
        );
    }

    #[test]
    fn a_problem_between_resources_is_a_warning_at_its_field() {
        let route = ROUTE.replace("HOST", "b.test");

        let lines = text(&[("a.yaml", GOOD), ("b.yaml", &route)]);

        assert!(
            lines[0].starts_with("b.yaml:8:34: warning: spec.http[0].route[0].destination.host: "),
            "{lines:?}"
        );
        assert_eq!(lines[1], "ok: 2 resources in 2 files, 1 warning");
    }

    #[test]
    fn every_error_is_printed_with_its_place_and_counted() {
        let broken = format!("{GOOD}  lokation: MESH_EXTERNAL\n  x: 1\n");
        let route = ROUTE.replace("HOST", "a.test");

        let lines = text(&[("a.yaml", &broken), ("b.yaml", &route)]);

        assert!(
            lines[0].starts_with("a.yaml:10:3: spec.lokation: "),
            "{lines:?}"
        );
        assert!(lines[1].starts_with("a.yaml:11:3: spec.x: "), "{lines:?}");
        assert_eq!(lines[2..], ["2 errors, 0 warnings in 2 files"]);
    }

    #[test]
    fn json_is_one_array_of_problems() {
        let (_folder, _, problems) = check(&[("a.yaml", "kind: Gateway\n")]);
        let mut out = Vec::new();
        print_json(&mut out, &problems).expect("printed");

        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");

        assert_eq!(json.as_array().map(Vec::len), Some(problems.len()));
        assert_eq!(json[0]["severity"], "error");
        assert!(
            json[0]["file"]
                .as_str()
                .is_some_and(|file| file.ends_with("a.yaml"))
        );
    }

    #[test]
    fn a_path_that_does_not_exist_is_an_error() {
        let arguments = CheckArgs {
            paths: vec![PathBuf::from("/does/not/exist.yaml")],
            output: Output::Text,
            namespace: "default".into(),
            path_normalization: Normalization::Base,
        };

        let (_, problems) = problems(&arguments);

        assert_eq!(count(&problems, Severity::Error), 1);
    }
}
