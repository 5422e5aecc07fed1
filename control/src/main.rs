//! The `meshcontrol` program.

use std::process::ExitCode;

use clap::Parser as _;
use control::cli::{Cli, Command};
use control::{crd, inject, serve, token};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => serve::run(*arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Inject(arguments) => inject::run(&arguments),
        Command::Crds(arguments) => crd::run(&arguments),
    }
}
