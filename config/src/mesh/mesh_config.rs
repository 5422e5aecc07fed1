//! What a `MeshConfig` says of the mesh as a whole.

use std::time::Duration;

use super::kinds::Kinds;
use super::{Mesh, MeshSettings, Viewer};
use crate::resource::mesh_config::{ExtensionProvider, MeshConfig, PathNormalization};
use crate::resource::sidecar::{OutboundMode, OutboundTrafficPolicy};
use crate::resource::{Metadata, Spec};

// === impl Kinds ===

impl Kinds {
    /// The settings with what the first `MeshConfig` says besides.
    pub(super) fn settings(&self, given: &MeshSettings) -> MeshSettings {
        let mut settings = given.clone();
        let Some((config, _)) = self.mesh_config() else {
            return settings;
        };
        let written = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(namespace) = written(&config.root_namespace) {
            settings.root_namespace = namespace;
        }
        settings.trust_domains.extend(written(&config.trust_domain));
        let aliases = config.trust_domain_aliases.iter().cloned();
        settings.trust_domains.extend(aliases);
        let topology = config.default_config.gateway_topology;
        settings.trusted_proxies = topology
            .num_trusted_proxies
            .unwrap_or(settings.trusted_proxies);
        // The stronger of two: a form that a policy counts on must not be taken away from it.
        let wanted = config.path_normalization.normalization;
        let wanted = wanted.unwrap_or(settings.path_normalization);
        settings.path_normalization = settings.path_normalization.max(wanted);
        settings
    }

    /// The `MeshConfig` that counts, the first.
    fn mesh_config(&self) -> Option<(&MeshConfig, &Metadata)> {
        let resource = self.mesh_configs.first()?;
        match &resource.spec {
            Spec::MeshConfig(config) => Some((config, &resource.meta)),
            _ => None,
        }
    }
}

// === impl Mesh ===

impl Mesh {
    /// The provider that policies call `name`, and the namespace of whoever wrote it.
    pub fn provider(&self, name: &str) -> Option<(&ExtensionProvider, &str)> {
        let (config, meta) = self.kinds.mesh_config()?;
        let mut providers = config.extension_providers.iter();
        let found = providers.find(|provider| provider.name == name)?;
        Some((found, &meta.namespace))
    }

    /// How far a `MeshConfig` wants paths to be brought to normal form at least.
    pub fn wanted_normalization(&self) -> Option<PathNormalization> {
        let (config, _) = self.kinds.mesh_config()?;
        config.path_normalization.normalization
    }

    /// What happens to traffic of the viewer for hosts and addresses that nobody knows: as its
    /// `Sidecar` says, else the `MeshConfig`, else it passes.
    pub fn outbound_mode(&self, viewer: &Viewer) -> OutboundMode {
        let of_sidecar = self.sidecar(viewer).and_then(|it| match &it.spec {
            Spec::Sidecar(sidecar) => sidecar.outbound_traffic_policy.as_ref(),
            _ => None,
        });
        let of_mesh = || {
            let (config, _) = self.kinds.mesh_config()?;
            config.outbound_traffic_policy.as_ref()
        };
        of_sidecar
            .or_else(of_mesh)
            .map_or(OutboundMode::AllowAny, OutboundTrafficPolicy::mode)
    }

    /// How long a proxy that exits may take to stop, if a `MeshConfig` says so.
    pub fn drain_timeout(&self) -> Option<Duration> {
        let (config, _) = self.kinds.mesh_config()?;
        let defaults = &config.default_config;
        let written = defaults.termination_drain_duration;
        Some(written.or(defaults.drain_duration)?.get())
    }

    /// Names of all providers.
    pub(crate) fn provider_names(&self) -> impl Iterator<Item = &str> {
        let config = self.kinds.mesh_config();
        let providers = config
            .into_iter()
            .flat_map(|(it, _)| &it.extension_providers);
        providers.map(|provider| provider.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::load::parse;
    use crate::mesh::{Mesh, MeshSettings};
    use crate::resource::mesh_config::PathNormalization;

    const CONFIG_MAP: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    rootNamespace: root
    trustDomain: td1
    trustDomainAliases: [td2]
    defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}
    pathNormalization: {normalization: MERGE_SLASHES}
    extensionProviders:
    - name: opa
      envoyExtAuthzGrpc: {service: opa.auth.svc.cluster.local, port: 9191}
";

    #[test]
    fn a_config_map_sets_what_concerns_the_mesh_as_a_whole() {
        let loaded = parse("m.yaml", CONFIG_MAP, "default");
        let mesh = Mesh::new(&loaded.resources, MeshSettings::default());

        assert_eq!(mesh.settings().root_namespace, "root");
        assert_eq!(mesh.settings().trust_domains, ["td1", "td2"]);
        assert_eq!(mesh.settings().trusted_proxies, 2);
        let merged = PathNormalization::MergeSlashes;
        assert_eq!(mesh.settings().path_normalization, merged);
        assert_eq!(mesh.wanted_normalization(), Some(merged));
        assert!(
            mesh.provider("opa")
                .is_some_and(|(it, _)| it.authorizer().is_some())
        );
        assert!(mesh.provider("other").is_none());
    }

    #[test]
    fn the_time_of_a_drain_is_that_of_an_exit_or_that_of_all_drains() {
        for (written, expected) in [
            ("drainDuration: 30s", Some(30)),
            ("drainDuration: 30s, terminationDrainDuration: 7s", Some(7)),
            ("gatewayTopology: {}", None),
        ] {
            let topology = "gatewayTopology: {numTrustedProxies: 2}";
            let loaded = parse("m.yaml", &CONFIG_MAP.replace(topology, written), "default");
            assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
            let mesh = Mesh::new(&loaded.resources, MeshSettings::default());

            let timeout = mesh.drain_timeout();

            assert_eq!(timeout, expected.map(Duration::from_secs), "{written}");
        }
    }

    #[test]
    fn the_stronger_normal_form_of_paths_counts() {
        use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
        for (given, written, expected) in [
            (Base, "NONE", Base),
            (None, "DEFAULT", Base),
            (Base, "DECODE_AND_MERGE_SLASHES", DecodeAndMergeSlashes),
            (
                DecodeAndMergeSlashes,
                "MERGE_SLASHES",
                DecodeAndMergeSlashes,
            ),
            (MergeSlashes, "BASE", MergeSlashes),
        ] {
            let text = CONFIG_MAP.replace("MERGE_SLASHES", written);
            let loaded = parse("m.yaml", &text, "default");
            assert!(!loaded.has_errors(), "{:?}", loaded.problems);
            let settings = MeshSettings {
                path_normalization: given,
                ..MeshSettings::default()
            };

            let mesh = Mesh::new(&loaded.resources, settings);

            assert_eq!(mesh.settings().path_normalization, expected, "{written}");
        }
    }

    #[test]
    fn unknown_hosts_pass_unless_the_mesh_or_the_sidecar_says_otherwise() {
        use crate::mesh::Viewer;
        use crate::resource::sidecar::OutboundMode::{AllowAny, RegistryOnly};
        let config = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'outboundTrafficPolicy: {mode: MODE}'}
";
        let sidecar = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: MODE}}
