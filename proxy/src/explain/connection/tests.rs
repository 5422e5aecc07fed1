use std::fs;

use config::mesh::Viewer;

use super::*;
use crate::explain::text::connection::print;
use crate::offline::{Offline, Traffic, Workload};

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: mysql}
spec: {clusterIP: 10.96.0.5, ports: [{name: mysql, port: 3306}, {name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: mysql-1, labels: {kubernetes.io/service-name: mysql}}
addressType: IPv4
ports: [{name: mysql, port: 3306}]
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wide}
spec:
  hosts: ['*.wide.example']
  resolution: NONE
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mysql}
spec:
  hosts: [mysql]
  tcp:
  - match: [{destinationSubnets: [10.97.0.0/16]}]
    route: [{destination: {host: gone}}]
  - route: [{destination: {host: mysql, port: {number: 3306}}}]
";

fn told(url: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("mesh.yaml");
    fs::write(&file, MESH).expect("written");
    let mut offline = Offline::load(&[file], "default").expect("no problems");
    let workload = Workload {
        viewer: Viewer {
            namespace: "default".to_owned(),
            ..Viewer::default()
        },
        locality: None,
        service_account: "default".to_owned(),
    };
    let view = offline.view(workload, Traffic::Captured).expect("a view");
    let asked: Asked = url.parse().expect(url);
    assert_eq!(asked.to_string(), url);
    let decision = decide(&view, &asked).expect("a listener for captured connections");
    let mut out = Vec::new();
    print(&mut out, &decision).expect("written");
    let text = String::from_utf8(out).expect("UTF-8");
    text.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn a_connection_is_told_its_rule_and_why_not_the_others() {
    assert_eq!(
        told("tcp://mysql:3306"),
        "\
connection tcp://mysql:3306
caller     no labels, namespace default
address    10.96.0.5
listener   outbound mysql.default.svc.cluster.local:3306
speaks     anything
rules      > VirtualService default/mysql tcp[1] (mesh.yaml:22)
           - VirtualService default/mysql tcp[0] (mesh.yaml:22)
               wants address is 10.97.0.0/16

action     forward

target     100 % mysql.default.svc.cluster.local
           destination  outbound|3306||mysql.default.svc.cluster.local
           policy       none
           balancing    LEAST_REQUEST
           endpoint     10.0.0.1:3306
           endpoint     10.0.0.2:3306
"
    );
}

#[test]
fn what_nobody_knows_goes_where_it_was_going() {
    let told = told("tls://[2001:db8::1]:443");

    assert!(told.contains("destination  PassthroughCluster"), "{told}");
    assert!(told.contains("endpoint     [2001:db8::1]:443"), "{told}");
}

#[test]
fn a_name_in_tls_says_which_service_is_meant() {
    let told = told("tls://a.wide.example:443");

    assert!(told.contains("address    not known here"), "{told}");
    assert!(told.contains("> by itself"), "{told}");
    assert!(
        told.contains("destination  outbound|443||*.wide.example"),
        "{told}"
    );
    assert!(
        told.contains("endpoint     the address that was asked for"),
        "{told}"
    );
}

#[test]
fn what_is_declared_to_be_http_takes_nothing_else() {
    let told = told("tcp://mysql:80");

    assert!(
        told.contains("action     refuse: this address is declared to speak HTTP"),
        "{told}"
    );
}

#[test]
fn what_is_no_connection_is_refused() {
    for text in [
        "tcp://a",
        "tcp://:1",
        "udp://a:1",
        "tcp://a:0",
        "a:1",
        "tcp://a:1/b",
    ] {
        assert!(text.parse::<Asked>().is_err(), "{text}");
    }
}
