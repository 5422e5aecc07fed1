//! What is the same for all pods of a mesh. The chart writes it; pods may say otherwise by annotations.

use config::Problem;
use config::strict;
use serde::Deserialize;
use std::path::Path;

/// Namespaces of which nothing is touched: what runs there runs the cluster.
const EXCLUDED: [&str; 4] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
];
/// The first minor version of Kubernetes 1 in which native sidecars are on by default.
const NATIVE_SINCE: (u32, u32) = (1, 29);

/// Settings of the injection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// Image of the proxy.
    pub image: String,
    /// Image of what leads traffic to it; it has `meshproxy` and the programs that change rules.
    pub init_image: String,
    /// When images are pulled; unset leaves it to the cluster.
    pub image_pull_policy: Option<String>,
    /// Secrets by which images are pulled.
    pub image_pull_secrets: Vec<String>,
    /// The control plane, as proxies reach it.
    pub control: String,
    /// Trust domain of identities.
    pub trust_domain: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of this control plane among others in the cluster.
    pub revision: String,
    /// What proxies log of themselves.
    pub log: String,
    /// Whether and how they log requests: `off`, `text` or `json`.
    pub access_log: String,
    /// Whether they answer the names that workloads ask for.
    pub dns: bool,
    /// What a proxy may take.
    pub resources: Resources,
    /// Version of the API server, such as `v1.31.2`; unset is taken for a new one.
    pub kubernetes_version: Option<String>,
    /// Whether proxies are native sidecars.
    pub native_sidecars: NativeSidecars,
    /// Whether containers wait until the proxy is ready, where it is no native sidecar (which they
    /// always wait for).
    pub hold_application_until_proxy_starts: bool,
    /// Whether probes are led to the proxy, as they must be where mutual TLS is demanded.
    #[serde(rename = "rewriteAppHTTPProbers")]
    pub rewrite_probes: bool,
    /// Whether annotations lead Prometheus to the proxy's metrics, in pods that have none.
    pub prometheus: bool,
    /// Namespaces in which nothing is injected.
    pub excluded_namespaces: Vec<String>,
}

/// What a container asks for, and the most that it may take, as quantities of Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Resources {
    /// What is kept free for it.
    pub requests: Amounts,
    /// The most; unset is no limit.
    pub limits: Amounts,
}

/// Quantities of Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Amounts {
    /// Cores.
    pub cpu: Option<String>,
    /// Bytes.
    pub memory: Option<String>,
}

/// Whether proxies are native sidecars: init containers that run as long as the pod, start before it,
/// and do not keep a Job from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NativeSidecars {
    /// Where the cluster has them.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

// === impl Settings ===

impl Settings {
    /// Reads settings as if they were the file `path`.
    ///
    /// # Errors
    ///
    /// Every problem of them.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        strict::parse(path, text).map(|document| document.value)
    }

    /// Whether a proxy is a native sidecar where its pod does not say.
    pub(super) fn are_native(&self) -> bool {
        match self.native_sidecars {
            NativeSidecars::Always => true,
            NativeSidecars::Never => false,
            NativeSidecars::Auto => {
                let version = self.kubernetes_version.as_deref().and_then(version);
                version.is_none_or(|version| version >= NATIVE_SINCE)
            }
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let image = |name| format!("{name}:{}", env!("CARGO_PKG_VERSION"));
        let amounts = |cpu: Option<&str>, memory: &str| Amounts {
            cpu: cpu.map(str::to_owned),
            memory: Some(memory.to_owned()),
        };
        Self {
            image: image("meshproxy"),
            init_image: image("meshproxy-init"),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            control: "https://meshcontrol.istio-system.svc:15012".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            cluster: "Kubernetes".to_owned(),
            revision: "default".to_owned(),
            log: "warn".to_owned(),
            access_log: "off".to_owned(),
            dns: false,
            resources: Resources {
                requests: amounts(Some("50m"), "32Mi"),
                limits: amounts(None, "256Mi"),
            },
            kubernetes_version: None,
            native_sidecars: NativeSidecars::Auto,
            hold_application_until_proxy_starts: true,
            rewrite_probes: true,
            prometheus: true,
            excluded_namespaces: EXCLUDED.map(str::to_owned).to_vec(),
        }
    }
}

/// Major and minor version, such as those of `v1.31.2-eks-1`.
fn version(text: &str) -> Option<(u32, u32)> {
    let text = text.trim().trim_start_matches('v');
    let (major, rest) = text.split_once('.')?;
    let end = rest.find(|it: char| !it.is_ascii_digit());
    let minor = &rest[..end.unwrap_or(rest.len())];
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_are_native_where_the_cluster_has_them() {
        for (version, native) in [
            ("v1.28.15", false),
            ("1.29.0", true),
            ("v1.31+", true),
            ("v2.0.0", true),
            ("unknown", true),
        ] {
            let settings = Settings {
                kubernetes_version: Some(version.to_owned()),
                ..Settings::default()
            };
            assert_eq!(settings.are_native(), native, "{version}");
        }
    }

    #[test]
    fn a_misspelt_setting_is_refused_with_its_place() {
        let problems = Settings::parse(Path::new("s.yaml"), "image: a\nimagePullPolcy: Always\n")
            .expect_err("it is misspelt");

        let text = problems[0].to_string();
        assert!(text.starts_with("s.yaml:2:1: imagePullPolcy: "), "{text}");
        assert!(text.contains("imagePullPolicy"), "{text}");
    }
}
