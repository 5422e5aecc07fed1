//! `meshproxy explain`: what would become of a request, and why. Nothing is sent.
//!
//! The files are loaded and compiled as a proxy does, and the request takes the way of
//! `request::pipeline` through the same functions; what is told of each rule is the trace of the
//! matcher that routes.

pub mod asked;
mod authorization;
mod beside;
pub mod connection;
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

use serde::Serialize;

use crate::bootstrap::{ExplainArgs, Output};
use crate::check;
use crate::offline::Offline;
use decision::connection::{Connection, End};
use decision::{Decision, Outcome};
use listener::{Undecided, Views};

/// Exit code where nobody takes the request: no listener, no host or no rule.
const UNROUTED: u8 = 3;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A request.
    Request(Box<asked::Asked>),
    /// A connection that is not HTTP.
    Connection(connection::Asked),
}

/// What would become of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Explained {
    Request(Box<Decision>),
    Connection(Connection),
}

/// Explains the request of the arguments on stdout: success if a rule takes it, 3 if none does,
/// failure if the configuration cannot be used or stdout not written.
pub fn run(arguments: &ExplainArgs) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let printed = match explain(arguments) {
        Ok(explained) => {
            let code = match explained.is_refused() {
                true => ExitCode::from(UNROUTED),
                false => ExitCode::SUCCESS,
            };
            print(&mut out, arguments.output, &explained).map(|()| code)
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

fn explain(arguments: &ExplainArgs) -> Result<Explained, Undecided> {
    let caller = &arguments.caller;
    let offline = Offline::load(&arguments.paths, &caller.viewer.namespace);
    let mut views = Views::new(offline.map_err(Undecided::Problems)?);
    match &arguments.asked {
        Subject::Request(asked) => views
            .decide(caller, arguments.listener.as_ref(), asked)
            .map(|decision| Explained::Request(Box::new(decision))),
        Subject::Connection(asked) => views
            .decide_connection(caller, asked)
            .map(Explained::Connection),
    }
}

fn print(out: &mut impl Write, output: Output, explained: &Explained) -> io::Result<()> {
    match (output, explained) {
        (Output::Text, Explained::Request(decision)) => text::print(out, decision),
        (Output::Text, Explained::Connection(told)) => text::connection::print(out, told),
        (Output::Json, explained) => {
            serde_json::to_writer_pretty(&mut *out, explained)?;
            writeln!(out)
        }
    }
}

// === impl Explained ===

impl Explained {
    /// Whether nobody takes it.
    fn is_refused(&self) -> bool {
        match self {
            Self::Request(decision) => matches!(decision.outcome, Outcome::Refused(_)),
            Self::Connection(told) => matches!(told.end, End::Refused(_)),
        }
    }
}
