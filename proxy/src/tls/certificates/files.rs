//! The files that resources name for TLS.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use config::resource::destination_rule::{ClientTls, DestinationRule, TrafficPolicy};
use config::resource::gateway::Gateway;
use config::{Resource, Spec};

/// Every file that `resources` name, whether it is there or not.
pub(crate) fn named<'r>(
    resources: impl IntoIterator<Item = &'r Arc<Resource>>,
) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for resource in resources {
        match &resource.spec {
            Spec::Gateway(gateway) => files.extend(of_gateway(gateway)),
            Spec::DestinationRule(rule) => files.extend(of_rule(rule)),
            _ => {}
        }
    }
    files
}

fn of_gateway(gateway: &Gateway) -> impl Iterator<Item = PathBuf> {
    let tls = gateway.servers.iter().filter_map(|it| it.tls.as_ref());
    tls.flat_map(|tls| {
        let more = tls
            .tls_certificates
            .iter()
            .flat_map(|it| [&it.server_certificate, &it.private_key, &it.ca_certificates]);
        let own = [
            &tls.server_certificate,
            &tls.private_key,
            &tls.ca_certificates,
            &tls.ca_crl,
        ];
        own.into_iter().chain(more).filter_map(file)
    })
}

fn of_rule(rule: &DestinationRule) -> impl Iterator<Item = PathBuf> {
    let subsets = rule.subsets.iter().map(|it| &it.traffic_policy);
    let policies = std::iter::once(&rule.traffic_policy).chain(subsets);
    policies.flatten().flat_map(of_policy)
}

fn of_policy(policy: &TrafficPolicy) -> impl Iterator<Item = PathBuf> {
    let ports = policy.port_level_settings.iter().map(|it| &it.tls);
    let all = std::iter::once(&policy.tls).chain(ports).flatten();
    all.flat_map(|tls: &ClientTls| {
        let files = [
            &tls.client_certificate,
            &tls.private_key,
            &tls.ca_certificates,
            &tls.ca_crl,
        ];
        files.into_iter().filter_map(file)
    })
}

/// `system` stands for the authorities that the host believes, and is no file.
fn file(written: &Option<String>) -> Option<PathBuf> {
    let written = written.as_deref()?;
    (!written.is_empty() && written != "system").then(|| PathBuf::from(written))
}

#[cfg(test)]
mod tests {
    use config::load::Loader;

    use super::*;

    #[test]
    fn every_file_of_gateways_and_rules_is_found() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("all.yaml");
        let yaml = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: ['shop.test']
    tls: {mode: MUTUAL, serverCertificate: /a, privateKey: /b, caCertificates: /c, caCrl: /d}
  - port: {number: 8444, name: https-2, protocol: HTTPS}
    hosts: ['shop.test']
    tls:
      mode: SIMPLE
      tlsCertificates: [{serverCertificate: /e, privateKey: /f}, {serverCertificate: /g, privateKey: /h}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rule}
spec:
  host: a.test
  trafficPolicy:
    tls: {mode: MUTUAL, clientCertificate: /i, privateKey: /j, caCertificates: system}
    portLevelSettings:
    - port: {number: 80}
      tls: {mode: SIMPLE, caCertificates: /k, caCrl: /l}
  subsets:
  - name: v1
    trafficPolicy:
      tls: {mode: SIMPLE, caCertificates: /m}
";
        std::fs::write(&path, yaml).expect("written");
        let loaded = Loader::new("default").load(&[path]);
        assert!(!loaded.has_errors(), "{:?}", loaded.problems);
        let texts = |files: BTreeSet<PathBuf>| {
            let files = files.into_iter().map(|file| file.display().to_string());
            files.collect::<Vec<_>>().join(" ")
        };

        assert_eq!(
            texts(named(&loaded.resources)),
            "/a /b /c /d /e /f /g /h /i /j /k /l /m"
        );
    }
}
