//! `DestinationRule`: host, subsets, and the policies by way of `traffic_policy`.

use std::collections::BTreeSet;

use crate::resource::Metadata;
use crate::resource::destination_rule::DestinationRule;
use crate::validate::field::{self, Export};
use crate::validate::findings::Findings;
use crate::validate::{host, traffic_policy};

/// Checks a `DestinationRule`.
pub(crate) fn check(rule: &DestinationRule, meta: &Metadata, f: &mut Findings) {
    f.require_in("host", host::check_pattern(&rule.host));
    traffic_policy::check(rule.traffic_policy.as_ref(), meta, f);
    let mut names = BTreeSet::new();
    f.each("subsets", &rule.subsets, |f, subset| {
        if subset.name.is_empty() {
            f.error_in("name", "is required");
        } else {
            f.require_in("name", field::dns_label(&subset.name));
        }
        if !names.insert(&subset.name) {
            f.error_in(
                "name",
                format!("must be unique, got \"{}\" again", subset.name),
            );
        }
        field::labels("labels", &subset.labels, f);
        traffic_policy::check(subset.traffic_policy.as_ref(), meta, f);
    });
    let export = match rule.workload_selector {
        Some(_) => Export::OwnNamespace,
        None => Export::Usual,
    };
    field::export_to(&rule.export_to, meta, export, f);
    if let Some(selector) = &rule.workload_selector {
        field::selector("workloadSelector", &selector.match_labels, f);
    }
}

#[cfg(test)]
mod tests;
