//! What a reload changes of the hosts that requests are copied to.

use config::Loader;
use tempfile::TempDir;

use super::*;
use crate::table::split::DestinationByPort;

const SHADOW: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shadow}
spec:
  hosts: [shadow.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.9.1, labels: {version: v1}}]
";

const SHADOW_SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shadow}
spec: {host: shadow, subsets: [{name: v1, labels: {version: v1}}]}
";

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*.example.com']}
";

/// Where `SHADOW` is found among destinations.
const KEY: &str = "outbound|80||shadow.default.svc.cluster.local";

/// One proxy whose files change. Those that stay are the same objects in every generation, so that
/// what was made of them is remembered.
struct Reloaded {
    folder: TempDir,
    loader: Loader,
    compiler: Compiler,
    mesh: Option<Mesh>,
}

impl Reloaded {
    fn new(files: &[(&str, &str)]) -> Self {
        let reloaded = Self {
            folder: tempfile::tempdir().expect("a folder"),
            loader: Loader::new("default"),
            compiler: compiler(),
            mesh: None,
        };
        for (name, text) in files {
            reloaded.write(name, text);
        }
        reloaded
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(format!("{name}.yaml"));
        std::fs::write(path, text).expect("written");
    }

    fn remove(&self, name: &str) {
        let path = self.folder.path().join(format!("{name}.yaml"));
        std::fs::remove_file(path).expect("removed");
    }

    fn compile(&mut self) -> Compiled {
        let loaded = self.loader.load(&[self.folder.path().to_path_buf()]);
        assert!(!loaded.has_errors(), "{:#?}", loaded.problems);
        let mesh = match &self.mesh {
            Some(before) => before.next(&loaded.resources),
            None => Mesh::new(&loaded.resources, MeshSettings::default()),
        };
        let compiled = self.compiler.compile(&mesh);
        self.mesh = Some(mesh);
        compiled
    }
}

/// Rules of `host` at the gateway that do what `rule` says.
fn routes(host: &str, rule: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}}}
spec:
  hosts: [{host}.example.com]
  gateways: [gw]
  http: [{{{rule}}}]
"
    )
}

/// Rules of `host` at the gateway that go to reviews, with copies by `mirror`.
fn mirroring(host: &str, mirror: &str) -> String {
    let route = "route: [{destination: {host: reviews, port: {number: 9080}}}]";
    routes(host, &format!("{route}, {mirror}"))
}

/// Where the only mirror of a host leads, by its key.
fn mirrored_to(compiled: &Compiled, name: &str) -> Option<String> {
    let host = host(only_listener(compiled), name);
    let route = &host.rules.iter().next().expect("a rule").route;
    let [mirror] = &*route.mirrors else {
        panic!("one mirror: {:?}", route.mirrors)
    };
    match &mirror.destination {
        DestinationByPort::Fixed(id) => {
            let destination = compiled.destinations.get(*id).expect("it is built");
            Some(destination.key.to_string())
        }
        DestinationByPort::Unknown => None,
        DestinationByPort::Addressed(ports) => panic!("one port: {ports:?}"),
    }
}

#[test]
fn copies_follow_the_endpoints_of_their_host() {
    for mirror in [
        "mirror: {host: shadow}",
        "mirrors: [{destination: {host: shadow}}]",
    ] {
        let rules = mirroring("a", mirror);
        let files = [
            ("gateway", GATEWAY),
            ("reviews", REVIEWS),
            ("shadow", SHADOW),
            ("a", &rules),
        ];
        let mut proxy = Reloaded::new(&files);
        assert_eq!(addrs(&proxy.compile(), KEY), ["10.0.9.1:80"]);

        proxy.write("shadow", &SHADOW.replace("10.0.9.1", "10.0.9.2"));

        assert_eq!(addrs(&proxy.compile(), KEY), ["10.0.9.2:80"], "{mirror}");
    }
}

#[test]
fn a_host_that_comes_late_gets_copies_and_one_that_is_gone_no_more() {
    let rules = mirroring("a", "mirror: {host: shadow}");
    let mut proxy = Reloaded::new(&[("gateway", GATEWAY), ("reviews", REVIEWS), ("a", &rules)]);
    assert_eq!(mirrored_to(&proxy.compile(), "a.example.com"), None);

    proxy.write("shadow", SHADOW);
    let with = proxy.compile();
    proxy.remove("shadow");
    let without = proxy.compile();

    assert_eq!(mirrored_to(&with, "a.example.com").as_deref(), Some(KEY));
    assert_eq!(mirrored_to(&without, "a.example.com"), None);
    assert!(!keys(&without).contains(&KEY.to_owned()));
}

#[test]
fn a_subset_that_comes_late_gets_copies() {
    let rules = mirroring("a", "mirror: {host: shadow, subset: v1}");
    let files = [
        ("gateway", GATEWAY),
        ("reviews", REVIEWS),
        ("shadow", SHADOW),
        ("a", &rules),
    ];
    let mut proxy = Reloaded::new(&files);
    assert_eq!(mirrored_to(&proxy.compile(), "a.example.com"), None);

    proxy.write("subsets", SHADOW_SUBSETS);

    let key = KEY.replace("||", "|v1|");
    let to = mirrored_to(&proxy.compile(), "a.example.com");
    assert_eq!(to.as_deref(), Some(&*key));
}

#[test]
fn rules_that_only_mirror_to_a_host_do_not_hold_up_those_that_route_to_it() {
    // Hosts are compiled by name: one that mirrors stands on either side of the one that routes.
    let first = mirroring("a", "mirror: {host: shadow}");
    let last = mirroring("z", "mirror: {host: shadow}");
    let to_shadow = routes("m", "route: [{destination: {host: shadow}}]");
    let files = [
        ("gateway", GATEWAY),
        ("reviews", REVIEWS),
        ("shadow", SHADOW),
        ("a", &first),
        ("m", &to_shadow),
        ("z", &last),
    ];
    let mut proxy = Reloaded::new(&files);
    assert_eq!(addrs(&proxy.compile(), KEY), ["10.0.9.1:80"]);

    proxy.write("shadow", &SHADOW.replace("10.0.9.1", "10.0.9.2"));

    assert_eq!(addrs(&proxy.compile(), KEY), ["10.0.9.2:80"]);
}

#[test]
fn a_service_that_counts_is_followed_to_its_endpoints_also_where_others_mirror_to_it() {
    let policy = "
apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: p}
spec:
  selector: {}
  scope: SHARED
  service: {host: shadow, port: 80}
  limits: [{name: a, requests: 1, per: 1s}]
";
    let rules = mirroring("a", "mirror: {host: shadow}");
    let files = [
        ("gateway", GATEWAY),
        ("reviews", REVIEWS),
        ("shadow", SHADOW),
        ("policy", policy),
        ("a", &rules),
    ];
    let mut proxy = Reloaded::new(&files);
    assert_eq!(addrs(&proxy.compile(), KEY), ["10.0.9.1:80"]);

    proxy.write("shadow", &SHADOW.replace("10.0.9.1", "10.0.9.2"));

    assert_eq!(addrs(&proxy.compile(), KEY), ["10.0.9.2:80"]);
}
