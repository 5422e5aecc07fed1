//! What the control plane counts: one registry, to which every part adds its own.
//!
//! Names begin with `meshcontrol_`. Beside them are those that tools look for by themselves:
//! `istio_build`, and `process_*` as all clients of Prometheus have them.

use prometheus::{IntGaugeVec, Opts, Registry};
use system::procfs::ProcCollector;

mod mesh;

pub use mesh::MeshCollector;

/// A registry with what the process says of itself.
///
/// # Errors
///
/// None while the names are legal.
pub fn registry() -> prometheus::Result<Registry> {
    let registry = Registry::new();
    registry.register(Box::new(ProcCollector::new()?))?;
    let version = env!("CARGO_PKG_VERSION");
    let own = Opts::new("meshcontrol_build_info", "Version of this program.");
    let own = IntGaugeVec::new(own, &["version"])?;
    own.get_metric_with_label_values(&[version])?.set(1);
    registry.register(Box::new(own))?;
    // What tools that know Istio call a control plane.
    let istio = Opts::new("istio_build", "Version of this component of the mesh.");
    let istio = IntGaugeVec::new(istio, &["component", "tag"])?;
    istio
        .get_metric_with_label_values(&["pilot", version])?
        .set(1);
    registry.register(Box::new(istio))?;
    Ok(registry)
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn a_process_says_what_it_is_and_what_it_costs() {
        let registry = registry().expect("legal names");

        let text = TextEncoder::new().encode_to_string(&registry.gather());
        let text = text.expect("consistent");

        for name in [
            "meshcontrol_build_info{version=\"",
            "istio_build{component=\"pilot\"",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }
}
