//! The configuration of every program, written for the same work.
//!
//! Each has one worker, keeps connections open on both sides and writes no access log. Everything
//! else is the program's default, which favours the peers: meshproxy has its telemetry on.

mod hop;
mod tcp;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::identity::{Identities, Side};
use crate::work::{BODY_BYTES, RULE_HEADER, Rule, Spoken, Work};

/// Where a rule sends what it matches. Nothing listens there: a misrouted request is an error.
const NOWHERE_PORT: u16 = 1;

/// Addresses of the upstream; it listens at all of them.
const UPSTREAMS: [&str; 4] = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];

/// Share of the requests that a fault or a mirror of [`Work::Http1Guarded`] meets, in percent.
const SHARE: f64 = 0.0001;

/// What a configuration depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The kind of work.
    pub(crate) work: Work,
    /// The place of the proxy, and who it is there.
    pub(crate) side: Side,
    pub(crate) identities: &'a Identities,
    /// Port of the proxy.
    pub(crate) listen_port: u16,
    /// Port of the upstream.
    pub(crate) upstream_port: u16,
}

/// Istio resources, as several YAML documents, for meshproxy.
pub(crate) fn meshproxy(wanted: Wanted<'_>) -> String {
    if wanted.side != Side::Plain {
        return hop::meshproxy(wanted);
    }
    if wanted.work.downstream() == Spoken::Opaque {
        return tcp::meshproxy(wanted);
    }
    let protocol = |spoken| match spoken {
        Spoken::Http1 => "HTTP",
        Spoken::Http2 => "HTTP2",
        Spoken::Grpc => "GRPC",
        Spoken::Opaque => "TCP",
    };
    let (downstream, upstream) = (wanted.work.downstream(), wanted.work.upstream());
    let service = |name: &str, port: u16| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "hosts": [format!("{name}.example.com")],
                "location": "MESH_EXTERNAL", "resolution": "STATIC",
                "ports": [{"number": 80, "name": "web", "protocol": protocol(upstream)}],
                "endpoints": endpoints(wanted.work, port),
            },
        })
    };
    let route = |name: &str| json!([{"destination": {"host": format!("{name}.example.com"), "port": {"number": 80}}}]);
    let mut http: Vec<Value> = Vec::new();
    for Rule { prefix, value } in wanted.work.rules_before() {
        http.push(json!({
            "match": [{"uri": {"prefix": prefix}, "headers": {RULE_HEADER: {"exact": value}}}],
            "route": route("nowhere"),
        }));
    }
    let mut rule = json!({"route": route("upstream")});
    let mut guards = Vec::new();
    if wanted.work == Work::Http1Guarded {
        guard(&mut rule);
        guards.extend([guarded_destination(), rate_limit()]);
    }
    http.push(rule);

    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {"servers": [{
            "port": {
                "number": wanted.listen_port, "name": "web", "protocol": protocol(downstream),
            },
            "bind": "127.0.0.1", "hosts": ["*"],
        }]},
    });
    let virtual_service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {"hosts": ["*"], "gateways": ["edge"], "http": http},
    });
    let documents = [
        gateway,
        virtual_service,
        service("upstream", wanted.upstream_port),
        service("nowhere", NOWHERE_PORT),
    ];
    let documents = [&documents, &*guards].concat();
    documents.iter().map(document).collect()
}

/// Every JSON document is a YAML document.
fn document(resource: &Value) -> String {
    format!("---\n{resource:#}\n")
}

/// The addresses of the upstream: where something is to be chosen among them, several.
fn endpoints(work: Work, port: u16) -> Vec<Value> {
    let addresses = match work {
        Work::Http1Guarded => &UPSTREAMS[..],
        Work::Http1
        | Work::Http1Rules
        | Work::Connection
        | Work::Http2ToHttp1
        | Work::Http2ToHttp2
        | Work::Grpc
        | Work::Hop
        | Work::Handshake
        | Work::Tcp
        | Work::TcpIdle
        | Work::Latency
        | Work::Idle => &UPSTREAMS[..1],
    };
    let endpoint = |address: &&str| {
        json!({
            "address": address, "ports": {"web": port}, "locality": "region/zone",
        })
    };
    addresses.iter().map(endpoint).collect()
}

