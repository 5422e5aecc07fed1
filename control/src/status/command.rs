//! `meshcontrol status`: every connected proxy, and resources in trouble.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::ask::{ask, replicas};
use super::{Proxies, Resources, table};
use crate::cli::{Output, StatusArgs};

/// Asks and prints: success if all replicas answered.
pub async fn run(arguments: &StatusArgs) -> ExitCode {
    let found = match replicas(&arguments.address).await {
        Ok(found) => found,
        Err(error) => {
            eprintln!("meshcontrol: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut proxies: Vec<Proxies> = Vec::new();
    // All replicas know the same resources.
    let mut resources: Option<Resources> = None;
    let mut all = true;
    for addr in found {
        let answers = async {
            let proxies = ask(addr, "/api/proxies").await?;
            let resources: Resources = ask(addr, "/api/resources").await?;
            anyhow::Ok((proxies, resources))
        };
        match answers.await {
            Ok((theirs, known)) => {
                proxies.push(theirs);
                resources.get_or_insert(known);
            }
            Err(error) => {
                eprintln!("meshcontrol: the control plane at {addr}: {error:#}");
                all = false;
            }
        }
    }
    let Some(resources) = resources else {
        return ExitCode::FAILURE;
    };
    match print(arguments.output, &proxies, &resources) {
        Ok(()) if all => ExitCode::SUCCESS,
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

fn print(output: Output, proxies: &[Proxies], resources: &Resources) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Text => {
            write!(out, "{}", table::proxies(proxies))?;
            write!(out, "\n{}", table::resources(resources))?;
        }
        Output::Json => {
            let all = json!({"replicas": proxies, "resources": resources.resources});
            serde_json::to_writer_pretty(&mut out, &all)?;
            writeln!(out)?;
        }
    }
    out.flush()
}
