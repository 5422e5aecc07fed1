//! What the proxy says of itself: configuration, connections, retries, limits.
//!
//! Plain counters that workers share, for events that are rarer than requests.

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result};
use system::procfs::ProcCollector;

use crate::jwks::FetchCounters;
use crate::listener::NO_DESCRIPTORS;
use crate::listener::places::Full;
use crate::request::malformed::Malformed;
use crate::telemetry::metrics::authorization::AuthorizationCounters;
use crate::telemetry::metrics::dns::DnsCounters;
use crate::telemetry::metrics::faults::FaultCounters;
use crate::telemetry::metrics::mirrors::MirrorCounters;
use crate::telemetry::metrics::probes::ProbeCounters;
use crate::telemetry::metrics::rate_limits::RateLimitCounters;
use crate::telemetry::metrics::retries::RetryCounters;
use crate::telemetry::metrics::tls::TlsMetrics;
use crate::upstream::spoken::Spoke;
use crate::worker::MEMORY;

/// The proxy's own metrics.
#[derive(Debug, Clone)]
pub struct ProcessMetrics {
    /// 1 while the configuration in use is the one that is written, 0 after a bad reload.
    pub config_valid: IntGauge,
    /// Reloads by result `success` and `failure`.
    pub config_reloads: Results,
    /// Number of the snapshot in use.
    pub config_generation: IntGauge,
    /// How long the last reload took, in seconds.
    pub config_last_reload_seconds: Gauge,
    /// Connections taken.
    pub downstream_connections: IntCounter,
    /// Connections from downstream that are open.
    pub downstream_connections_active: IntGauge,
    /// Requests and connections refused for their form, size or pace, by `cause`.
    pub rejections: IntCounterVec,
    /// Connections whose protocol nobody declared, by what they turned out to speak.
    pub detections: IntCounterVec,
    /// Connects by result `ok` and `failed`.
    pub upstream_connections: Results,
    /// Connections to upstreams that are open.
    pub upstream_connections_active: IntGauge,
    /// Connections to upstreams that wait in a pool.
    pub upstream_connections_idle: IntGauge,
    /// Retries that were made, and those that were not.
    pub retries: RetryCounters,
    /// Faults that were injected.
    pub faults: FaultCounters,
    /// Copies of requests for mirrors.
    pub mirrors: MirrorCounters,
    /// What policies of authorization say.
    pub authorization: AuthorizationCounters,
    /// What rate limits let pass and what not.
    pub rate_limits: RateLimitCounters,
    /// 1 while new work is refused for want of memory.
    pub memory_pressure: IntGauge,
    /// Connections that were open at the end of a drain, by `direction`.
    pub drain_cut: IntCounterVec,
    /// Processes that were to take this one's place, by result `success` and `failure`.
    pub upgrades: Results,
    /// Connections that a panic ended.
    pub connection_panics: IntCounter,
    /// Lines that the access log lost.
    pub access_log_dropped: IntCounter,
    /// Probes of the application.
    pub app_probes: ProbeCounters,
    /// Names that the workload asked for.
    pub dns: DnsCounters,
    /// Name resolutions by result `ok` and `failed`.
    pub dns_resolutions: Results,
    /// Health checks by result `passed` and `failed`.
    pub health_checks: Results,
    /// Handshakes of TLS, and how long certificates last.
    pub tls: TlsMetrics,
    /// Requests whose token is refused, by `cause`.
    pub tokens_refused: IntCounterVec,
    /// Keys of issuers that were fetched.
    pub jwks: FetchCounters,
}

/// The same event by how it went.
#[derive(Debug, Clone)]
pub struct Results {
    /// Went well.
    pub ok: IntCounter,
    /// Did not.
    pub failed: IntCounter,
}

// === impl ProcessMetrics ===

impl ProcessMetrics {
    /// All of them, in `registry`.
    ///
    /// # Errors
    ///
    /// A name that is not valid or that the registry has already.
    pub(super) fn register(registry: &Registry) -> Result<Self> {
        let all = Collected(registry);
        all.build_info()?;
        registry.register(Box::new(ProcCollector::new()?))?;
        Self::made(&all)
    }

