//! Services that generated routes lead to, and what is theirs.

/// What a generated mesh has beside its routes. `empty.test` has no endpoint,
/// `keyed.test` several among which a header decides, `far.test` one that is never asked from here.
pub(super) const SERVICES: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 192.0.2.1, labels: {version: v1}}
  - {address: 192.0.2.2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b}
spec:
  hosts: [b.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: http-more, protocol: HTTP}]
  endpoints: [{address: 192.0.2.3}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: empty}
spec:
  hosts: [empty.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: []
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a.test
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: keyed}
spec:
  hosts: [keyed.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.11}, {address: 192.0.2.12}, {address: 192.0.2.13}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: keyed}
spec:
  host: keyed.test
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far}
spec:
  hosts: [far.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.21, locality: eu/a}, {address: 192.0.2.22, locality: us/a}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far}
spec:
  host: far.test
  trafficPolicy:
    loadBalancer:
      localityLbSetting: {enabled: true, distribute: [{from: eu/*, to: {us/*: 100}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shadow}
spec:
  hosts: [shadow.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.31}]
---
apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: at-edge}
spec:
  limits: [{name: writes, requests: 1, per: 1h, match: [{method: {exact: PUT}}], key: [request.path]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part}
spec:
  http:
  - name: part-deep
    match: [{uri: {prefix: /a/b}}]
    directResponse: {status: 202, body: {string: part}}
  - name: part-rest
    route: [{destination: {host: b.test, port: {number: 80}}}]
";