/// Everything that a rule can have and that strikes, at most, once in a million requests.
fn guard(rule: &mut Value) {
    rule["fault"] = json!({
        "delay": {"percentage": {"value": SHARE}, "fixedDelay": "1ms"},
        "abort": {"percentage": {"value": 0.0}, "httpStatus": 503},
    });
    rule["mirrors"] = json!([{
        "destination": {"host": "upstream.example.com", "port": {"number": 80}},
        "percentage": {"value": SHARE},
    }]);
    rule["timeout"] = json!("10s");
    rule["retries"] = json!({"attempts": 2, "perTryTimeout": "5s", "retryOn": "5xx,reset"});
}

fn guarded_destination() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "upstream", "namespace": "default"},
        "spec": {"host": "upstream.example.com", "trafficPolicy": {
            "connectionPool": {
                "tcp": {"maxConnections": 1024},
                "http": {"http1MaxPendingRequests": 1024, "http2MaxRequests": 1024},
            },
            "outlierDetection": {"consecutive5xxErrors": 5, "consecutiveGatewayErrors": 3},
            "loadBalancer": {"consistentHash": {"httpHeaderName": RULE_HEADER}},
            "retryBudget": {"percent": 20, "minRetryConcurrency": 3, "budgetInterval": "10s"},
        }},
    })
}

/// A limit by the value of a header that no load reaches.
fn rate_limit() -> Value {
    json!({
        "apiVersion": "policy.meshproxy.io/v1alpha1", "kind": "RateLimitPolicy",
        "metadata": {"name": "edge", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {}}, "limits": [{
            "name": "tenant", "requests": 1_000_000, "per": "1s",
            "key": [format!("request.headers[{RULE_HEADER}]")],
        }]},
    })
}

/// `haproxy.cfg`.
pub(crate) fn haproxy(wanted: Wanted<'_>) -> String {
    let Wanted {
        work,
        listen_port,
        upstream_port,
        ..
    } = wanted;
    if work.downstream() == Spoken::Opaque {
        return tcp::haproxy(wanted);
    }
    let protocol = |spoken: Spoken| match spoken.is_http2() {
        true => " proto h2",
        false => "",
    };
    let (downstream, upstream) = (protocol(work.downstream()), protocol(work.upstream()));
    let (listener_tls, server_tls) = hop::haproxy(wanted);
    let mut rules = String::new();
    for (n, Rule { prefix, value }) in work.rules_before().iter().enumerate() {
        let _ = writeln!(rules, "  acl path{n} path_beg {prefix}");
        let _ = writeln!(
            rules,
            "  acl header{n} req.hdr({RULE_HEADER}) -m str {value}"
        );
        let _ = writeln!(rules, "  use_backend nowhere if path{n} header{n}");
    }
    format!(
        "global
  nbthread 1
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend edge
  bind 127.0.0.1:{listen_port}{downstream}{listener_tls}
{rules}  default_backend upstream
backend upstream
  server one 127.0.0.1:{upstream_port}{upstream}{server_tls}
backend nowhere
  server one 127.0.0.1:{NOWHERE_PORT}
"
    )
}

/// `nginx.conf` of the proxy.
///
/// A header rule on the path of the request is an `if` in its location, because a location can be
/// chosen by path only. To HTTP/2 upstreams it speaks gRPC alone, with one call at a time on a
/// connection.
pub(crate) fn nginx(wanted: Wanted<'_>) -> String {
    let Wanted {
        work,
        listen_port,
        upstream_port,
        ..
    } = wanted;
    let protocol = if work.downstream().is_http2() {
        " http2"
    } else {
        ""
    };
    let pass = match work.upstream() {
        Spoken::Http1 | Spoken::Http2 | Spoken::Opaque => "proxy_pass http",
        Spoken::Grpc => "grpc_pass grpc",
    };
    let nowhere = format!("proxy_pass http://127.0.0.1:{NOWHERE_PORT};");
    let variable = format!("$http_{}", RULE_HEADER.replace('-', "_"));
    let (mut locations, mut conditions) = (String::new(), String::new());
    for Rule { prefix, value } in work.rules_before() {
        let condition = format!("if ({variable} = \"{value}\") {{ {nowhere} }}");
        if prefix == "/target/" {
            let _ = writeln!(conditions, "      {condition}");
        } else {
            let _ = writeln!(
                locations,
                "    location {prefix} {{ {condition} {pass}://upstream; }}"
            );
        }
    }
    nginx_around(&format!(
        "  upstream upstream {{
    server 127.0.0.1:{upstream_port};
    keepalive 64;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{listen_port}{protocol};
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
{locations}    location /target/ {{
{conditions}      {pass}://upstream;
    }}
    location / {{ {pass}://upstream; }}
  }}
"
    ))
}

