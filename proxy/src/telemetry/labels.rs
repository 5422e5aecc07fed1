//! Who talks to whom, as metrics name it: labels are put together when a table is compiled, and a
//! request carries only their number.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What every label says that has no value.
pub const UNKNOWN: &str = "unknown";

const APP: &str = "app";
const VERSION: &str = "version";
const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";

/// Number of a set of labels, given by `Metrics::intern`; valid as long as the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrafficId(pub(crate) u32);

/// Which side of a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The proxy of the one who asks: outbound traffic and gateways.
    Source,
    /// The proxy of the one who answers: inbound traffic.
    Destination,
}

/// The destination of a request. A value that is not known is `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Traffic {
    /// Host of the service, fully qualified.
    pub destination_service: Arc<str>,
    /// Short name of the service; the host itself when it has none.
    pub destination_service_name: Arc<str>,
    /// Namespace of the service.
    pub destination_service_namespace: Arc<str>,
    /// Workload (in Kubernetes the deployment) that answers.
    pub destination_workload: Arc<str>,
    /// Namespace of the workload.
    pub destination_workload_namespace: Arc<str>,
    /// Label `app` of the workload.
    pub destination_app: Arc<str>,
    /// Label `version` of the workload.
    pub destination_version: Arc<str>,
    /// Canonical service of the workload.
    pub destination_canonical_service: Arc<str>,
    /// Canonical revision of the workload.
    pub destination_canonical_revision: Arc<str>,
    /// SPIFFE identity that the workload proved.
    pub destination_principal: Arc<str>,
    /// Cluster of the workload.
    pub destination_cluster: Arc<str>,
    /// SPIFFE identity that the caller proved, in what a destination reports.
    pub source_principal: Arc<str>,
}

/// The workload beside this proxy: the source of what it reports as source, the destination of what
/// it reports as destination. A value that is not known is `unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Workload.
    pub workload: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its label `app`.
    pub app: Arc<str>,
    /// Its label `version`.
    pub version: Arc<str>,
    /// Its canonical service.
    pub canonical_service: Arc<str>,
    /// Its canonical revision.
    pub canonical_revision: Arc<str>,
    /// Its SPIFFE identity.
    pub principal: Arc<str>,
    /// Its cluster.
    pub cluster: Arc<str>,
}

/// The four labels of a workload that come from its Kubernetes labels.
struct Canonical {
    app: Arc<str>,
    version: Arc<str>,
    service: Arc<str>,
    revision: Arc<str>,
}

// === impl TrafficId ===

impl TrafficId {
    /// A request of which nothing is known, not even where it would have gone.
    pub const UNKNOWN: Self = Self(0);
    /// What is reported as source after too many label sets were interned.
    pub(crate) const OVERFLOW_SOURCE: Self = Self(1);
    /// What is reported as destination after too many label sets were interned.
    pub(crate) const OVERFLOW_DESTINATION: Self = Self(2);

    /// Whether it is one of these, which stand for no labels of their own.
    pub(crate) fn is_constant(self) -> bool {
        self <= Self::OVERFLOW_DESTINATION
    }
}

// === impl Reporter ===

impl Reporter {
    /// Value of the label `reporter`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

// === impl Traffic ===

impl Traffic {
    /// Traffic of which nothing is known.
    pub fn unknown() -> Self {
        Self::uniform(UNKNOWN)
    }

    /// Every label with the same value.
    pub(crate) fn uniform(value: &str) -> Self {
        let value: Arc<str> = value.into();
        Self {
            destination_service: Arc::clone(&value),
            destination_service_name: Arc::clone(&value),
            destination_service_namespace: Arc::clone(&value),
            destination_workload: Arc::clone(&value),
            destination_workload_namespace: Arc::clone(&value),
            destination_app: Arc::clone(&value),
            destination_version: Arc::clone(&value),
            destination_canonical_service: Arc::clone(&value),
            destination_canonical_revision: Arc::clone(&value),
            destination_principal: Arc::clone(&value),
            destination_cluster: Arc::clone(&value),
            source_principal: value,
        }
    }

    /// Traffic to no service, under the name that Istio has for it.
    pub(crate) fn to_cluster(name: &str) -> Self {
        Self {
            destination_service_name: known(Some(name)),
            ..Self::unknown()
        }
    }

    /// Traffic to the service `host` of `namespace` of which the workload is not known.
    ///
    /// The short name of `reviews.books.svc.cluster.local` is `reviews`; a host that is not of this
    /// form keeps its whole name.
    pub fn to_service(host: &str, namespace: &str) -> Self {
        let mut parts = host.splitn(4, '.');
        let name = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(_), Some("svc")) => name,
            _ => host,
        };
        Self {
            destination_service: known(Some(host)),
            destination_service_name: known(Some(name)),
            destination_service_namespace: known(Some(namespace)),
            ..Self::unknown()
        }
    }

    /// The same service, answered by an endpoint with these Kubernetes labels. `workload` is the
    /// name of its `WorkloadEntry` or deployment, if it has one.
    pub fn with_endpoint(
        self,
        labels: &BTreeMap<String, String>,
        workload: Option<&str>,
        namespace: &str,
        cluster: &str,
    ) -> Self {
        let canonical = Canonical::of(labels, workload);
        Self {
            destination_workload: known(workload),
            destination_workload_namespace: known(Some(namespace)),
            destination_app: canonical.app,
            destination_version: canonical.version,
            destination_canonical_service: canonical.service,
            destination_canonical_revision: canonical.revision,
            destination_cluster: known(Some(cluster)),
            ..self
        }
    }

    /// The same service, answered by the workload of this proxy: for inbound traffic.
    pub fn with_identity(self, identity: &Identity) -> Self {
        Self {
            destination_workload: Arc::clone(&identity.workload),
            destination_workload_namespace: Arc::clone(&identity.namespace),
            destination_app: Arc::clone(&identity.app),
            destination_version: Arc::clone(&identity.version),
            destination_canonical_service: Arc::clone(&identity.canonical_service),
            destination_canonical_revision: Arc::clone(&identity.canonical_revision),
            destination_principal: Arc::clone(&identity.principal),
            destination_cluster: Arc::clone(&identity.cluster),
            ..self
        }
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self::unknown()
    }
}

