//! Names as `dig` asks for them, with everything that it sends besides.

use std::net::SocketAddr;

use tests::Edge;
use tests::names::{NameServer, Zone};
use tests::wait::PATIENCE;

use crate::{process, tools};

/// Two pages of endpoints, an entry with IPv6 alone, and one whose name is written in all ways.
fn mesh() -> String {
    let endpoints: String = (0..250)
        .map(|last| format!("- {{addresses: [10.1.0.{last}]}}\n"))
        .collect();
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: many}}
spec: {{clusterIP: None, ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: many-1, labels: {{kubernetes.io/service-name: many}}}}
addressType: IPv4
ports: [{{name: http, port: 80}}]
endpoints:
{endpoints}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: six}}
spec:
  hosts: [six.test]
  addresses: ['fd00:96::2']
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1}}]
"
    )
}

/// What `dig` prints.
async fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let mut all = vec![
        format!("@{}", server.ip()),
        "-p".into(),
        server.port().to_string(),
    ];
    all.extend(["+tries=1", "+time=10"].map(str::to_owned));
    all.extend(arguments.iter().map(|it| (*it).to_owned()));
    let dig = tools::debian("dig", "bind9-dnsutils");
    let output = process::run(&dig, &all, PATIENCE).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn dig_takes_every_answer_as_it_is_meant() {
    let others = NameServer::start(Zone::default().with("elsewhere.test", "192.0.2.7")).await;
    let upstream = others.addr().to_string();
    let arguments = ["--dns", "127.0.0.1:0", "--dns-upstream", &upstream];
    let edge = Edge::start_with(&[mesh()], &arguments).await;
    let listening = edge.proxy.admin("/dns").await["listening"][0].clone();
    let dns = listening.as_str().and_then(|addr| addr.parse().ok());
    let dns: SocketAddr = dns.expect("an address");

    let six = dig(dns, &["six.test", "AAAA"]).await;
    assert!(six.contains("status: NOERROR"), "{six}");
    assert!(six.contains("fd00:96::2"), "{six}");
    assert!(six.contains("; EDNS: version: 0"), "{six}");
    assert!(
        !six.contains("WARNING") && !six.contains("Warning"),
        "{six}"
    );
    let none = dig(dns, &["six.test", "A"]).await;
    assert!(
        none.contains("status: NOERROR") && none.contains("ANSWER: 0"),
        "{none}"
    );
    let unknown = dig(dns, &["nowhere.test"]).await;
    assert!(unknown.contains("status: NXDOMAIN"), "{unknown}");
    let elsewhere = dig(dns, &["elsewhere.test", "+short"]).await;
    assert_eq!(elsewhere, "192.0.2.7\n");
    let spelled = dig(dns, &["SiX.tEsT", "AAAA", "+noall", "+answer"]).await;
    assert!(spelled.contains("SiX.tEsT.\t"), "{spelled}");

    // dig asks again by TCP by itself.
    let many = dig(dns, &["many.default.svc.cluster.local"]).await;
    assert!(many.contains("Truncated, retrying in TCP mode"), "{many}");
    assert!(many.contains("ANSWER: 250"), "{many}");
    let cut = dig(dns, &["many", "+ignore", "+bufsize=512"]).await;
    assert!(cut.contains("flags: qr aa tc rd ra"), "{cut}");
}
