//! Traffic policies: connection pools, outlier detection, tunnels, retry budgets, and the same per
//! port.

use crate::resource::Metadata;
use crate::resource::destination_rule::{
    ConnectionPool, H2UpgradePolicy, HttpSettings, OutlierDetection, PortTrafficPolicy,
    RetryBudget, TcpSettings, TrafficPolicy, Tunnel,
};
use crate::validate::findings::Findings;
use crate::validate::{client_tls, field, host, load_balancer};

/// Most policies of single ports.
const PORT_POLICIES_MAX: usize = 4_096;

/// Most requests per connection.
const REQUESTS_MAX: i32 = 1 << 29;

/// Checks the field `trafficPolicy`.
pub(crate) fn check(policy: Option<&TrafficPolicy>, meta: &Metadata, f: &mut Findings) {
    if let Some(policy) = policy {
        f.field("trafficPolicy", |f| check_policy(policy, meta, f));
    }
}

fn check_policy(policy: &TrafficPolicy, meta: &Metadata, f: &mut Findings) {
    if *policy == TrafficPolicy::default() {
        f.error("must have at least one field");
    }
    if policy.tunnel.is_some() && policy.proxy_protocol.is_some() {
        f.error_in("proxyProtocol", "must not be set together with tunnel");
    }
    check_outlier_detection(policy.outlier_detection.as_ref(), f);
    check_connection_pool("connectionPool", policy.connection_pool.as_ref(), f);
    let has_outlier_detection = policy.outlier_detection.is_some();
    load_balancer::check(policy.load_balancer.as_ref(), has_outlier_detection, f);
    client_tls::check(policy.tls.as_ref(), meta, f);
    if policy.port_level_settings.len() > PORT_POLICIES_MAX {
        f.error_in(
            "portLevelSettings",
            format!(
                "must have at most {PORT_POLICIES_MAX} entries, got {}",
                policy.port_level_settings.len()
            ),
        );
    }
    f.each(
        "portLevelSettings",
        &policy.port_level_settings,
        |f, port_policy| {
            check_port_policy(port_policy, meta, f);
        },
    );
    if let Some(tunnel) = &policy.tunnel {
        f.field("tunnel", |f| check_tunnel(tunnel, f));
    }
    if let Some(budget) = &policy.retry_budget {
        f.field("retryBudget", |f| check_retry_budget(budget, f));
    }
}

fn check_port_policy(policy: &PortTrafficPolicy, meta: &Metadata, f: &mut Findings) {
    match &policy.port {
        Some(port) => f.require_in("port.number", field::port(port.number)),
        None => {
            f.error_in("port", "is required");
            false
        }
    };
    let blocks = PortTrafficPolicy {
        port: None,
        ..policy.clone()
    };
    if blocks == PortTrafficPolicy::default() {
        f.error("must have at least one field beside port");
    }
    check_outlier_detection(policy.outlier_detection.as_ref(), f);
    check_connection_pool("connectionPool", policy.connection_pool.as_ref(), f);
    let has_outlier_detection = policy.outlier_detection.is_some();
    load_balancer::check(policy.load_balancer.as_ref(), has_outlier_detection, f);
    client_tls::check(policy.tls.as_ref(), meta, f);
}

fn check_tunnel(tunnel: &Tunnel, f: &mut Findings) {
    if let Some(protocol) = field::written(tunnel.protocol.as_ref())
        && !matches!(protocol, "CONNECT" | "POST")
    {
        f.error_in(
            "protocol",
            format!("must be CONNECT or POST, got \"{protocol}\""),
        );
    }
    if !host::is_address(&tunnel.target_host) {
        f.require_in("targetHost", host::check_name(&tunnel.target_host));
    }
    f.require_in("targetPort", field::port(tunnel.target_port));
}

fn check_retry_budget(budget: &RetryBudget, f: &mut Findings) {
    if let Some(percent) = budget.percent {
        f.require_in("percent", field::in_range(percent.0, &(0.0..=100.0)));
    }
    field::duration_or_zero("budgetInterval", budget.budget_interval, f);
}

fn check_outlier_detection(outlier: Option<&OutlierDetection>, f: &mut Findings) {
    let Some(outlier) = outlier else {
        return;
    };
    f.field("outlierDetection", |f| {
        let local = outlier
            .consecutive_local_origin_failures
            .unwrap_or_default();
        if local > 0
            && !outlier
                .split_external_local_origin_errors
                .unwrap_or_default()
        {
            f.error_in(
                "consecutiveLocalOriginFailures",
                "must not be set unless splitExternalLocalOriginErrors is true",
            );
        }
        field::duration("interval", outlier.interval, f);
        field::duration("baseEjectionTime", outlier.base_ejection_time, f);
        for (name, percent) in [
            ("maxEjectionPercent", outlier.max_ejection_percent),
            ("minHealthPercent", outlier.min_health_percent),
        ] {
            f.require_in(
                name,
                field::in_range(percent.unwrap_or_default(), &(0..=100)),
            );
        }
        f.each(
            "outlierDetectionHttpErrorCodes",
            &outlier.outlier_detection_http_error_codes,
            {
                |f, code| {
                    f.require(field::in_range(*code, &(100..=599)));
                }
            },
        );
    });
}

/// Checks the connection limits in the field `name`.
pub(crate) fn check_connection_pool(name: &str, pool: Option<&ConnectionPool>, f: &mut Findings) {
    let Some(pool) = pool else {
        return;
    };
    f.field(name, |f| {
        if pool.tcp.is_none() && pool.http.is_none() {
            f.error("must have tcp or http or both");
        }
        if let Some(tcp) = &pool.tcp {
            f.field("tcp", |f| check_tcp(tcp, f));
        }
        if let Some(http) = &pool.http {
            f.field("http", |f| check_http(http, f));
        }
    });
}

fn check_tcp(tcp: &TcpSettings, f: &mut Findings) {
    field::not_negative("maxConnections", tcp.max_connections, f);
    field::duration("connectTimeout", tcp.connect_timeout, f);
    field::duration("maxConnectionDuration", tcp.max_connection_duration, f);
    field::duration_or_zero("idleTimeout", tcp.idle_timeout, f);
    if let Some(keepalive) = &tcp.tcp_keepalive {
        f.field("tcpKeepalive", |f| {
            field::duration("time", keepalive.time, f);
            field::duration("interval", keepalive.interval, f);
        });
    }
}

fn check_http(http: &HttpSettings, f: &mut Findings) {
    for (name, value) in [
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ] {
        field::not_negative(name, value, f);
    }
    if let Some(requests) = http
        .max_requests_per_connection
        .filter(|n| *n > REQUESTS_MAX)
    {
        f.error_in(
            "maxRequestsPerConnection",
            format!("must be at most {REQUESTS_MAX}, got {requests}"),
        );
    }
    field::duration("idleTimeout", http.idle_timeout, f);
    if http.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade)
        && http.use_client_protocol == Some(true)
    {
        f.error_in(
            "useClientProtocol",
            "must not be true with h2UpgradePolicy UPGRADE",
        );
    }
    if let Some(keep_alive) = &http.http2_keep_alive {
        f.field("http2KeepAlive", |f| {
            for (name, value) in [
                ("interval", keep_alive.interval),
                ("timeout", keep_alive.timeout),
            ] {
                match value {
                    Some(_) => field::duration(name, value, f),
                    None => f.error_in(name, "is required"),
                }
            }
        });
    }
}
