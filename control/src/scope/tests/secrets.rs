//! Keys go to whom they belong.

use super::*;
use crate::event::{Event, Object, Pod};
use crate::fixture::{index, next};

const EDGE: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public}
spec:
  selector: {app: edge}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ['*']
    tls: {mode: MUTUAL, credentialName: shop-cert}
---
apiVersion: v1
kind: Secret
metadata: {name: shop-cert}
type: kubernetes.io/tls
stringData: {tls.crt: a, tls.key: b}
---
apiVersion: v1
kind: Secret
metadata: {name: shop-cert-cacert}
stringData: {ca.crt: a}
---
apiVersion: v1
kind: Secret
metadata: {name: other-cert}
stringData: {tls.crt: a, tls.key: b}
---
apiVersion: v1
kind: Secret
metadata: {name: shop-cert, namespace: other}
stringData: {tls.crt: a, tls.key: b}
";

/// Names of the secrets for a proxy that says to have `labels`, where the pod of its name has `pod`;
/// with an empty name of an app, no labels.
fn secrets(account: Option<&str>, labels: &[&str], pod: Option<(&str, &str)>) -> Vec<String> {
    let mut index = index(EDGE);
    if let Some((app, service_account)) = pod {
        index.apply(Event::Applied(vec![Object::Pod(Pod {
            namespace: "default".into(),
            name: "web-1".into(),
            labels: Some(("app".to_owned(), app.to_owned()))
                .filter(|(_, app)| !app.is_empty())
                .into_iter()
                .collect(),
            service_account: service_account.to_owned(),
            ..Pod::default()
        })]));
    }
    let (generation, _) = next(&mut index);
    let proxy = Proxy {
        account: account.map(Into::into),
        ..proxy("default", labels)
    };
    let scope = scope(&generation, &proxy, []);
    let secrets = scope.resources.iter().filter(|it| &*it.kind == "Secret");
    let mut names: Vec<String> = secrets.map(ToString::to_string).collect();
    names.sort();
    names
}

#[test]
fn secrets_are_for_gateways_that_proved_who_they_are() {
    let both = [
        "Secret/default/shop-cert",
        "Secret/default/shop-cert-cacert",
    ];
    assert_eq!(secrets(Some("edge"), &["app=edge"], None), both);
    assert_eq!(
        secrets(Some("edge"), &["app=edge"], Some(("edge", "edge"))),
        both
    );

    // Nothing was proven.
    assert!(secrets(None, &["app=edge"], None).is_empty());
    // Its pod is no gateway, whatever it says.
    assert!(secrets(Some("web"), &["app=edge"], Some(("web", "web"))).is_empty());
    // Its pod has no labels at all, which means all gateways for a proxy of a folder only.
    assert!(secrets(Some("web"), &["app=edge"], Some(("", "web"))).is_empty());
    // It says to be a pod that runs under another account.
    assert!(secrets(Some("web"), &["app=edge"], Some(("edge", "edge"))).is_empty());
}
