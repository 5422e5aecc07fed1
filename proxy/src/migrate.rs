//! `meshproxy migrate`: retired forms to today's resources.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use config::migrate::{Input, migrate};
use config::{Problem, Severity};

use crate::bootstrap::{MigrateArgs, Output};
use crate::check;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Exit code where something could not be carried over.
const INCOMPLETE: u8 = 3;

/// Migrates the files of the arguments: the result to stdout or to a new file, notes to stderr.
/// Success if everything was carried over, 3 if not, failure if the files are bad.
pub fn run(arguments: &MigrateArgs) -> ExitCode {
    let mut texts = Vec::new();
    for path in &arguments.files {
        match read(path) {
            Ok(text) => texts.push((path, text)),
            Err(error) => {
                eprintln!("meshproxy: {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    let inputs: Vec<Input<'_>> = texts
        .iter()
        .map(|(path, text)| Input { path, text })
        .collect();
    let migrated = match migrate(&inputs, &arguments.namespace) {
        Ok(migrated) => migrated,
        Err(problems) => return refuse(&problems),
    };
    for note in &migrated.notes {
        eprintln!("{note}");
    }
    if let Err((to, error)) = write(arguments.out.as_deref(), &migrated.text) {
        eprintln!("meshproxy: {to}: {error}");
        return ExitCode::FAILURE;
    }
    match migrated.is_complete() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(INCOMPLETE),
    }
}

fn refuse(problems: &[Problem]) -> ExitCode {
    debug_assert!(problems.iter().any(|it| it.severity == Severity::Error));
    // What cannot be printed leaves the exit code to say it.
    let _ = check::print(&mut io::stderr().lock(), Output::Text, problems);
    ExitCode::FAILURE
}

fn read(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::other("is a folder; name its files"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "has more than {FILE_BYTES_MAX} bytes"
        )));
    }
    fs::read_to_string(path)
}

/// Writes the result; the error comes with what could not be written.
fn write(out: Option<&Path>, text: &str) -> Result<(), (String, io::Error)> {
    let written = match out {
        None => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        }
        Some(path) => OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes())),
    };
    let to = || out.map_or_else(|| "stdout".to_owned(), |path| path.display().to_string());
    written.map_err(|error| (to(), error))
}
