//! The workloads of Bookinfo: what runs, under which name and labels.

/// Namespace of everything.
pub(crate) const NAMESPACE: &str = "default";
/// Port under which every service is known to the others.
pub(crate) const SERVICE_PORT: u16 = 9080;
/// Host name of the page.
pub(crate) const PRODUCTPAGE: &str = "productpage";
/// Host name of details.
pub(crate) const DETAILS: &str = "details";
/// Host name of reviews, all versions.
pub(crate) const REVIEWS: &str = "reviews";
/// Host name of ratings.
pub(crate) const RATINGS: &str = "ratings";
/// How many workloads there are.
pub(crate) const WORKLOADS_COUNT: usize = 6;

/// All workloads, in the order in which a request meets them.
pub(crate) static WORKLOADS: [Workload; WORKLOADS_COUNT] = [
    Workload::new("productpage-v1", "v1", App::ProductPage),
    Workload::new("details-v1", "v1", App::Details),
    Workload::new("reviews-v1", "v1", App::Reviews(Stars::None)),
    Workload::new("reviews-v2", "v2", App::Reviews(Stars::Black)),
    Workload::new("reviews-v3", "v3", App::Reviews(Stars::Red)),
    Workload::new("ratings-v1", "v1", App::Ratings),
];

/// One running instance of one version of a service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Name, unique.
    pub(crate) name: &'static str,
    /// Value of the label `version`.
    pub(crate) version: &'static str,
    /// What it does.
    pub(crate) app: App,
}

/// What a workload does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum App {
    /// The page people look at.
    ProductPage,
    /// Facts about the book.
    Details,
    /// Reviews of the book.
    Reviews(Stars),
    /// Stars of the reviews.
    Ratings,
}

/// What a version of reviews shows beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stars {
    /// Nothing, and it does not ask ratings.
    None,
    /// Black stars.
    Black,
    /// Red stars.
    Red,
}

// === impl Workload ===

impl Workload {
    const fn new(name: &'static str, version: &'static str, app: App) -> Self {
        Self { name, version, app }
    }

    /// The value of its labels, as `--labels` takes them.
    pub(crate) fn labels(&self) -> String {
        format!("app={},version={}", self.app.host(), self.version)
    }

    /// Its service account.
    pub(crate) fn service_account(&self) -> String {
        format!("bookinfo-{}", self.app.host())
    }
}

// === impl App ===

impl App {
    /// The short host name of the service, and the value of its label `app`.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::ProductPage => PRODUCTPAGE,
            Self::Details => DETAILS,
            Self::Reviews(_) => REVIEWS,
            Self::Ratings => RATINGS,
        }
    }
}

// === impl Stars ===

impl Stars {
    /// The colour as the answers name it; none for a version without stars.
    pub(crate) fn color(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Black => Some("black"),
            Self::Red => Some("red"),
        }
    }
}
