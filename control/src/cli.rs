//! The command line: one file below for the arguments of each command.
//!
//! What cannot be used is a usage error with exit code 2, before anything is opened or started.

mod analyze;
mod serve;
mod status;
#[cfg(test)]
mod tests;
mod token;
mod value;

use clap::{Parser, Subcommand};

pub use crate::crd::CrdsArgs;
pub use crate::inject::InjectArgs;
pub use analyze::AnalyzeArgs;
pub use serve::{ServeArgs, Source};
pub use status::{Output, StatusArgs};
pub use token::TokenArgs;

/// The control plane of a service mesh that is configured by Istio's YAML.
#[derive(Debug, Parser)]
#[command(
    name = "meshcontrol",
    version,
    disable_help_subcommand = true,
    after_help = "Flags can also be set in the environment, as MESHCONTROL_ and their name: --http-addr is \
                  MESHCONTROL_HTTP_ADDR.\n\
                  Exit codes: 0 stopped cleanly or done, 1 configuration or start-up error, 2 usage."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give proxies their configuration and certificates, until told to stop.
    ///
    /// SIGTERM and SIGINT finish what there is and stop; a second one stops at once.
    Serve(Box<ServeArgs>),
    /// Print a token by which a workload proves who it is to `serve --source dir:` with the same
    /// --state-dir.
    Token(TokenArgs),
    /// Add a proxy to the pods that files make, for clusters without the webhook. Documents with pods lose
    /// their comments; all others pass as they are.
    ///
    /// Exit codes: 0 done, 1 a file cannot be read or an annotation is wrong, 2 usage.
    Inject(InjectArgs),
    /// Print the definitions of all kinds for Kubernetes: `meshcontrol crds | kubectl apply -f -`.
    Crds(CrdsArgs),
    /// Show every connected proxy and every resource in trouble.
    Status(StatusArgs),
    /// Find what is wrong with files, with what a cluster has, or with files as they would be in it.
    ///
    /// Exit code 1 if there are errors; warnings are none.
    Analyze(AnalyzeArgs),
}
