//! The `meshproxy` program.

use std::process::ExitCode;

use proxy::bootstrap::Invocation;
use proxy::{app, check, dev_certs, expect, explain, iptables, migrate, wait};
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let settings = match Invocation::parse(std::env::args_os()) {
        Ok(Invocation::Run(settings)) => settings,
        Ok(Invocation::Check(arguments)) => return check::run(&arguments),
        Ok(Invocation::Test(arguments)) => return expect::run(&arguments),
        Ok(Invocation::Explain(arguments)) => return explain::run(&arguments),
        Ok(Invocation::DevCerts(arguments)) => return dev_certs::run(&arguments),
        Ok(Invocation::Migrate(arguments)) => return migrate::run(&arguments),
        Ok(Invocation::Wait(arguments)) => return wait::run(&arguments),
        Ok(Invocation::Iptables(arguments)) => return iptables::run(&arguments),
        Err(error) => error.exit(),
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let ended = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(app::run(*settings)));
    ended.unwrap_or_else(|error| {
        eprintln!("meshproxy: {error:#}");
        ExitCode::FAILURE
    })
}