    fn made(all: &Collected<'_>) -> Result<Self> {
        Ok(Self {
            config_valid: all.gauge(
                "meshproxy_config_valid",
                "1 while the configuration in use is the one that is written, else 0.",
            )?,
            config_reloads: all.results(
                (
                    "meshproxy_config_reloads_total",
                    "Reloads of the configuration.",
                ),
                ["success", "failure"],
            )?,
            config_generation: all.gauge(
                "meshproxy_config_generation",
                "Number of the configuration in use; counts those that were applied.",
            )?,
            config_last_reload_seconds: all.seconds(
                "meshproxy_config_last_reload_seconds",
                "Time of the last reload.",
            )?,
            downstream_connections: all.counter(
                "meshproxy_downstream_connections_total",
                "Connections taken.",
            )?,
            downstream_connections_active: all.gauge(
                "meshproxy_downstream_connections_active",
                "Connections from downstream that are open.",
            )?,
            rejections: all.rejections()?,
            detections: all.detections()?,
            upstream_connections: all.results(
                (
                    "meshproxy_upstream_connections_total",
                    "Connects to upstreams.",
                ),
                ["ok", "failed"],
            )?,
            upstream_connections_active: all.gauge(
                "meshproxy_upstream_connections_active",
                "Connections to upstreams that are open.",
            )?,
            upstream_connections_idle: all.gauge(
                "meshproxy_upstream_connections_idle",
                "Connections to upstreams in a pool.",
            )?,
            retries: all.retries()?,
            faults: all.faults()?,
            mirrors: all.mirrors()?,
            authorization: all.authorization()?,
            rate_limits: all.rate_limits()?,
            memory_pressure: all.memory_pressure()?,
            drain_cut: all.drain_cut()?,
            upgrades: all.upgrades()?,
            connection_panics: all.counter(
                "meshproxy_connection_panics_total",
                "Connections that a panic ended.",
            )?,
            access_log_dropped: all.counter(
                "meshproxy_access_log_dropped_total",
                "Access-log lines lost because the output was too slow or failed.",
            )?,
            app_probes: all.app_probes()?,
            dns: all.dns()?,
            dns_resolutions: all.dns_resolutions()?,
            health_checks: all.health_checks()?,
            tls: all.tls()?,
            tokens_refused: all.tokens_refused()?,
            jwks: all.jwks()?,
        })
    }
}

/// A registry, as something that makes what it collects.
struct Collected<'a>(&'a Registry);

// === impl Collected ===

impl Collected<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        let counter = IntCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn seconds(&self, name: &str, help: &str) -> Result<Gauge> {
        let gauge = Gauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn results(&self, (name, help): (&str, &str), [ok, failed]: [&str; 2]) -> Result<Results> {
        let counters = self.counters(name, help, &["result"])?;
        Ok(Results {
            ok: counters.get_metric_with_label_values(&[ok])?,
            failed: counters.get_metric_with_label_values(&[failed])?,
        })
    }

    /// With a series for each cause from the start, so that an alert can watch one that has not
    /// happened yet.
    fn rejections(&self) -> Result<IntCounterVec> {
        let rejections = self.counters(
            "meshproxy_downstream_rejections_total",
            "Requests and connections refused for their form, size or pace.",
            &["cause"],
        )?;
        for malformed in Malformed::ALL {
            rejections.get_metric_with_label_values(&[malformed.detail()])?;
        }
        for cause in [
            MEMORY,
            NO_DESCRIPTORS,
            Full::Process.cause(),
            Full::Client.cause(),
        ] {
            rejections.get_metric_with_label_values(&[cause])?;
        }
        Ok(rejections)
    }

    fn detections(&self) -> Result<IntCounterVec> {
        let detections = self.counters(
            "meshproxy_protocol_detections_total",
            "Connections whose protocol nobody declared, by what they turned out to speak.",
            &["verdict"],
        )?;
        for spoke in Spoke::ALL {
            detections.get_metric_with_label_values(&[spoke.as_str()])?;
        }
        Ok(detections)
    }

    fn memory_pressure(&self) -> Result<IntGauge> {
        self.gauge(
            "meshproxy_memory_pressure",
            "1 while new requests and connections are refused for want of memory, else 0.",
        )
    }

    fn upgrades(&self) -> Result<Results> {
        let named = (
            "meshproxy_upgrades_total",
            "Processes that were started to take this one's place.",
        );
        self.results(named, ["success", "failure"])
    }

    fn drain_cut(&self) -> Result<IntCounterVec> {
        let cut = self.counters(
            "meshproxy_drain_closed_connections_total",
            "Connections that were still open at the end of a drain.",
            &["direction"],
        )?;
        for direction in ["inbound", "outbound"] {
            cut.get_metric_with_label_values(&[direction])?;
        }
        Ok(cut)
    }

    fn retries(&self) -> Result<RetryCounters> {
        let made = self.counters(
            "meshproxy_retries_total",
            "Retries by cause, and whether the request was idempotent.",
            &["cause", "idempotent"],
        )?;
        let refused = self.counters(
            "meshproxy_retries_refused_total",
            "Retries that the rule allowed and something else did not.",
            &["cause"],
        )?;
        let exhausted = self.counter(
            "meshproxy_retries_exhausted_total",
            "Requests that failed after their last retry.",
        )?;
        RetryCounters::new(&made, &refused, exhausted)
    }

    fn faults(&self) -> Result<FaultCounters> {
        let by_kind = self.counters(
            "meshproxy_faults_total",
            "Faults that were injected.",
            &["kind"],
        )?;
        let delays_active = self.gauge(
            "meshproxy_fault_delays_active",
            "Requests that wait in an injected delay.",
        )?;
        FaultCounters::new(&by_kind, delays_active)
    }

