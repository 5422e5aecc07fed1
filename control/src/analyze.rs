//! `meshcontrol analyze`: everything that is wrong with files, with what a cluster has, or with files as
//! they would be in a cluster, by the code that `meshproxy check` and the webhook use.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use config::analyze::analyze;
use config::mesh::{Mesh, MeshSettings};
use config::wire::Name;
use config::{Loader, Problem, Resource, Severity};

mod cluster;
#[cfg(test)]
mod tests;

use crate::cli::{AnalyzeArgs, Output};
use cluster::Cluster;

/// Namespace of documents that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
struct Analysis {
    /// Problems of the cluster have line 0.
    problems: Vec<Problem>,
    resources: usize,
    files: usize,
}

/// Analyzes and prints the result to stdout: success, or failure if there are errors, the cluster does
/// not answer or stdout cannot be written.
pub async fn run(arguments: &AnalyzeArgs) -> ExitCode {
    let cluster = match arguments.files.is_empty() || arguments.cluster {
        true => Cluster::read(arguments.kubeconfig.as_deref(), &arguments.root_namespace).await,
        false => Ok(Cluster::default()),
    };
    let cluster = match cluster {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("meshcontrol: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let namespace = arguments.namespace.as_deref();
    let mut loader = Loader::new(namespace.unwrap_or(DEFAULT_NAMESPACE));
    let settings = MeshSettings {
        root_namespace: arguments.root_namespace.clone(),
        ..MeshSettings::default()
    };
    let mut analysis = analysis(&mut loader, &arguments.files, cluster, settings);
    if let Some(namespace) = namespace {
        analysis.problems.retain(|it| is_in(it, namespace));
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let printed = match arguments.output {
        Output::Text => print_text(&mut out, &analysis),
        Output::Json => print_json(&mut out, &analysis.problems),
    };
    match printed.and_then(|()| out.flush()) {
        Ok(()) if analysis.count(Severity::Error) == 0 => ExitCode::SUCCESS,
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

/// What is wrong with files over a cluster.
fn analysis(
    loader: &mut Loader,
    files: &[PathBuf],
    cluster: Cluster,
    settings: MeshSettings,
) -> Analysis {
    let loaded = loader.load(files);
    let written: HashSet<Name> = loaded.resources.iter().map(|it| Name::of(it)).collect();
    let is_written = |name: &Name| written.contains(name);
    let mut problems = loaded.problems;
    let refused = cluster.refused.into_iter();
    problems.extend(refused.filter(|it| !is_written(&it.0)).map(|it| it.1));
    let mut resources = loaded.resources;
    let others = cluster.resources.into_iter();
    resources.extend(others.filter(|it| !is_written(&Name::of(it))));
    // With a resource left out, others would be said to name what does not exist.
    if !problems.iter().any(|it| it.severity == Severity::Error) {
        let mesh = Mesh::new(&resources, settings);
        let (in_files, in_cluster): (Vec<_>, Vec<_>) = analyze(&mesh, &resources)
            .into_iter()
            .partition(|(resource, _)| written.contains(&Name::of(resource)));
        problems.extend(loader.locate(in_files));
        let file = |problem: &Problem| {
            let position = loaded.files.iter().position(|file| **file == *problem.file);
            position.unwrap_or(usize::MAX)
        };
        problems.sort_by_cached_key(|problem| (file(problem), problem.line, problem.column));
        let in_cluster = in_cluster.into_iter();
        problems.extend(in_cluster.map(|(resource, finding)| placeless(&resource, finding)));
    }
    Analysis {
        problems,
        resources: resources.len(),
        files: loaded.files.len(),
    }
}

/// A finding about a resource that is in no file.
fn placeless(resource: &Arc<Resource>, finding: config::problem::Finding) -> Problem {
    Problem {
        severity: finding.severity,
        file: Arc::clone(&resource.source.file),
        line: 0,
        column: 0,
        resource: resource.to_string(),
        path: finding.path,
        message: finding.message,
    }
}

/// Whether a problem is one of a resource in the namespace. One that cannot be told is.
fn is_in(problem: &Problem, namespace: &str) -> bool {
    let name = problem.resource.split_once(' ').map(|(_, name)| name);
    let theirs = name.and_then(|name| name.split_once('/'));
    theirs.is_none_or(|(theirs, _)| theirs == namespace)
}

// === impl Analysis ===

impl Analysis {
    fn count(&self, severity: Severity) -> usize {
        let problems = self.problems.iter();
        problems.filter(|it| it.severity == severity).count()
    }
}

fn print_text(out: &mut impl Write, analysis: &Analysis) -> io::Result<()> {
    for problem in &analysis.problems {
        writeln!(out, "{}", line(problem))?;
    }
    let mut of = counted(analysis.resources, "resource");
    if analysis.files > 0 {
        of = format!("{of} in {}", counted(analysis.files, "file"));
    }
    let errors = analysis.count(Severity::Error);
    let warnings = counted(analysis.count(Severity::Warning), "warning");
    match errors {
        0 => writeln!(out, "ok: {of}, {warnings}"),
        _ => writeln!(
            out,
            "{}, {warnings}; what is wrong between resources is told once there are no errors",
            counted(errors, "error")
        ),
    }
}

/// As `meshproxy check` says it, or with the resource where there is no file.
fn line(problem: &Problem) -> String {
    if problem.line > 0 {
        return problem.to_string();
    }
    let warning = match problem.severity {
        Severity::Error => "",
        Severity::Warning => "warning: ",
    };
    let path = match problem.path.as_str() {
        "" => String::new(),
        path => format!("{path}: "),
    };
    format!("{}: {warning}{path}{}", problem.resource, problem.message)
}

fn print_json(out: &mut impl Write, problems: &[Problem]) -> io::Result<()> {
    let shown = problems.iter().map(|problem| {
        let mut shown = serde_json::to_value(problem)?;
        if problem.line == 0
            && let Some(fields) = shown.as_object_mut()
        {
            // It is in the cluster.
            fields.retain(|name, _| !["file", "line", "column"].contains(&name.as_str()));
        }
        Ok(shown)
    });
    let shown = shown.collect::<serde_json::Result<Vec<_>>>()?;
    serde_json::to_writer_pretty(&mut *out, &shown)?;
    writeln!(out)
}

fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
