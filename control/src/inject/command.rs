//! `meshcontrol inject`: adds proxies to the pods of files, for clusters without the webhook.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use config::{Problem, documents};

use super::label::{NAMESPACE_INJECTION, REVISION};
use super::manifest::{self, Report};
use super::{Injector, Namespace, Settings, Template};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Arguments of `meshcontrol inject`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct InjectArgs {
    /// File of YAML or JSON; `-` for stdin.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What is added, in place of the template of the chart.
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// Settings of the injection: images, resources and so on.
    #[arg(long, value_name = "FILE")]
    pub values: Option<PathBuf>,
    /// Namespace of documents that name none.
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
}

/// Prints the documents with proxies added, and on stderr what got none: success, or failure if
/// something could not be read or says something wrong.
pub fn run(arguments: &InjectArgs) -> ExitCode {
    match inject(arguments) {
        Ok(report) => {
            for (label, skip) in &report.skipped {
                eprintln!("{label}: not injected: {skip}");
            }
            for (label, mistake) in &report.mistakes {
                eprintln!("{label}: {mistake}");
            }
            match report.mistakes.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("meshcontrol: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Settings and template from files; those of the chart where none is named.
///
/// # Errors
///
/// If a file cannot be read or is wrong.
fn injector(template: Option<&Path>, values: Option<&Path>) -> anyhow::Result<Injector> {
    let mut injector = Injector::default();
    if let Some(path) = values {
        injector.settings = Settings::parse(path, &read(path)?).map_err(problems)?;
    }
    if let Some(path) = template {
        injector.template = Template::parse(path, &read(path)?).map_err(problems)?;
    }
    Ok(injector)
}

/// Settings and template from `values.yaml` and `template.yaml` of a folder, as far as they are there.
///
/// # Errors
///
/// If a file cannot be read or is wrong.
pub fn injector_in(dir: &Path) -> anyhow::Result<Injector> {
    let present = |name: &str| Some(dir.join(name)).filter(|path| path.exists());
    let (template, values) = (present("template.yaml"), present("values.yaml"));
    injector(template.as_deref(), values.as_deref())
}

fn inject(arguments: &InjectArgs) -> anyhow::Result<Report> {
    let injector = injector(arguments.template.as_deref(), arguments.values.as_deref())?;
    let mut documents = Vec::new();
    for file in &arguments.files {
        documents.extend(documents::read(file, &read(file)?).map_err(problems)?);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let report = write(documents, &injector, &arguments.namespace, &mut out)?;
    out.flush()?;
    Ok(report)
}

/// Writes documents with proxies added.
fn write(
    documents: Vec<documents::Document>,
    injector: &Injector,
    default_namespace: &str,
    out: &mut impl io::Write,
) -> io::Result<Report> {
    let labels = namespaces(&documents);
    // Whoever names a file has chosen its pods, unless the file says something of their namespace.
    let namespace = |written: &str| {
        let name = match written {
            "" => default_namespace.to_owned(),
            written => written.to_owned(),
        };
        Namespace {
            labels: labels.get(&name).cloned(),
            name,
        }
    };
    let mut report = Report::default();
    for mut document in documents {
        let before = report.injected;
        manifest::inject(&mut document.value, injector, &namespace, &mut report);
        // What is not touched is passed on as it was written.
        let text = match report.injected > before {
            true => documents::print(&document.value),
            false => document.text,
        };
        writeln!(out, "---\n{}", text.trim_end())?;
    }
    Ok(report)
}

/// Labels of the namespaces that the documents make, where they say something of injection.
fn namespaces(documents: &[documents::Document]) -> BTreeMap<String, BTreeMap<String, String>> {
    let namespace = |document: &documents::Document| {
        let value = &document.value;
        let is_namespace = value["apiVersion"] == "v1" && value["kind"] == "Namespace";
        let name = value["metadata"]["name"]
            .as_str()
            .filter(|_| is_namespace)?;
        let labels = value["metadata"]["labels"].as_object()?.iter();
        let labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
        let labels: BTreeMap<String, String> = labels.collect();
        let speaks = [NAMESPACE_INJECTION, REVISION].map(|label| labels.contains_key(label));
        speaks.contains(&true).then(|| (name.to_owned(), labels))
    };
    documents.iter().filter_map(namespace).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    let named = || format!("read {}", path.display());
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text),
        false => fs::File::open(path)
            .with_context(named)?
            .take(FILE_BYTES_MAX)
            .read_to_string(&mut text),
    };
    let bytes = read.with_context(named)?;
    anyhow::ensure!(
        (bytes as u64) < FILE_BYTES_MAX,
        "{}: must be smaller than {} MiB",
        path.display(),
        FILE_BYTES_MAX >> 20
    );
    Ok(text)
}

fn problems(problems: Vec<Problem>) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed of a file, and what is said of it.
    fn injected(text: &str) -> (String, Report) {
        let documents = documents::read(Path::new("f.yaml"), text).expect("it is YAML");
        let mut out = Vec::new();
        let report = write(documents, &Injector::default(), "shop", &mut out);
        let out = String::from_utf8(out).expect("it is text");
        (out, report.expect("memory takes everything"))
    }

    const TEMPLATE: &str = "{spec: {containers: [{name: app, image: app}]}}";

    #[test]
    fn pods_of_every_kind_that_makes_some_get_a_proxy() {
        for (api, kind, spec) in [
            (
                "v1",
                "Pod",
                "containers: [{name: app, image: app}]".to_owned(),
            ),
            ("apps/v1", "Deployment", format!("template: {TEMPLATE}")),
            ("apps/v1", "StatefulSet", format!("template: {TEMPLATE}")),
            ("apps/v1", "DaemonSet", format!("template: {TEMPLATE}")),
            ("apps/v1", "ReplicaSet", format!("template: {TEMPLATE}")),
            ("batch/v1", "Job", format!("template: {TEMPLATE}")),
            (
                "batch/v1",
                "CronJob",
                format!("jobTemplate: {{spec: {{template: {TEMPLATE}}}}}"),
            ),
        ] {
            let text = format!(
                "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: w}}\nspec: {{{spec}}}\n"
            );

            let (printed, report) = injected(&text);

            assert_eq!(report.injected, 1, "{kind}");
            assert!(printed.contains("name: istio-proxy"), "{kind}: {printed}");
            assert!(
                printed.contains("name: MESHPROXY_NAME\n"),
                "{kind}: {printed}"
            );
            assert!(printed.contains("value: w\n"), "{kind}: {printed}");
        }
    }

    #[test]
    fn items_of_a_list_are_documents_too() {
        let pod = format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: w}}, spec: {{template: {TEMPLATE}}}}}"
        );
        let (_, report) = injected(&format!(
            "apiVersion: v1\nkind: List\nitems: [{pod}, {pod}]\n"
        ));

        assert_eq!(report.injected, 2);
    }

    #[test]
    fn what_makes_no_pods_passes_as_it_was_written() {
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a} # here\nspec: {ports: [{port: 0x50}]}";

        let (printed, report) = injected(service);

        assert_eq!(printed, format!("---\n{service}\n"));
        assert_eq!(report.injected, 0);
    }

    #[test]
    fn a_namespace_of_the_same_file_may_refuse() {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: NS}\nspec: {containers: []}\n---\n";
        let namespace = |labels: &str| {
            format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: NS, labels: {{{labels}}}}}\n"
            )
        };

        let (_, refused) = injected(&format!("{pod}{}", namespace("istio-injection: disabled")));
        let (_, silent) = injected(&format!("{pod}{}", namespace("team: a")));

        assert_eq!((refused.injected, refused.skipped.len()), (0, 1));
        assert_eq!(silent.injected, 1);
    }
}
