//! `meshcontrol token`: proves to a control plane without Kubernetes who a workload is.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use crate::cli::TokenArgs;
use crate::identity::TokenKey;
use crate::state_dir::StateDir;

/// Prints a token.
pub fn run(arguments: &TokenArgs) -> ExitCode {
    let printed = issue(arguments).and_then(|token| Ok(writeln!(io::stdout(), "{token}")?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshcontrol: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn issue(arguments: &TokenArgs) -> anyhow::Result<String> {
    let key = TokenKey::open(&StateDir::open(&arguments.state_dir)?)?;
    let account = (&*arguments.namespace, &*arguments.service_account);
    let (now, lifetime) = (SystemTime::now(), arguments.lifetime);
    Ok(key.issue(account, &arguments.audience, now, lifetime)?)
}
