//! The `meshcontrol` program.

use std::process::ExitCode;

use clap::Parser as _;
use control::cli::{Cli, Command};
use control::{analyze, crd, inject, serve, status, token};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Inject(arguments) => inject::run(&arguments),
        Command::Crds(arguments) => crd::run(&arguments),
        Command::Status(arguments) => to_end(status::command::run(&arguments)),
        Command::Analyze(arguments) => to_end(analyze::run(&arguments)),
    }
}

/// Runs a command that waits for others, and needs no second thread.
fn to_end(command: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            eprintln!("meshcontrol: start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
