//! One rule of a policy: who, what, and on which conditions.

use super::check::Check;
use super::facts::Facts;

/// A rule: one of the sources, one of the operations, and all conditions.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    /// Any peer if there are none.
    pub(crate) sources: Box<[Clause]>,
    /// Anything if there are none.
    pub(crate) operations: Box<[Clause]>,
    pub(crate) when: Clause,
    /// It asks for what is not known here; in a policy that allows nothing can match then.
    pub(crate) never: bool,
}

/// Conditions that must all hold.
#[derive(Debug, Default)]
pub(crate) struct Clause(pub(crate) Box<[Condition]>);

/// A condition, as one field of a rule.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) check: Check,
    /// It holds if the check does not: none of the values must be there.
    pub(crate) negated: bool,
    /// Where it is written, such as `from[0].source.principals`.
    pub(crate) place: Box<str>,
}

/// What becomes of conditions on HTTP where it is not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutHttp {
    /// A rule that has any never matches: a policy that allows gets narrower.
    Fails,
    /// They are as if they were not there: any other policy gets wider.
    Holds,
}

/// Why a rule does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The condition that does not hold, by its place in the rule; the last of several of which one
    /// would have been enough.
    pub(crate) place: String,
    /// What was found; none if there is nothing.
    pub(crate) found: Option<String>,
}

// === impl Rule ===

impl Rule {
    /// Whether it matches.
    pub(crate) fn matches(&self, facts: &Facts<'_>, without: WithoutHttp) -> bool {
        let mut all = self.conditions();
        if self.never
            || (facts.request.is_none()
                && without == WithoutHttp::Fails
                && all.any(|it| it.check.is_of_http()))
        {
            return false;
        }
        any(&self.sources, facts) && any(&self.operations, facts) && self.when.holds(facts)
    }

    /// Why it does not match, if it does not.
    pub(crate) fn mismatch(&self, facts: &Facts<'_>, without: WithoutHttp) -> Option<Mismatch> {
        if self.matches(facts, without) {
            return None;
        }
        let failing = |clause: &Clause| {
            let failing = clause.0.iter().find(|it| !it.holds(facts));
            failing.map(|it| it.told(facts))
        };
        let parts = [&*self.sources, &*self.operations];
        let mut parts = parts.into_iter().filter(|clauses| !any(clauses, facts));
        let of_part = parts.next().and_then(|it| it.last()).and_then(failing);
        let told = of_part.or_else(|| failing(&self.when));
        let of_http = || {
            let mut all = self.conditions();
            let first = all.find(|it| it.check.is_of_http());
            first.map(|it| Mismatch {
                place: it.place.to_string(),
                found: Some("a connection that is not HTTP".to_owned()),
            })
        };
        let unknown = || Mismatch {
            place: "when".to_owned(),
            found: Some("a condition that is not known here".to_owned()),
        };
        Some(told.or_else(of_http).unwrap_or_else(unknown))
    }

    /// All of its conditions.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let clauses = self.sources.iter().chain(&self.operations);
        clauses.chain([&self.when]).flat_map(|clause| &clause.0)
    }
}

/// Whether one of the clauses holds, if there are any.
fn any(clauses: &[Clause], facts: &Facts<'_>) -> bool {
    clauses.is_empty() || clauses.iter().any(|clause| clause.holds(facts))
}

// === impl Clause ===

impl Clause {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        self.0.iter().all(|condition| condition.holds(facts))
    }
}

// === impl Condition ===

impl Condition {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        let lost = facts.request.is_none() && self.check.is_of_http();
        lost || self.check.holds(facts) != self.negated
    }

    fn told(&self, facts: &Facts<'_>) -> Mismatch {
        Mismatch {
            place: self.place.to_string(),
            found: self.check.found(facts),
        }
    }
}
