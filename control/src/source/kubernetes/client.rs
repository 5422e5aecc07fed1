//! A client of the API server whose every wait ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest silence of the API server while an answer of it is awaited. A watch says something more
/// often: it ends by itself after [`super::watch::WATCH_SECONDS_MAX`].
const SILENCE_MAX: Duration = Duration::from_secs(super::watch::WATCH_SECONDS_MAX as u64 + 10);
/// Longest wait until something sent is taken.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read.
    #[error("read kubeconfig {path}")]
    File {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: Box<KubeconfigError>,
    },
    /// There is neither a kubeconfig nor the account of a pod.
    #[error("find out how to reach the API server")]
    Infer(#[source] Box<InferConfigError>),
    /// What was found cannot be used.
    #[error("set up a client of the API server")]
    Client(#[source] Box<kube::Error>),
}

/// A client by `kubeconfig`; without one by `KUBECONFIG`, the user's own file or the account of the pod
/// that this runs in, the first that is there. It connects when it is first used.
///
/// # Errors
///
/// Fails if there is no way to an API server or none that can be used.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => by_file(path).await?,
        None => Config::infer()
            .await
            .map_err(|source| ConnectError::Infer(Box::new(source)))?,
    };
    config.connect_timeout = Some(CONNECT_MAX);
    config.read_timeout = Some(SILENCE_MAX);
    config.write_timeout = Some(WRITE_MAX);
    // Otherwise the time that a connection lay idle counts.
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|source| ConnectError::Client(Box::new(source)))
}

async fn by_file(path: &Path) -> Result<Config, ConnectError> {
    let failed = |source: KubeconfigError| ConnectError::File {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(failed)
}
