//! What a `MeshConfig` says of the mesh as a whole.

use super::kinds::Kinds;
use super::{Mesh, MeshSettings};
use crate::resource::mesh_config::{ExtensionProvider, MeshConfig};
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
    use crate::load::parse;
    use crate::mesh::{Mesh, MeshSettings};

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
        assert!(
            mesh.provider("opa")
                .is_some_and(|(it, _)| it.authorizer().is_some())
        );
        assert!(mesh.provider("other").is_none());
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
