//! Arguments of `meshcontrol status`.

use clap::{Args, ValueEnum};

use crate::status::ask::Address;

/// Arguments of `meshcontrol status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Where the control plane answers. Each replica shows the proxies that are connected to it; where the
    /// host has several addresses, such as that of a headless Service, all are asked.
    #[arg(
        long,
        value_name = "http://HOST:PORT",
        env = "MESHCONTROL_ADDRESS",
        default_value = "http://127.0.0.1:8080"
    )]
    pub address: Address,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}
