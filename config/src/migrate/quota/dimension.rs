//! Expressions of Mixer that told requests apart, as dimensions of today.

use std::collections::BTreeMap;

/// What an expression is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    /// A dimension of the caller or the request.
    Dimension(String),
    /// The service that is asked, which a policy is for.
    Service,
}

/// The dimensions of a quota, by the names that it gave them.
#[derive(Debug)]
pub(super) struct Dimensions {
    known: BTreeMap<String, Meaning>,
}

// === impl Dimensions ===

impl Dimensions {
    /// Reads expressions; `lose` is told of those that cannot be said today. Without them more requests
    /// share a bucket.
    pub(super) fn of(expressions: &BTreeMap<String, String>, mut lose: impl FnMut(String)) -> Self {
        let mut known = BTreeMap::new();
        for (name, expression) in expressions {
            match meaning(expression) {
                Some(meaning) => {
                    known.insert(name.clone(), meaning);
                }
                None => lose(format!("dimension {name}: {expression}")),
            }
        }
        Self { known }
    }

    /// What requests are told apart by.
    pub(super) fn key(&self) -> Vec<&str> {
        let mut key: Vec<&str> = self.known.values().filter_map(Meaning::dimension).collect();
        key.sort_unstable();
        key.dedup();
        key
    }

    /// The dimension of today for a name of the quota.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.known.get(name).and_then(Meaning::dimension)
    }

    /// Whether the name is of the service that is asked.
    pub(super) fn is_service(&self, name: &str) -> bool {
        self.known.get(name) == Some(&Meaning::Service)
    }
}

// === impl Meaning ===

impl Meaning {
    fn dimension(&self) -> Option<&str> {
        match self {
            Self::Dimension(dimension) => Some(dimension),
            Self::Service => None,
        }
    }
}

/// `a | b | "unknown"` is about the first of them that we know.
fn meaning(expression: &str) -> Option<Meaning> {
    expression.split('|').map(str::trim).find_map(attribute)
}

fn attribute(attribute: &str) -> Option<Meaning> {
    let dimension = match attribute {
        "source.name" | "source.workload.name" | "source.service" => "source.workload",
        "source.labels[\"app\"]" => "source.workload",
        "source.labels[\"version\"]" => "source.version",
        "source.namespace" | "source.workload.namespace" => "source.namespace",
        "source.principal" | "source.user" => "source.principal",
        "source.ip" => "source.ip",
        "request.method" => "request.method",
        "request.path" | "request.url_path" => "request.path",
        "destination.name"
        | "destination.service"
        | "destination.service.name"
        | "destination.service.host"
        | "destination.workload.name"
        | "destination.labels[\"app\"]" => return Some(Meaning::Service),
        _ => {
            let header = attribute.strip_prefix("request.headers[\"")?;
            let header = header.strip_suffix("\"]")?;
            let header = header.to_ascii_lowercase();
            return Some(Meaning::Dimension(format!("request.headers[{header}]")));
        }
    };
    Some(Meaning::Dimension(dimension.to_owned()))
}