    fn mirrors(&self) -> Result<MirrorCounters> {
        let by_result = self.counters(
            "meshproxy_mirrors_total",
            "Copies of requests for mirrors, by how they ended.",
            &["result"],
        )?;
        let active = self.gauge(
            "meshproxy_mirrors_active",
            "Copies of requests that are under way.",
        )?;
        MirrorCounters::new(&by_result, active)
    }

    fn authorization(&self) -> Result<AuthorizationCounters> {
        Ok(AuthorizationCounters {
            judged: self.counters(
                "meshproxy_authorization_total",
                "Requests and connections that a policy matched, or that no policy allowed.",
                &["action", "policy", "result"],
            )?,
            asked: self.counters(
                "meshproxy_authorizer_total",
                "Questions to authorizers.",
                &["provider", "result"],
            )?,
        })
    }

    fn rate_limits(&self) -> Result<RateLimitCounters> {
        let of_limit = |name, help| self.counters(name, help, &["policy", "limit"]);
        Ok(RateLimitCounters {
            allowed: of_limit(
                "meshproxy_rate_limit_allowed_total",
                "Requests that a rate limit let pass.",
            )?,
            limited: of_limit(
                "meshproxy_rate_limited_total",
                "Requests that a rate limit refused.",
            )?,
            evicted: of_limit(
                "meshproxy_rate_limit_evictions_total",
                "Keys of a rate limit that were forgotten while they were in use.",
            )?,
            shared: self.counters(
                "meshproxy_rate_limit_service_total",
                "Questions to rate-limit services.",
                &["policy", "result"],
            )?,
        })
    }

    fn app_probes(&self) -> Result<ProbeCounters> {
        let by_result = self.counters(
            "meshproxy_app_probes_total",
            "Probes of the application that kubelet made through the proxy.",
            &["result"],
        )?;
        ProbeCounters::new(&by_result)
    }

    fn dns(&self) -> Result<DnsCounters> {
        let by_answer = self.counters(
            "meshproxy_dns_requests_total",
            "Names that the workload asked for, by who answered.",
            &["answered_by"],
        )?;
        let failures = self.counters(
            "meshproxy_dns_upstream_failures_total",
            "Names that no name server answered.",
            &["cause"],
        )?;
        DnsCounters::new(&by_answer, failures)
    }

    fn dns_resolutions(&self) -> Result<Results> {
        let named = (
            "meshproxy_dns_resolutions_total",
            "Resolutions of upstream names.",
        );
        self.results(named, ["ok", "failed"])
    }

    fn health_checks(&self) -> Result<Results> {
        let named = (
            "meshproxy_health_checks_total",
            "Health checks of endpoints.",
        );
        self.results(named, ["passed", "failed"])
    }

    fn tls(&self) -> Result<TlsMetrics> {
        let handshakes = self.counters(
            "meshproxy_tls_handshakes_total",
            "Handshakes of TLS that went well.",
            &["side", "kind"],
        )?;
        let failures = self.counters(
            "meshproxy_tls_handshake_failures_total",
            "Handshakes of TLS that failed.",
            &["side", "reason"],
        )?;
        let reloads = self.results(
            (
                "meshproxy_identity_reloads_total",
                "Changes of the files in --identity-dir.",
            ),
            ["success", "failure"],
        )?;
        let expirations = IntGaugeVec::new(
            Opts::new(
                "meshproxy_certificate_expiration_timestamp_seconds",
                "When the first certificate of a file expires.",
            ),
            &["purpose", "file"],
        )?;
        self.0.register(Box::new(expirations.clone()))?;
        TlsMetrics::new(&handshakes, failures, reloads, expirations)
    }

    fn tokens_refused(&self) -> Result<IntCounterVec> {
        self.counters(
            "meshproxy_tokens_refused_total",
            "Requests whose token (JWT) is refused.",
            &["cause"],
        )
    }

    fn jwks(&self) -> Result<FetchCounters> {
        let fetched = Opts::new(
            "meshproxy_jwks_fetched_timestamp_seconds",
            "When the keys of an issuer that are in use were fetched.",
        );
        let fetched = IntGaugeVec::new(fetched, &["issuer"])?;
        self.0.register(Box::new(fetched.clone()))?;
        Ok(FetchCounters {
            fetches: self.counters(
                "meshproxy_jwks_fetches_total",
                "Fetches of the keys of an issuer.",
                &["issuer", "result"],
            )?,
            fetched,
        })
    }

    /// Constant series that say what runs here; Istio's tools look for `istio_build`.
    fn build_info(&self) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let own = Opts::new("meshproxy_build_info", "Version of this program.");
        let own = IntGaugeVec::new(own, &["version"])?;
        own.get_metric_with_label_values(&[version])?.set(1);
        self.0.register(Box::new(own))?;
        let istio = Opts::new("istio_build", "Version of this component of the mesh.");
        let istio = IntGaugeVec::new(istio, &["component", "tag"])?;
        istio
            .get_metric_with_label_values(&["proxy", version])?
            .set(1);
        self.0.register(Box::new(istio))
    }
}
