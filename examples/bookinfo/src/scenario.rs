//! The ready scenarios: documents to copy over `routes.yaml`.

/// Where the scenario files are in the source tree.
pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

/// A ready `routes.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// No stars for anybody.
    AllV1,
    /// Red stars once in ten.
    Canary,
    /// Black or red, always the same for a user.
    Sticky,
    /// Black for jason.
    Jason,
    /// A copy of each request for v3.
    Mirror,
    /// Slow or failing ratings.
    DelayAbort,
    /// Hanging ratings, and what takes them out.
    Breaker,
    /// Stars for jason once in five seconds.
    RateLimit,
}

impl Scenario {
    /// All of them, in the order of a tour.
    pub(crate) const ALL: [Self; 8] = [
        Self::AllV1,
        Self::Canary,
        Self::Sticky,
        Self::Jason,
        Self::Mirror,
        Self::DelayAbort,
        Self::Breaker,
        Self::RateLimit,
    ];

    /// File name in [`FOLDER`].
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::AllV1 => "all-v1.yaml",
            Self::Canary => "90-10.yaml",
            Self::Sticky => "50-50-sticky.yaml",
            Self::Jason => "jason-v2.yaml",
            Self::Mirror => "mirror.yaml",
            Self::DelayAbort => "delay-abort.yaml",
            Self::Breaker => "breaker.yaml",
            Self::RateLimit => "rate-limit.yaml",
        }
    }

    /// What one will see, in a few words.
    pub(crate) fn summary(self) -> &'static str {
        match self {
            Self::AllV1 => "no stars for anybody",
            Self::Canary => "red stars once in ten",
            Self::Sticky => "black or red, always the same for a user",
            Self::Jason => "black stars for jason, none for others",
            Self::Mirror => "no stars; v3 gets a copy of each request",
            Self::DelayAbort => "slow ratings for jason, no ratings for mia",
            Self::Breaker => "hanging ratings are taken out, and the page is quick again",
            Self::RateLimit => "red stars for jason once in five seconds, black ones for others",
        }
    }

    /// The document.
    pub(crate) fn yaml(self) -> &'static str {
        match self {
            Self::AllV1 => include_str!("../scenarios/all-v1.yaml"),
            Self::Canary => include_str!("../scenarios/90-10.yaml"),
            Self::Sticky => include_str!("../scenarios/50-50-sticky.yaml"),
            Self::Jason => include_str!("../scenarios/jason-v2.yaml"),
            Self::Mirror => include_str!("../scenarios/mirror.yaml"),
            Self::DelayAbort => include_str!("../scenarios/delay-abort.yaml"),
            Self::Breaker => include_str!("../scenarios/breaker.yaml"),
            Self::RateLimit => include_str!("../scenarios/rate-limit.yaml"),
        }
    }
}