// === impl Identity ===

impl Identity {
    /// A workload of which nothing is known.
    pub fn unknown() -> Self {
        Self::uniform(UNKNOWN)
    }

    /// Every label with the same value.
    pub(crate) fn uniform(value: &str) -> Self {
        let value: Arc<str> = value.into();
        Self {
            workload: Arc::clone(&value),
            namespace: Arc::clone(&value),
            app: Arc::clone(&value),
            version: Arc::clone(&value),
            canonical_service: Arc::clone(&value),
            canonical_revision: Arc::clone(&value),
            principal: Arc::clone(&value),
            cluster: value,
        }
    }

    /// The workload `workload` with these Kubernetes labels; it has proved no identity.
    pub fn of_workload(
        labels: &BTreeMap<String, String>,
        workload: &str,
        namespace: &str,
        cluster: &str,
    ) -> Self {
        let canonical = Canonical::of(labels, Some(workload));
        Self {
            workload: known(Some(workload)),
            namespace: known(Some(namespace)),
            app: canonical.app,
            version: canonical.version,
            canonical_service: canonical.service,
            canonical_revision: canonical.revision,
            principal: known(None),
            cluster: known(Some(cluster)),
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::unknown()
    }
}

// === impl Canonical ===

impl Canonical {
    fn of(labels: &BTreeMap<String, String>, workload: Option<&str>) -> Self {
        let label = |name| {
            labels
                .get(name)
                .map(String::as_str)
                .filter(|value: &&str| !value.is_empty())
        };
        Self {
            app: known(label(APP)),
            version: known(label(VERSION)),
            service: known(label(CANONICAL_NAME).or(label(APP)).or(workload)),
            revision: known(
                label(CANONICAL_REVISION)
                    .or(label(VERSION))
                    .or(Some("latest")),
            ),
        }
    }
}

fn known(value: Option<&str>) -> Arc<str> {
    value
        .filter(|value| !value.is_empty())
        .unwrap_or(UNKNOWN)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn the_name_of_a_kubernetes_service_is_short() {
        let traffic = Traffic::to_service("reviews.books.svc.cluster.local", "books");

        assert_eq!(
            &*traffic.destination_service,
            "reviews.books.svc.cluster.local"
        );
        assert_eq!(&*traffic.destination_service_name, "reviews");
        assert_eq!(&*traffic.destination_service_namespace, "books");
        assert_eq!(&*traffic.destination_workload, "unknown");
    }

    #[test]
    fn the_name_of_another_host_is_the_host() {
        for host in ["api.example.com", "localhost", "a.b.svcx.c"] {
            assert_eq!(
                &*Traffic::to_service(host, "").destination_service_name,
                host
            );
        }
        assert_eq!(
            &*Traffic::to_service("a.b", "").destination_service_namespace,
            "unknown"
        );
    }

    #[test]
    fn canonical_labels_win_over_app_and_version() {
        let labels = labels(&[
            ("app", "reviews"),
            ("version", "v2"),
            ("service.istio.io/canonical-name", "books-reviews"),
            ("service.istio.io/canonical-revision", "2024"),
        ]);

        let traffic = Traffic::unknown().with_endpoint(&labels, Some("reviews-v2"), "books", "one");

        assert_eq!(&*traffic.destination_workload, "reviews-v2");
        assert_eq!(&*traffic.destination_workload_namespace, "books");
        assert_eq!(&*traffic.destination_app, "reviews");
        assert_eq!(&*traffic.destination_version, "v2");
        assert_eq!(&*traffic.destination_canonical_service, "books-reviews");
        assert_eq!(&*traffic.destination_canonical_revision, "2024");
        assert_eq!(&*traffic.destination_principal, "unknown");
        assert_eq!(&*traffic.destination_cluster, "one");
    }

    #[test]
    fn canonical_labels_fall_back_to_app_workload_and_latest() {
        let by_app = Identity::of_workload(
            &labels(&[("app", "ratings"), ("version", "v1")]),
            "ratings-v1",
            "books",
            "one",
        );
        let by_workload = Identity::of_workload(&labels(&[("app", "")]), "ratings-v1", "", "");

        assert_eq!(&*by_app.canonical_service, "ratings");
        assert_eq!(&*by_app.canonical_revision, "v1");
        assert_eq!(&*by_workload.canonical_service, "ratings-v1");
        assert_eq!(&*by_workload.canonical_revision, "latest");
        assert_eq!(&*by_workload.app, "unknown");
        assert_eq!(&*by_workload.namespace, "unknown");
    }

    #[test]
    fn inbound_traffic_is_answered_by_this_workload() {
        let identity =
            Identity::of_workload(&labels(&[("app", "ratings")]), "r-v1", "books", "one");

        let traffic = Traffic::to_service("ratings.books.svc.cluster.local", "books")
            .with_identity(&identity);

        assert_eq!(traffic.destination_workload, identity.workload);
        assert_eq!(traffic.destination_app, identity.app);
        assert_eq!(&*traffic.destination_service_name, "ratings");
    }
}
