use std::fs;

use config::load::parse;
use tempfile::TempDir;

use super::*;

const ENTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: shop}
spec: {hosts: [a.test], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
";
const ROUTE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: shop}
spec: {hosts: [a.test], http: [{route: [{destination: {host: a.test, subset: v1}}]}]}
";

fn cluster(text: &str) -> Cluster {
    let loaded = parse("cluster", text, "default");
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    Cluster {
        resources: loaded.resources,
        refused: Vec::new(),
    }
}

/// What is told of a file over a cluster, and the name of the file.
fn told(file: &str, cluster: Cluster) -> Vec<String> {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("f.yaml");
    fs::write(&path, file).expect("written");
    let files = [path.clone()];
    let mut loader = Loader::new("default");
    let found = analysis(&mut loader, &files, cluster, MeshSettings::default());
    let lines = found.problems.iter().map(line);
    let short = format!("{}/", folder.path().display());
    lines.map(|line| line.replace(&short, "")).collect()
}

#[test]
fn a_file_is_judged_by_what_the_cluster_has() {
    let alone = told(ROUTE, Cluster::default());
    let within = told(ROUTE, cluster(ENTRY));

    assert!(
        alone.iter().any(|it| it.contains("destination.host: ")),
        "{alone:?}"
    );
    assert_eq!(within.len(), 1, "{within:?}");
    assert!(within[0].contains("destination.subset: "), "{within:?}");
    assert!(within[0].starts_with("f.yaml:5:"), "{within:?}");
}

#[test]
fn what_is_only_in_the_cluster_is_told_by_its_name() {
    let told = told(ENTRY, cluster(ROUTE));

    assert_eq!(told.len(), 1, "{told:?}");
    let start = "VirtualService shop/a: warning: spec.http[0].route[0].destination.subset: ";
    assert!(told[0].starts_with(start), "{told:?}");
}

#[test]
fn a_file_takes_the_place_of_what_the_cluster_has() {
    let without_subset = ROUTE.replace(", subset: v1", "");

    let told = told(&(without_subset + "---" + ENTRY), cluster(ROUTE));

    assert_eq!(told, [""; 0]);
}

#[test]
fn with_an_error_nothing_is_said_of_what_is_between_resources() {
    let told = told(&ENTRY.replace("DNS", "DSN"), cluster(ROUTE));

    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("f.yaml:5:"), "{told:?}");
}

#[test]
fn a_namespace_is_told_alone_with_what_belongs_to_none() {
    let problem = |resource: &str| Problem {
        severity: Severity::Error,
        file: Arc::from(std::path::Path::new("f.yaml")),
        line: 1,
        column: 1,
        resource: resource.to_owned(),
        path: String::new(),
        message: "is wrong".to_owned(),
    };

    assert!(is_in(&problem("Gateway shop/a"), "shop"));
    assert!(!is_in(&problem("Gateway shop2/a"), "shop"));
    assert!(is_in(&problem("Gateway"), "shop"));
    assert!(is_in(&problem(""), "shop"));
}

#[test]
fn json_has_no_place_where_there_is_no_file() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("f.yaml");
    fs::write(&path, ENTRY).expect("written");
    let mut loader = Loader::new("default");
    let settings = MeshSettings::default();
    let found = analysis(&mut loader, &[path], cluster(ROUTE), settings);

    let mut text = Vec::new();
    print_json(&mut text, &found.problems).expect("written");

    let shown: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
    assert_eq!(shown[0]["resource"], "VirtualService shop/a");
    assert_eq!(shown[0]["severity"], "warning");
    assert!(shown[0].get("file").is_none() && shown[0].get("line").is_none());
}
