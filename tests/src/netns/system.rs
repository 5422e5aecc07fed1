//! Programs of the system that make and remove namespaces.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where `ip netns` keeps what each namespace has instead of the files in `/etc`.
const ETC: &str = "/etc/netns";

/// Runs a program to its end.
///
/// # Panics
///
/// If it fails, with what it says.
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("start {program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `ip` in a namespace, with arguments that spaces separate.
pub(super) fn ip(namespace: &str, arguments: &str) -> String {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    run("ip", &[&["-n", namespace], &*arguments].concat())
}

/// The `PATH`, with the folders where Debian keeps programs of the system.
pub(super) fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

/// Every namespace that has a name.
pub(super) fn namespaces() -> Vec<String> {
    let listed = run("ip", &["netns", "list"]);
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The files that a namespace has instead of those in `/etc`.
pub(super) fn etc(namespace: &str) -> PathBuf {
    PathBuf::from(ETC).join(namespace)
}

/// Ends what runs in a namespace and removes it. Another test may do the same at the same time, and a
/// panic here would hide the one that led here: what does not work is for the next run.
pub(super) fn remove(namespace: &str) {
    let quiet = |arguments: &[&str]| {
        let command = Command::new("ip")
            .args(arguments)
            .env("PATH", path())
            .output();
        command.map(|output| output.stdout).unwrap_or_default()
    };
    let pids = quiet(&["netns", "pids", namespace]);
    let pids = String::from_utf8_lossy(&pids).into_owned();
    for pid in pids.lines().filter_map(|pid| pid.trim().parse().ok()) {
        let pid = rustix::process::Pid::from_raw(pid);
        let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
    }
    quiet(&["netns", "delete", namespace]);
    let _ = fs::remove_dir_all(etc(namespace));
}
