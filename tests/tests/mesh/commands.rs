//! Commands beside the proxy itself: what they print, write and end with.

use std::fs;

use tempfile::TempDir;
use tests::binary;

/// Old access control, and a service that it is about.
const OLD: &str = "\
apiVersion: rbac.istio.io/v1alpha1
kind: ClusterRbacConfig
metadata: {name: default}
spec: {mode: ON_WITH_INCLUSION, inclusion: {namespaces: [default]}}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: viewer}
spec:
  rules:
  - services: [webapp.default.svc.cluster.local]
    methods: [GET, HEAD]
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: bind}
spec:
  subjects: [{properties: {source.namespace: default}}]
  roleRef: {kind: ServiceRole, name: viewer}
---
apiVersion: v1
kind: Service
metadata: {name: webapp, namespace: default}
spec: {selector: {app: webapp}, ports: [{port: 80, name: http}]}
";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn what_migrate_prints_passes_check() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("old.yaml"), OLD).expect("written");

    let printed = binary::run(&["migrate", &path("old.yaml")]).await;
    let written = binary::run(&["migrate", &path("old.yaml"), "-o", &path("new.yaml")]).await;
    let checked = binary::run(&["check", &path("new.yaml")]).await;

    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    assert!(text(&printed.stdout).contains("kind: AuthorizationPolicy"));
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    assert!(written.stdout.is_empty());
    assert_eq!(fs::read(path("new.yaml")).expect("written"), printed.stdout);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
}

#[tokio::test]
async fn migrate_says_by_its_exit_code_what_became_of_the_files() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(
        path("lost.yaml"),
        OLD.replace("source.namespace", "source.name"),
    )
    .expect("written");
    fs::write(path("bad.yaml"), OLD.replace("methods:", "method:")).expect("written");

    let lost = binary::run(&["migrate", &path("lost.yaml")]).await;
    let bad = binary::run(&["migrate", &path("bad.yaml")]).await;
    let over = binary::run(&["migrate", &path("lost.yaml"), "-o", &path("bad.yaml")]).await;
    let none = binary::run(&["migrate", &path("none.yaml")]).await;
    let nothing = binary::run(&["migrate"]).await;

    assert_eq!(lost.status.code(), Some(3));
    let said = text(&lost.stderr);
    assert!(
        said.contains("lost.yaml:14: not carried over: ServiceRoleBinding default/bind: "),
        "{said}"
    );
    assert_eq!(bad.status.code(), Some(1));
    let said = text(&bad.stderr);
    assert!(
        said.contains("bad.yaml:12:5: spec.rules[0].method: unknown field"),
        "{said}"
    );
    assert!(bad.stdout.is_empty());
    assert_eq!(
        over.status.code(),
        Some(1),
        "a file that exists is not written over"
    );
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(nothing.status.code(), Some(2));
}

#[tokio::test]
async fn dev_certs_makes_a_folder_and_says_how_to_use_it() {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("certs").display().to_string();
    let arguments = [
        "dev-certs",
        "--out",
        &out,
        "--identity",
        "default/web",
        "--gateway",
        "a.test",
    ];

    let made = binary::run(&arguments).await;

    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let said = text(&made.stdout);
    assert!(
        said.contains("spiffe://cluster.local/ns/default/sa/web: made, until "),
        "{said}"
    );
    for file in ["cert-chain.pem", "key.pem", "root-cert.pem"] {
        for name in ["default.web", "gateways/a.test"] {
            let path = format!("{out}/{name}/{file}");
            assert!(fs::metadata(&path).is_ok(), "{path}");
        }
    }
    fs::remove_file(format!("{out}/root-key.pem")).expect("removed");
    let refused = binary::run(&arguments).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("is there without root-key.pem"));
}