";
        for (of_mesh, of_sidecar, expected) in [
            (None, Some("ALLOW_ANY"), AllowAny),
            (Some("REGISTRY_ONLY"), None, RegistryOnly),
            (Some("REGISTRY_ONLY"), Some("ALLOW_ANY"), AllowAny),
            (Some("ALLOW_ANY"), Some("REGISTRY_ONLY"), RegistryOnly),
        ] {
            let config = of_mesh.map(|mode| config.replace("MODE", mode));
            let sidecar = of_sidecar.map(|mode| sidecar.replace("MODE", mode));
            let text: Vec<String> = [config, sidecar].into_iter().flatten().collect();
            let loaded = parse("m.yaml", &text.join("\n---\n"), "default");
            assert!(!loaded.has_errors(), "{:?}", loaded.problems);
            let viewer = Viewer {
                namespace: "default".to_owned(),
                ..Viewer::default()
            };

            let mesh = Mesh::new(&loaded.resources, MeshSettings::default());

            assert_eq!(
                mesh.outbound_mode(&viewer),
                expected,
                "{of_mesh:?} {of_sidecar:?}"
            );
        }
        let empty = Mesh::new(&[], MeshSettings::default());
        assert_eq!(empty.outbound_mode(&Viewer::default()), AllowAny);
    }

    #[test]
    fn headers_of_balancers_are_not_believed_from_everybody() {
        let both = "numTrustedProxies: 2, proxyProtocol: {}";
        let text = CONFIG_MAP.replace("numTrustedProxies: 2", both);

        let loaded = parse("m.yaml", &text, "default");

        assert!(!loaded.has_errors(), "{:?}", loaded.problems);
        let [problem] = &*loaded.problems else {
            panic!("not one problem: {:?}", loaded.problems);
        };
        assert!(problem.message.contains("--proxy-protocol-from"));
        let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
        assert_eq!(mesh.settings().trusted_proxies, 2);
    }

    #[test]
    fn a_generation_without_it_has_the_settings_that_were_given() {
        let loaded = parse("m.yaml", CONFIG_MAP, "default");
        let mesh = Mesh::new(&loaded.resources, MeshSettings::default());

        let next = mesh.next(&[]);

        assert_eq!(*next.settings(), MeshSettings::default());
    }

    #[test]
    fn an_operator_says_the_same_and_mistakes_are_told_at_their_place() {
        let text = "
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: mesh}
spec:
  profile: default
  meshConfig:
    accessLogFile: /dev/stdout
    extensionProviders:
    - name: a
      envoyExtAuthzHttp: {service: a, port: 0, failOpne: true, statusOnError: '200'}
    - name: a
      zipkin: {service: z, port: 9411}
";
        let loaded = parse("m.yaml", text, "default");

        let told = |path: &str| loaded.problems.iter().any(|it| it.path == path);
        for path in [
            "spec.meshConfig.accessLogFile",
            "spec.meshConfig.extensionProviders[0].envoyExtAuthzHttp.failOpne",
            "spec.meshConfig.extensionProviders[0].envoyExtAuthzHttp.port",
            "spec.meshConfig.extensionProviders[0].envoyExtAuthzHttp.statusOnError",
            "spec.meshConfig.extensionProviders[1].name",
            "spec.meshConfig.extensionProviders[1].zipkin",
        ] {
            assert!(told(path), "{path}: {:?}", loaded.problems);
        }
    }

    #[test]
    fn other_config_maps_are_none_of_our_business() {
        let text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: game}, data: {mesh: x}}";
        let loaded = parse("m.yaml", text, "default");

        assert!(!loaded.has_errors() && loaded.resources.is_empty());
    }
}
