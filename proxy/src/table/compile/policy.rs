//! The policy of a destination: what the connection settings of a `DestinationRule` come to.

use std::time::Duration;

use config::mesh::Protocol as Spoken;
use config::resource::destination_rule::{
    ConnectionPool, H2UpgradePolicy, Http2KeepAlive, HttpSettings, ProxyProtocolVersion,
    TcpKeepalive,
};
use config::value::Duration as Written;

use crate::upstream::breaker::Thresholds;
use crate::upstream::budget::RetryLimit;
use crate::upstream::caller::ProxyProtocol;
use crate::upstream::destination::{
    CONNECT_TIMEOUT, IDLE_TIMEOUT, Ping, Policy, Protocol, TcpProbes,
};
use crate::upstream::http2::STREAMS_DEFAULT;

/// Longest time that the system takes for TCP keep-alive, in seconds.
const PROBE_SECONDS_MAX: u64 = 32_767;
/// Most probes that the system takes.
const PROBES_MAX: u32 = 127;
/// Most streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 1_000;

/// The part of `pool` that has an effect on connections and requests to a port that speaks `spoken`;
/// `None` if the service does not have the port.
pub(super) fn compile(spoken: Option<Spoken>, pool: ConnectionPool) -> Policy {
    let (tcp, http) = (pool.tcp.unwrap_or_default(), pool.http.unwrap_or_default());
    let requests_max = http.max_requests_per_connection.unwrap_or(0);
    Policy {
        connect_timeout: span(tcp.connect_timeout).unwrap_or(CONNECT_TIMEOUT),
        idle_timeout: span(http.idle_timeout).unwrap_or(IDLE_TIMEOUT),
        requests_per_connection_max: u32::try_from(requests_max).unwrap_or(0),
        connection_age_max: span(tcp.max_connection_duration),
        opaque_idle_timeout: opaque_idle_timeout(tcp.idle_timeout),
        tcp_keepalive: tcp.tcp_keepalive.as_ref().map(probes),
        proxy_protocol: None,
        streams_max: streams_max(&http),
        ping: http.http2_keep_alive.as_ref().and_then(ping),
        protocol: protocol(spoken, &http),
        from_own: false,
        retries: RetryLimit::Standard,
        thresholds: Thresholds {
            connections: limit(tcp.max_connections),
            pending: limit(http.http1_max_pending_requests),
            requests: limit(http.http2_max_requests),
        },
        outlier: None,
        check: None,
    }
}

/// A limit; Istio cannot tell 0 from unset.
fn limit(written: Option<i32>) -> Option<u32> {
    let limit = u32::try_from(written?).ok();
    limit.filter(|limit| *limit > 0)
}

/// A span that says something: zero is as good as unset.
fn span(written: Option<Written>) -> Option<Duration> {
    written.map(Written::get).filter(|span| !span.is_zero())
}

/// Zero is no limit.
fn opaque_idle_timeout(written: Option<Written>) -> Option<Duration> {
    match written.map(Written::get) {
        Some(written) => Some(written).filter(|span| !span.is_zero()),
        None => Some(IDLE_TIMEOUT),
    }
}

/// The version in which connections say whom they are opened for.
pub(super) fn proxy_protocol(
    written: &config::resource::destination_rule::ProxyProtocol,
) -> ProxyProtocol {
    match written.version {
        None | Some(ProxyProtocolVersion::V1) => ProxyProtocol::V1,
        Some(ProxyProtocolVersion::V2) => ProxyProtocol::V2,
    }
}

/// Linux takes whole seconds up to 32 767, and at most 127 probes; more would be an error at each
/// connect, and what is asked for is a long time either way.
fn probes(written: &TcpKeepalive) -> TcpProbes {
    let seconds = |written| {
        let seconds = |span: Duration| span.as_millis().div_ceil(1_000);
        let bounded = |seconds: u128| u64::try_from(seconds).unwrap_or(PROBE_SECONDS_MAX);
        let span = span(written).map(seconds).map(bounded)?;
        Some(Duration::from_secs(span.min(PROBE_SECONDS_MAX)))
    };
    TcpProbes {
        time: seconds(written.time),
        interval: seconds(written.interval),
        count: written
            .probes
            .filter(|probes| *probes > 0)
            .map(|probes| probes.min(PROBES_MAX)),
    }
}

