//! How clients reach an API server, and who they are.

use std::net::SocketAddr;
use std::path::PathBuf;

use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use serde_json::json;

/// One way to an API server.
#[derive(Debug)]
pub(super) struct Kubeconfig {
    pub(super) addr: SocketAddr,
    pub(super) authority: PathBuf,
    pub(super) token: String,
}

// === impl Kubeconfig ===

impl Kubeconfig {
    /// As a file says it.
    pub(super) fn text(&self) -> String {
        let cluster = json!({
            "server": format!("https://{}", self.addr),
            "certificate-authority": self.authority,
        });
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        kubeconfig.to_string()
    }

    pub(super) async fn config(&self) -> Config {
        let file = kube::config::Kubeconfig::from_yaml(&self.text()).expect("our own file");
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(file, &options).await;
        config.expect("our own file can be used")
    }

    pub(super) async fn client(&self) -> Client {
        Client::try_from(self.config().await).expect("a client")
    }
}
