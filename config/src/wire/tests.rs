use proptest::prelude::*;

use super::*;
use crate::load::parse;

/// What comes back of a resource that was sent.
fn returned(resource: &Resource) -> Received {
    receive(&Name::of(resource), &document(resource))
}

/// One document of each kind, with what is easily lost: `{}`, `[]`, numbers as text, private content.
const KINDS: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all, namespace: shop, labels: {a: b}, annotations: {meshproxy.io/sticky-by: source-ip}, creationTimestamp: "2026-01-02T03:04:05Z"}
spec:
  hosts: [reviews, "*.example.com"]
  gateways: [mesh, shop/front]
  exportTo: ["."]
  http:
  - name: canary
    match: [{uri: {prefix: /a}, headers: {cookie: {regex: ".*user=jason.*"}, x-any: {}}}, {method: {exact: GET}}]
    route: [{destination: {host: reviews, subset: v1, port: {number: 80}}, weight: 90, headers: {request: {set: {a: b}, remove: [c]}}}, {destination: {host: reviews, subset: v2}, weight: 10}]
    timeout: 1.5s
    retries: {attempts: 3, perTryTimeout: 200ms, retryOn: "5xx,reset"}
    fault: {delay: {percentage: {value: 0.5}, fixedDelay: 7s}, abort: {httpStatus: 555, percentage: {value: 100}}}
    mirrors: [{destination: {host: ratings}, percentage: {value: 10}}]
    corsPolicy: {allowOrigins: [{exact: a.com}], maxAge: 24h}
  - redirect: {uri: /b, redirectCode: 302}
  - directResponse: {status: 503, body: {string: away}}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}, outlierDetection: {consecutive5xxErrors: 1, interval: 1s}, loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: front}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec: {hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS, location: MESH_EXTERNAL, endpoints: [{address: 10.0.0.1, ports: {tls: 8443}, labels: {a: b}}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm}
spec: {address: 10.1.2.3, labels: {app: vm}, serviceAccount: vm}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: ["./*", "istio-system/*"]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt}
spec: {selector: {matchLabels: {app: a}}, jwtRules: [{issuer: me, jwksUri: "https://example.com/keys"}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nothing}
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: everything}
spec: {rules: [{}]}
---
apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: productpage}
spec: {selector: {}, limits: [{name: all, requests: 500, per: 1s, key: [source.workload], overrides: [{dimensions: {source.workload: reviews}, requests: 1, per: 5s}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "rootNamespace: istio-system\ntrustDomain: example.org\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.0.0.1, selector: {app: reviews}, ports: [{name: http, port: 9080, targetPort: web}, {port: 81, targetPort: 8081}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1], conditions: {ready: true}, nodeName: a, zone: z, targetRef: {kind: Pod, name: reviews-v1}}]
ports: [{name: http, port: 9080, protocol: TCP}]
---
apiVersion: v1
kind: Secret
metadata: {name: front}
type: kubernetes.io/tls
data: {tls.crt: YQ==}
stringData: {tls.key: very secret}
"#;

#[test]
fn every_kind_arrives_as_it_was_sent() {
    let loaded = parse("kinds.yaml", KINDS, "default");
    assert_eq!(
        loaded
            .problems
            .iter()
            .find(|it| it.severity == Severity::Error),
        None
    );
    assert_eq!(loaded.resources.len(), 15);

    for resource in &loaded.resources {
        let received = returned(resource);
        assert_eq!(received.refused, [""; 0], "{resource}");
        assert_eq!(received.skipped, [""; 0], "{resource}");
        let arrived = received.resource.expect("is usable");
        assert_eq!(arrived.meta, resource.meta, "{resource}");
        assert_eq!(arrived.spec, resource.spec, "{resource}");
        assert_eq!(document(&arrived), document(resource), "{resource}");
    }
}

#[test]
fn what_is_not_known_is_skipped_and_told() {
    let document = r#"{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "b", "futureMeta": 1}, "spec": {"hosts": ["a"],
        "futureSpec": {"x": 1}, "absent": null, "http": [{"directResponse": {"status": 200, "new": []}}]}, "more": 1}"#;

    let received = receive(&Name::new("VirtualService", "b", "a"), document);

    assert_eq!(received.refused, [""; 0]);
    assert!(received.resource.is_some());
    let mut skipped = received.skipped;
    skipped.sort();
    let fields = [
        "metadata.futureMeta",
        "more",
        "spec.futureSpec",
        "spec.http[0].directResponse.new",
    ];
    let told: Vec<String> = fields
        .map(|it| format!("{it}: is not known here and was skipped"))
        .into();
    assert_eq!(skipped, told);
}

#[test]
fn what_cannot_be_used_is_refused_with_every_reason() {
    let name = Name::new("VirtualService", "b", "a");
    let refused = |text: &str| receive(&name, text).refused.join("; ");

    assert!(refused("{").starts_with("is no JSON"));
    let other = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {}}"#;
    assert_eq!(refused(other), "is Service default/a");
    let wrong = r#"{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "b"}, "spec": {"hosts": ["a"], "http": [{"timeout": "x", "route": 1}]}}"#;
    let told = refused(wrong);
    assert!(
        told.contains("spec.http[0].timeout: ") && told.contains("spec.http[0].route: "),
        "{told}"
    );
}

#[test]
fn names_and_demands_are_read_as_they_are_written() {
    for text in ["VirtualService/default/a", "Gateway//x/y"] {
        assert_eq!(
            text.parse::<Name>().map(|it| it.to_string()),
            Ok(text.to_owned())
        );
    }
    for text in [
        "",
        "VirtualService",
        "VirtualService/default",
        "/a/b",
        "A/b/",
    ] {
        assert!(text.parse::<Name>().is_err(), "{text}");
    }
    for text in [
        "host:reviews",
        "host:*.example.com",
        "address:10.0.0.1:80",
        "address:[::1]:443",
    ] {
        assert_eq!(
            text.parse::<Demand>().map(|it| it.to_string()),
            Ok(text.to_owned())
        );
    }
    assert_eq!(
        Demand::host("Reviews."),
        Some(Demand::Host("reviews".into()))
    );
    for text in [
        "",
        "host:",
        "host:a b",
        "host:a:80",
        "address:10.0.0.1",
        "port:1",
    ] {
        assert!(text.parse::<Demand>().is_err(), "{text}");
    }
    assert_eq!(Demand::host(&"a".repeat(254)), None);
}

proptest! {
    /// Whatever is received, it is a resource or a reason.
    #[test]
    fn any_text_is_a_resource_or_refused(text in ".{0,200}") {
        let received = receive(&Name::new("Service", "a", "b"), &text);
        prop_assert!(received.resource.is_some() || !received.refused.is_empty());
    }
}
