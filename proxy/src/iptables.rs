//! `meshproxy iptables`: rules that capture the traffic of a network namespace.
//!
//! What is asked for becomes a `plan` of rules, which `nft` and `restore` write in the languages of
//! their programs; `host` looks at what is there, `steps` says what to run, `program` runs it. Run
//! again, it replaces what it installed; each table changes in one transaction, so that there is no
//! moment without rules. Rules of others are never touched.

mod host;
mod nft;
mod plan;
mod program;
mod restore;
mod steps;

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::bootstrap::{Action, Capture, Dns, IptablesArgs};
use host::{Host, HostError, Seen};
use plan::Plan;
use program::ProgramError;
use steps::{NoBackend, Step};

/// Why traffic is not captured, or still is.
#[derive(Debug, thiserror::Error)]
enum IptablesError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    NoBackend(#[from] NoBackend),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Does what the arguments ask for and says what was done; failure with the reason on stderr if
/// something cannot be done. What was done before stays: the next run goes on from there.
pub fn run(arguments: &IptablesArgs) -> ExitCode {
    let said = match carry_out(arguments) {
        Ok(said) => said,
        Err(error) => {
            eprintln!("meshproxy: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut out = io::stdout().lock();
    match out.write_all(said.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn carry_out(arguments: &IptablesArgs) -> Result<String, IptablesError> {
    let host = Host::find()?;
    let mut seen = Seen::look(&host);
    if arguments.dry_run {
        for unseen in seen.assume_nothing() {
            eprintln!("meshproxy: as if there was nothing yet: {unseen}");
        }
    }
    let (done, steps) = match &arguments.action {
        Action::Clean => {
            let steps = steps::clean(&host, &seen)?;
            let done = match steps.is_empty() {
                true => "nothing was captured".to_owned(),
                false => "not capturing any more".to_owned(),
            };
            (done, steps)
        }
        Action::Install(capture) => {
            let plan = plan_for(capture)?;
            let (backend, steps) = steps::install(&plan, arguments.backend, &host, &seen)?;
            (format!("capturing, by {backend}"), steps)
        }
    };
    if arguments.dry_run {
        return Ok(steps.iter().map(Step::for_a_shell).collect());
    }
    for Step { call, input } in &steps {
        call.run(input)?;
    }
    Ok(done + "\n")
}

fn plan_for(capture: &Capture) -> Result<Plan, HostError> {
    let servers = match capture.dns {
        Dns::Servers => host::name_servers()?,
        Dns::Untouched | Dns::All => Vec::new(),
    };
    Ok(Plan::new(capture, &servers))
}
