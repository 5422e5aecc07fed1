//! What `meshproxy explain` says beside the rule: faults, limits, mirrors, localities and policies.

use super::File;

const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: shop
  annotations: {meshproxy.io/fault-reset: '10%'}
spec:
  hosts: [shop]
  http:
  - fault:
      delay: {percentage: {value: 40}, fixedDelay: 5s}
      abort: {percentage: {value: 20}, httpStatus: 500}
    mirrors:
    - {destination: {host: shadow}, percentage: {value: 5}}
    - {destination: {host: nowhere}}
    route: [{destination: {host: shop}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: shop
  annotations: {meshproxy.io/health-check: http:/healthz}
spec:
  host: shop
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 100}, http: {http2MaxRequests: 50}}
    outlierDetection: {consecutive5xxErrors: 5, baseEjectionTime: 30s}
    loadBalancer:
      consistentHash: {httpCookie: {name: user, ttl: 0s}}
      localityLbSetting: {enabled: true, distribute: [{from: eu/*, to: {eu/a/*: 80, eu/b/*: 20}}]}
---
apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: fair}
spec:
  targetRefs: [{group: networking.istio.io, kind: VirtualService, name: shop}]
  limits:
  - name: per-account
    requests: 10
    per: 1s
    key: [source.principal]
    overrides: [{dimensions: {'request.headers[x-vip]': 'yes'}, requests: 20, per: 1s, burst: 30}]
  - {name: writes, requests: 1, per: 1s, match: [{method: {exact: POST}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 192.0.2.1, locality: eu/a/x}
  - {address: 192.0.2.2, locality: eu/b/x}
  - {address: 192.0.2.3, locality: us/a/x}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shadow}
spec:
  hosts: [shadow.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.4}]
";

const CALLER: [&str; 4] = ["--locality", "eu/a/x", "--service-account", "web"];

#[tokio::test]
async fn what_a_request_meets_on_its_way_is_told_in_order() {
    let file = File::with(MESH);
    let request = ["-H", "x-vip: yes", "http://shop/"];

    let told = file.explain(&[&CALLER[..], &request].concat()).await;

    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let lines: Vec<&str> = told.stdout.lines().map(str::trim_end).collect();
    let begin = lines.iter().position(|line| line.starts_with("faults"));
    let begin = begin.unwrap_or_else(|| panic!("{}", told.stdout));
    assert_eq!(
        lines[begin..begin + 7],
        [
            "faults     40 % of requests wait 5s",
            "           20 % of requests get 500",
            "           10 % of requests are reset, also where an error is drawn",
            "limits     default/fair per-account: 20 in 1s, 30 at once",
            "               for source.principal=spiffe://cluster.local/ns/default/sa/web",
            "               by the override for request.headers[x-vip]=yes",
            "action     forward",
        ]
    );
    for line in [
        "caller     no labels, namespace default, account web, eu/a/x",
        "mirror     5 % shadow.default.svc.cluster.local",
        "mirror     100 % nowhere.default.svc.cluster.local: there is none, and no copy is sent",
        "           key          cookie user: the request has none and gets user=\"<random>\"; HttpOnly",
        "           limits       at most 100 connections, 50 requests under way",
        "           outliers     out for 30s after 5 errors (5xx) in a row; at most 10 % of endpoints",
        "           checks       GET /healthz with 200-399 within 1s every 10s; out after 3 failures \
         in a row, back after 2 successes",
        "           group        80 %, level 0, eu/a/*: 192.0.2.1:80",
        "           group        20 %, level 0, eu/b/*: 192.0.2.2:80",
        "           endpoint     192.0.2.1:80, weight 1, eu/a/x, available",
        "           endpoint     192.0.2.3:80, weight 1, us/a/x, available, never asked from here",
    ] {
        assert!(lines.contains(&line), "{line} in {}", told.stdout);
    }
}

#[tokio::test]
async fn the_key_of_a_request_leads_to_the_same_endpoint_each_time() {
    let file = File::with(MESH);
    let endpoint = async |user: &str| {
        let cookie = format!("cookie: user={user}");
        let request = ["-H", &cookie, "http://shop/"];
        let decision = file.decision(&[&CALLER[..], &request].concat()).await;
        let destination = &decision["outcome"]["targets"][0]["destination"];
        assert_eq!(destination["affinity"]["key"], "present");
        destination["endpoint"].clone()
    };

    let mia = endpoint("mia").await;

    assert_eq!(mia, endpoint("mia").await);
    assert!(mia == "192.0.2.1:80" || mia == "192.0.2.2:80", "{mia}");
}

#[tokio::test]
async fn json_has_what_the_text_has() {
    let file = File::with(MESH);

    let decision = file
        .decision(&[&CALLER[..], &["-X", "POST", "http://shop/"]].concat())
        .await;

    assert_eq!(decision["faults"]["scope"], "request");
    assert_eq!(decision["faults"]["delay"]["percent"], 40.0);
    assert_eq!(decision["faults"]["abort"]["status"], 500);
    assert_eq!(decision["faults"]["always"], serde_json::Value::Null);
    let limits = &decision["rateLimits"];
    assert_eq!(
        (&limits[0]["limit"], &limits[1]["limit"]),
        (&"per-account".into(), &"writes".into())
    );
    assert_eq!(limits[0]["requests"], 10);
    assert_eq!(decision["outcome"]["mirrors"][0]["percent"], 5.0);
    let destination = &decision["outcome"]["targets"][0]["destination"];
    assert_eq!(destination["limits"]["connections"], 100);
    assert_eq!(destination["groups"][0]["percent"], 80.0);
    assert_eq!(
        destination["endpoint"],
        serde_json::Value::Null,
        "it is drawn"
    );
    assert_eq!(decision["caller"]["locality"], "eu/a/x");
}
