//! `meshcontrol crds`: prints the definitions, or writes them as the files of a chart.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::definitions;

/// Arguments of `meshcontrol crds`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CrdsArgs {
    /// Folder to write them to, a file for each; without it they are printed.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints or writes all definitions: success, or failure if that cannot be done.
pub fn run(arguments: &CrdsArgs) -> ExitCode {
    match write(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshcontrol: write the definitions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(arguments: &CrdsArgs) -> io::Result<()> {
    let Some(dir) = &arguments.dir else {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for definition in definitions() {
            write!(out, "---\n{}", definition.print())?;
        }
        return out.flush();
    };
    definitions()
        .iter()
        .try_for_each(|it| fs::write(dir.join(format!("{}.yaml", it.name)), it.print()))
}
