//! Labels and annotations of pods and namespaces that say what is to be done. All are Istio's.

/// Of a namespace: `enabled` or `disabled`.
pub(super) const NAMESPACE_INJECTION: &str = "istio-injection";
/// Of a namespace or a pod: by which control plane.
pub(super) const REVISION: &str = "istio.io/rev";
/// Of a pod, as label or annotation: whether.
pub(super) const INJECT: &str = "sidecar.istio.io/inject";

pub(super) const PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";
pub(super) const CPU: &str = "sidecar.istio.io/proxyCPU";
pub(super) const CPU_LIMIT: &str = "sidecar.istio.io/proxyCPULimit";
pub(super) const MEMORY: &str = "sidecar.istio.io/proxyMemory";
pub(super) const MEMORY_LIMIT: &str = "sidecar.istio.io/proxyMemoryLimit";
pub(super) const LOG_LEVEL: &str = "sidecar.istio.io/logLevel";
pub(super) const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
pub(super) const NATIVE: &str = "sidecar.istio.io/nativeSidecar";
pub(super) const REWRITE_PROBES: &str = "sidecar.istio.io/rewriteAppHTTPProbers";
pub(super) const STATUS_PORT: &str = "status.sidecar.istio.io/port";
pub(super) const READINESS_INITIAL_DELAY: &str =
    "readiness.status.sidecar.istio.io/initialDelaySeconds";
pub(super) const READINESS_PERIOD: &str = "readiness.status.sidecar.istio.io/periodSeconds";
pub(super) const READINESS_FAILURES: &str = "readiness.status.sidecar.istio.io/failureThreshold";
pub(super) const PROXY_CONFIG: &str = "proxy.istio.io/config";
pub(super) const MERGE_METRICS: &str = "prometheus.istio.io/merge-metrics";

pub(super) const INCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeInboundPorts";
pub(super) const EXCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
pub(super) const INCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
pub(super) const EXCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
pub(super) const INCLUDE_OUTBOUND_IP_RANGES: &str =
    "traffic.sidecar.istio.io/includeOutboundIPRanges";
pub(super) const EXCLUDE_OUTBOUND_IP_RANGES: &str =
    "traffic.sidecar.istio.io/excludeOutboundIPRanges";
pub(super) const EXCLUDE_INTERFACES: &str = "traffic.sidecar.istio.io/excludeInterfaces";
pub(super) const KUBE_VIRT_INTERFACES: &str = "traffic.sidecar.istio.io/kubevirtInterfaces";

pub(super) const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
pub(super) const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
