//! Being seen: request metrics under the names that Istio's ecosystem relies on, the proxy's own
//! metrics, and the access log.

pub mod access_log;
pub(crate) mod causes;
pub(crate) mod clock;
pub mod flags;
pub mod labels;
pub mod metrics;
