//! What a proxy needs whatever it asks for.

use super::*;

const OWN: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: opa
      envoyExtAuthzGrpc: {service: opa.auth.svc.cluster.local, port: 9191}
---
apiVersion: v1
kind: Service
metadata: {name: opa, namespace: auth}
spec: {clusterIP: 10.1.0.9, ports: [{name: grpc, port: 9191}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.1.0.1, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {clusterIP: 10.1.0.2, selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: manual}
spec: {clusterIP: 10.1.0.3, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: manual-1, labels: {kubernetes.io/service-name: manual, app: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1], labels: {app: web}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, action: CUSTOM, provider: {name: opa}, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: cart}
spec: {selector: {matchLabels: {app: cart}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: auth}
spec: {mtls: {mode: PERMISSIVE}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: other}
spec: {mtls: {mode: DISABLE}}
";

#[test]
fn an_endpoint_without_labels_has_those_of_its_slice() {
    let bare = OWN.replace("[10.0.0.1], labels: {app: web}}", "[10.0.0.1]}");
    assert_ne!(bare, OWN);

    let web = needed(&bare, &proxy("default", &["app=web"]), &[]);
    let cart = needed(&bare, &proxy("default", &["app=cart"]), &[]);

    let manual = "Service/manual".to_owned();
    assert!(web.contains(&manual) && !cart.contains(&manual));
}

#[test]
fn what_concerns_the_own_workload_is_always_there() {
    let web = needed(OWN, &proxy("default", &["app=web"]), &[]);

    assert_eq!(
        web,
        [
            "AuthorizationPolicy/web",
            "MeshConfig/istio-system/istio",
            "PeerAuthentication/auth/default",
            "PeerAuthentication/istio-system/default",
            "Service/auth/opa",
            "Service/manual",
            "Service/web",
        ]
    );
    let nobody = needed(OWN, &proxy("other", &["app=web"]), &[]);
    assert_eq!(
        nobody,
        [
            "MeshConfig/istio-system/istio",
            "PeerAuthentication/istio-system/default",
            "PeerAuthentication/other/default",
        ]
    );
}

#[test]
fn slices_of_a_service_without_selector_may_make_it_ones_own() {
    let generation = generation(OWN);
    let scope = scope(&generation, &proxy("default", &["app=cart"]), []);

    let manual = ("default".into(), "manual".into());
    assert!(!scope.services.contains(&manual));
    assert!(scope.depends_on.contains(&Touched::Service(manual)));
}

const EDGE: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['shop/*.example.com']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [default/public]
  http: [{route: [{destination: {host: cart}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: beside, namespace: shop}
spec:
  hosts: [shop.example.org]
  gateways: [default/public]
  http: [{route: [{destination: {host: cart}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.1.0.2, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec: {host: cart}
";

#[test]
fn a_gateway_needs_all_that_its_routes_lead_to() {
    let edge = proxy("default", &["app=edge"]);

    assert_eq!(
        needed(EDGE, &edge, &[]),
        [
            "DestinationRule/shop/cart",
            "Gateway/public",
            "Service/shop/cart",
            "VirtualService/shop/shop",
        ]
    );
    assert!(needed(EDGE, &proxy("default", &["app=web"]), &[]).is_empty());
}

#[test]
fn listeners_at_which_nobody_names_a_host_have_everything_they_import() {
    let sidecar = |protocol: &str, hosts: &str| {
        format!(
            "{EDGE}---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
  egress:
  - port: {{number: 80, name: p, protocol: {protocol}}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: [{hosts}]
"
        )
    };
    let web = proxy("default", &["app=web"]);
    let has_cart = |yaml: &str| {
        let names = needed(yaml, &web, &[]);
        names.contains(&"Service/shop/cart".to_owned())
    };

    assert!(has_cart(&sidecar("TCP", "'*/*'")));
    assert!(has_cart(&sidecar(
        "HTTP",
        "shop/cart.shop.svc.cluster.local"
    )));
    assert!(!has_cart(&sidecar("TCP", "'other/*'")));
}

#[test]
fn whoever_tells_callers_apart_knows_everybody_who_may_call() {
    let limited = |key: &str| {
        format!(
            "{OWN}---
apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  limits: [{{name: all, requests: 1, per: 1s, key: [{key}]}}]
"
        )
    };
    let web = proxy("default", &["app=web"]);
    let knows_cart = |key: &str| {
        let names = needed(&limited(key), &web, &[]);
        names.contains(&"Service/cart".to_owned())
    };

    assert!(knows_cart("source.workload"));
    assert!(!knows_cart("source.principal"));
}
