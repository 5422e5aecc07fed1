//! Whether a request that is only thought of would be let in, by the function that lets in.

use super::decide::Walk;
use super::decision::authorization::{Authorization as Told, Looked, Unmet};
use crate::inbound::authz::Authorization;
use crate::inbound::authz::facts::Facts;
use crate::inbound::authz::judge::Judgement;
use crate::inbound::authz::policy::Policy;
use crate::request::Rejection;
use crate::upstream::Outgoing;

/// What policies say of the request, and the rejection if they refuse it; none where there are none.
pub(super) fn judge(walk: &Walk<'_>, outgoing: &mut Outgoing) -> Option<(Told, Option<Rejection>)> {
    let admission = walk.listener.admission.as_ref()?;
    let authorization = admission.authorization.as_ref()?;
    // As on the way of a request, headers that the proxy adds are looked at.
    outgoing.settle_headers();
    let facts = Facts {
        peer: walk.asked.principal.as_ref(),
        ..authorization.facts(&walk.downstream, walk.listener.direction, outgoing)
    };
    let judgement = authorization.judge(&facts);
    let mut told = told(authorization, &facts);
    let rejection = match judgement {
        Judgement::Allowed(by) => {
            told.by = by.map(|by| by.to_string());
            None
        }
        Judgement::Denied(denial) => {
            told.allowed = false;
            told.by = denial.matched().map(ToString::to_string);
            Some(Rejection::Denied(Box::new(denial)))
        }
    };
    Some((told, rejection))
}

fn told(authorization: &Authorization, facts: &Facts<'_>) -> Told {
    let asked = authorization.custom.iter().filter(|asked| {
        let mut policies = asked.policies.iter();
        policies.any(|policy| policy.matching(facts).is_some())
    });
    Told {
        principal: facts.peer.map(|it| it.principal().to_owned()),
        allowed: true,
        by: None,
        asks: asked.map(|asked| asked.provider.to_string()).collect(),
        policies: authorization
            .policies()
            .map(|it| looked(it, facts))
            .collect(),
    }
}

fn looked(policy: &Policy, facts: &Facts<'_>) -> Looked {
    let mismatches = policy.mismatches(facts).into_iter().enumerate();
    let unmet = mismatches.filter_map(|(rule, mismatch)| {
        let mismatch = mismatch?;
        Some(Unmet {
            rule,
            place: mismatch.place,
            found: mismatch.found,
        })
    });
    Looked {
        policy: policy.id.to_string(),
        action: policy.action,
        dry_run: policy.dry_run,
        matched: policy.matching(facts),
        mismatches: unmet.collect(),
    }
}