/// Streams of one connection. More than the bound would outgrow its flow-control window.
fn streams_max(http: &HttpSettings) -> u32 {
    let written = http.max_concurrent_streams.unwrap_or(0);
    match u32::try_from(written) {
        Ok(0) | Err(_) => STREAMS_DEFAULT,
        Ok(streams) => streams.min(STREAMS_MAX),
    }
}

/// Validation asks for both spans.
fn ping(written: &Http2KeepAlive) -> Option<Ping> {
    Some(Ping {
        interval: span(written.interval)?,
        timeout: span(written.timeout)?,
    })
}

/// What a port is said to speak comes first: it cannot do with less.
fn protocol(spoken: Option<Spoken>, http: &HttpSettings) -> Protocol {
    let upgrade = http.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade);
    match spoken {
        Some(Spoken::Http2 | Spoken::Grpc) => Protocol::Http2,
        _ if upgrade => Protocol::Http2,
        _ if http.use_client_protocol == Some(true) => Protocol::AsDownstream,
        Some(Spoken::Auto) => Protocol::AsDownstream,
        _ => Protocol::Http1,
    }
}

#[cfg(test)]
mod tests {
    use config::resource::destination_rule::TcpSettings;

    use super::*;

    fn ms(millis: u64) -> Option<Written> {
        Some(Written::from_std(Duration::from_millis(millis)))
    }

    fn of(tcp: TcpSettings, http: HttpSettings) -> Policy {
        let pool = ConnectionPool {
            tcp: Some(tcp),
            http: Some(http),
        };
        compile(Some(Spoken::Http), pool)
    }

    #[test]
    fn tcp_keep_alive_stays_within_what_the_system_takes() {
        let probes = |time, interval, probes| {
            let tcp = TcpSettings {
                tcp_keepalive: Some(TcpKeepalive {
                    probes,
                    time,
                    interval,
                }),
                ..TcpSettings::default()
            };
            of(tcp, HttpSettings::default()).tcp_keepalive
        };

        assert_eq!(probes(None, None, None), Some(TcpProbes::default()));
        assert_eq!(
            probes(ms(1), ms(1_500), Some(3)),
            Some(TcpProbes {
                time: Some(Duration::from_secs(1)),
                interval: Some(Duration::from_secs(2)),
                count: Some(3),
            })
        );
        assert_eq!(
            probes(ms(u64::MAX), None, Some(u32::MAX)),
            Some(TcpProbes {
                time: Some(Duration::from_secs(PROBE_SECONDS_MAX)),
                interval: None,
                count: Some(PROBES_MAX),
            })
        );
    }

    #[test]
    fn streams_are_bounded_whatever_is_written() {
        for (written, expected) in [
            (None, STREAMS_DEFAULT),
            (Some(0), STREAMS_DEFAULT),
            (Some(-1), STREAMS_DEFAULT),
            (Some(7), 7),
            (Some(i32::MAX), STREAMS_MAX),
        ] {
            let http = HttpSettings {
                max_concurrent_streams: written,
                ..HttpSettings::default()
            };
            assert_eq!(of(TcpSettings::default(), http).streams_max, expected);
        }
    }

    #[test]
    fn the_protocol_of_the_port_comes_before_what_a_rule_prefers() {
        let rule = |upgrade: bool, client: bool| HttpSettings {
            h2_upgrade_policy: upgrade.then_some(H2UpgradePolicy::Upgrade),
            use_client_protocol: Some(client),
            ..HttpSettings::default()
        };

        for (spoken, upgrade, client, expected) in [
            (Spoken::Http2, false, true, Protocol::Http2),
            (Spoken::Grpc, false, false, Protocol::Http2),
            (Spoken::Http, true, false, Protocol::Http2),
            (Spoken::Http, false, true, Protocol::AsDownstream),
            (Spoken::Http, false, false, Protocol::Http1),
            (Spoken::Auto, false, false, Protocol::AsDownstream),
            (Spoken::Auto, true, false, Protocol::Http2),
        ] {
            assert_eq!(protocol(Some(spoken), &rule(upgrade, client)), expected);
        }
    }
}
