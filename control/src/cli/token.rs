//! Arguments of `meshcontrol token`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::value::{account, audience, label, lifetime};

/// Arguments of `meshcontrol token`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TokenArgs {
    /// Folder in which the control plane keeps its keys. The key of tokens is made if there is none.
    #[arg(long, value_name = "DIR", env = "MESHCONTROL_STATE_DIR")]
    pub state_dir: PathBuf,
    /// Namespace of the workload.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = label)]
    pub namespace: String,
    /// Service account of the workload.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = account)]
    pub service_account: String,
    /// Whom the token is for; that of `serve`.
    #[arg(long, value_name = "TEXT", env = "MESHCONTROL_AUDIENCE", default_value = "istio-ca", value_parser = audience)]
    pub audience: String,
    /// How long it is valid. Whoever has it is the workload for as long.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = lifetime)]
    pub lifetime: Duration,
}