/// `nghttpx.conf`.
pub(crate) fn nghttpx(wanted: Wanted<'_>) -> String {
    let Wanted {
        work,
        listen_port,
        upstream_port,
        ..
    } = wanted;
    let protocol = if work.upstream().is_http2() {
        "h2"
    } else {
        "http/1.1"
    };
    format!(
        "frontend=127.0.0.1,{listen_port};no-tls
backend=127.0.0.1,{upstream_port};;proto={protocol}
workers=1
"
    )
}

/// `nginx.conf` of the upstream: a constant answer of [`BODY_BYTES`], by HTTP/1.1 on one port and by
/// HTTP/2 on the other.
pub(crate) fn upstream(http1_port: u16, http2_port: u16) -> String {
    let body = "x".repeat(BODY_BYTES);
    let mut listens = String::new();
    for address in UPSTREAMS {
        let _ = writeln!(listens, "    listen {address}:{http1_port};");
    }
    nginx_around(&format!(
        "  server {{
{listens}    listen 127.0.0.1:{http2_port} http2;
    location / {{ default_type text/plain; return 200 \"{body}\"; }}
  }}
"
    ))
}

fn nginx_around(http: &str) -> String {
    format!(
        "daemon off;
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  client_body_temp_path temp;
  proxy_temp_path temp;
  fastcgi_temp_path temp;
  uwsgi_temp_path temp;
  scgi_temp_path temp;
{http}}}
"
    )
}

/// Envoy's static bootstrap, as JSON: a plain connection manager with the router, nothing of Istio.
pub(crate) fn envoy(wanted: Wanted<'_>) -> String {
    if wanted.work.downstream() == Spoken::Opaque {
        return tcp::envoy(wanted);
    }
    let address =
        |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let cluster = |name: &str, port: u16| {
        let mut cluster = json!({
            "name": name, "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(port)}}]},
            ]},
        });
        if wanted.work.upstream().is_http2() {
            let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
            cluster["typed_extension_protocol_options"] = json!({options: {
                "@type": format!("type.googleapis.com/{options}"),
                "explicit_http_config": {"http2_protocol_options": {}},
            }});
        }
        cluster
    };
    let mut routes: Vec<Value> = Vec::new();
    for Rule { prefix, value } in wanted.work.rules_before() {
        let header = json!({"name": RULE_HEADER, "string_match": {"exact": value}});
        routes.push(json!({
            "match": {"prefix": prefix, "headers": [header]}, "route": {"cluster": "nowhere"},
        }));
    }
    routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}));

    let filters = "type.googleapis.com/envoy.extensions.filters";
    let manager = json!({
        "@type": format!("{filters}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "edge",
        "codec_type": "AUTO",
        "route_config": {"virtual_hosts": [{"name": "any", "domains": ["*"], "routes": routes}]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": format!("{filters}.http.router.v3.Router")},
        }],
    });
    let mut chain = json!({"filters": [
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
    ]});
    let mut upstream = cluster("upstream", wanted.upstream_port);
    let (listener_tls, cluster_tls) = hop::envoy(wanted);
    for (place, socket) in [(&mut chain, listener_tls), (&mut upstream, cluster_tls)] {
        if let Some(socket) = socket {
            place["transport_socket"] = socket;
        }
    }
    let bootstrap = json!({"static_resources": {
        "listeners": [{
            "name": "edge", "address": address(wanted.listen_port), "filter_chains": [chain],
        }],
        "clusters": [upstream, cluster("nowhere", NOWHERE_PORT)],
    }});
    format!("{bootstrap:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_gets_every_rule() {
        let folder = tempfile::tempdir().unwrap();
        let identities = Identities::write(folder.path()).unwrap();
        let wanted = Wanted {
            work: Work::Http1Rules,
            side: Side::Plain,
            identities: &identities,
            listen_port: 1000,
            upstream_port: 2000,
        };

        for text in [
            meshproxy(wanted),
            haproxy(wanted),
            nginx(wanted),
            envoy(wanted),
        ] {
            for rule in Work::Http1Rules.rules_before() {
                let ends = text.split(&rule.value).skip(1);
                assert_eq!(
                    ends.filter(|end| !end.starts_with(char::is_numeric))
                        .count(),
                    1 + {
                        // A prefix of its own also holds the name of the rule.
                        usize::from(rule.prefix.contains(&rule.value))
                    }
                );
            }
        }
    }

    #[test]
    fn the_answer_has_one_kibibyte() {
        assert!(upstream(1, 2).contains(&format!("\"{}\"", "x".repeat(1024))));
    }
}
