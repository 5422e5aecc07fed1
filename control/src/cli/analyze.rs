//! Arguments of `meshcontrol analyze`.

use std::path::PathBuf;

use clap::Args;

use super::status::Output;
use super::value::label;

/// Arguments of `meshcontrol analyze`.
#[derive(Debug, Clone, Args)]
pub struct AnalyzeArgs {
    /// File or folder of YAML; may be given several times. Without any, the cluster is analyzed.
    #[arg(short, long = "filename", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// Analyze files as they would be in the cluster: what they define takes the place of what it has.
    #[arg(long, requires = "files")]
    pub cluster: bool,
    /// Only tell what is wrong in this namespace. It is that of documents that name none, too.
    #[arg(short, long, value_name = "NAME", value_parser = label)]
    pub namespace: Option<String>,
    /// Root namespace of configuration in the cluster.
    #[arg(long, value_name = "NAME", default_value = "istio-system", value_parser = label)]
    pub root_namespace: String,
    /// How to reach the API server [default: KUBECONFIG, or the user's own file].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}
