//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tokio::process::Command;

use crate::wait::soon;

/// Names the program to test instead of one that is built from this workspace.
const OVERRIDE: &str = "MESHPROXY_TEST_BIN";
/// The same of the control plane.
const CONTROL_OVERRIDE: &str = "MESHCONTROL_TEST_BIN";
/// The same of the example.
const BOOKINFO_OVERRIDE: &str = "BOOKINFO_TEST_BIN";

/// The path of `meshproxy`, built once in the profile of the running test.
///
/// Cargo builds the programs of other packages for no test, so that the test asks for it. Nothing
/// is compiled again if it was built before.
///
/// # Panics
///
/// If it cannot be built.
pub fn meshproxy() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os(OVERRIDE) {
        Some(given) => PathBuf::from(given),
        None => build("proxy", "meshproxy"),
    })
}

/// The path of `meshcontrol`, in the same way.
///
/// # Panics
///
/// If it cannot be built.
pub fn meshcontrol() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os(CONTROL_OVERRIDE) {
        Some(given) => PathBuf::from(given),
        None => build("control", "meshcontrol"),
    })
}

/// The path of `bookinfo`, in the same way.
///
/// # Panics
///
/// If it cannot be built.
pub fn bookinfo() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os(BOOKINFO_OVERRIDE) {
        Some(given) => PathBuf::from(given),
        None => build("bookinfo", "bookinfo"),
    })
}

/// Runs `meshproxy` with `arguments` to its end.
///
/// # Panics
///
/// If it cannot be started or does not end.
pub async fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
    let mut command = Command::new(meshproxy());
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    soon("the end of meshproxy", command.output())
        .await
        .expect("meshproxy can be started")
}

/// Builds a program of a package and says where it is.
fn build(package: &str, program: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = std::process::Command::new(cargo)
        .args(["build", "--quiet", "--package", package, "--bin", program])
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--profile", &profile()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(built.status.success(), "{program} cannot be built");
    let messages = String::from_utf8_lossy(&built.stdout);
    let artifact = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message["executable"].is_string() && message["target"]["name"] == program);
    let executable = artifact
        .as_ref()
        .and_then(|message| message["executable"].as_str());
    PathBuf::from(executable.expect("cargo says where it put meshproxy"))
}

/// The profile that this test was built in: the folder above `deps`.
fn profile() -> String {
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .and_then(Path::file_name);
    match folder.and_then(|name| name.to_str()) {
        Some("debug") | None => "dev".to_owned(),
        Some(profile) => profile.to_owned(),
    }
}
