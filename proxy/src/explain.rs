//! `meshproxy explain`: what would become of a request, and why. Nothing is sent.
//!
//! The files are loaded and compiled as a proxy does, and the request takes the way of
//! `request::pipeline` through the same functions; what is told of each rule is the trace of the
//! matcher that routes.

pub mod asked;
mod authorization;
mod beside;
mod decide;
pub(crate) mod decision;
mod destination;
pub mod listener;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod tried;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::bootstrap::{ExplainArgs, Output};
use crate::check;
use crate::offline::Offline;
use decision::{Decision, Outcome};
use listener::{Undecided, Views};

/// Exit code where nobody takes the request: no listener, no host or no rule.
const UNROUTED: u8 = 3;

/// Explains the request of the arguments on stdout: success if a rule takes it, 3 if none does,
/// failure if the configuration cannot be used or stdout not written.
pub fn run(arguments: &ExplainArgs) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let printed = match explain(arguments) {
        Ok(decision) => {
            let code = match decision.outcome {
                Outcome::Refused(_) => ExitCode::from(UNROUTED),
                Outcome::Answered(_) | Outcome::Forwarded(_) => ExitCode::SUCCESS,
            };
            print(&mut out, arguments.output, &decision).map(|()| code)
        }
        Err(Undecided::NoListener(reason)) => {
            eprintln!("meshproxy: {reason}");
            return ExitCode::from(UNROUTED);
        }
        Err(Undecided::Problems(problems)) => {
            check::print(&mut out, arguments.output, &problems).map(|()| ExitCode::FAILURE)
        }
    };
    match printed.and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn explain(arguments: &ExplainArgs) -> Result<Decision, Undecided> {
    let caller = &arguments.caller;
    let offline = Offline::load(&arguments.paths, &caller.viewer.namespace);
    let mut views = Views::new(offline.map_err(Undecided::Problems)?);
    views.decide(caller, arguments.listener.as_ref(), &arguments.asked)
}

fn print(out: &mut impl Write, output: Output, decision: &Decision) -> io::Result<()> {
    match output {
        Output::Text => text::print(out, decision),
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, decision)?;
            writeln!(out)
        }
    }
}
