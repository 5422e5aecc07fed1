//! Where the programs of Kubernetes are.

use std::path::{Path, PathBuf};

/// Names a folder that has them, as the tests of other projects do.
const OVERRIDE: &str = "KUBEBUILDER_ASSETS";

/// The path of `kube-apiserver`, `etcd`, `kubectl` or `helm`.
///
/// # Panics
///
/// If it is not there, with what is to be done.
pub(crate) fn path(program: &str) -> PathBuf {
    let given = std::env::var_os(OVERRIDE).map(|folder| PathBuf::from(folder).join(program));
    // A folder of others may lack what is no part of Kubernetes.
    let path = match given {
        Some(given) if given.is_file() => given,
        _ => installed().join(program),
    };
    assert!(
        path.is_file(),
        "{} is missing: run tests/install-kubernetes, or set {OVERRIDE} to a folder that has it",
        path.display()
    );
    path
}

/// The folder that `tests/install-kubernetes` fills.
fn installed() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let workspace = workspace.expect("the package is in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |target| workspace.join(target));
    target.join("kubernetes")
}
