//! Arguments of `meshproxy migrate`.

use std::path::PathBuf;

use clap::Args;

use super::value::namespace;

/// Arguments of `meshproxy migrate`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct MigrateArgs {
    /// Files of YAML or JSON, taken together: services of one count for the others.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Where the result goes; without it, to stdout. A file that exists is not written over.
    #[arg(short, long = "output", value_name = "OUT")]
    pub out: Option<PathBuf>,
    /// Namespace of documents that name none.
    #[arg(long, env = "MESHPROXY_NAMESPACE", default_value = "default", value_parser = namespace)]
    pub namespace: String,
}
