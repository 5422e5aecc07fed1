//! The rules that are tried for a request, in order, with what kept it from each: those of the table
//! as its own trace tells them, and between them those that are for other callers.

use std::iter::Peekable;
use std::slice::Iter;
use std::sync::Arc;

use config::Resource;
use config::mesh::Viewer;

use super::decision::{Mismatch, RuleName, Tried, Written};
use crate::request::route::Sought;
use crate::table::elsewhere::{Elsewhere, Wants};
use crate::table::rules::Rule;

/// All rules up to the one that matches.
pub(super) fn rules(sought: &Sought<'_, '_>, viewer: &Viewer) -> Vec<Tried> {
    let mut tried = Vec::new();
    let mut elsewhere = sought.host.elsewhere.iter().peekable();
    for (rule, mismatch) in sought.host.rules.trace(&sought.view) {
        // What matches everything is tried last, wherever it is written.
        let before = match rule.conditions().is_empty() {
            true => u32::MAX,
            false => rule.number,
        };
        add_elsewhere(&mut tried, &mut elsewhere, before, viewer);
        tried.push(Tried {
            rule: name(rule),
            matched: mismatch.is_none(),
            mismatch: mismatch.map(|mismatch| Mismatch {
                wanted: mismatch.to_string(),
                found: mismatch.found(&sought.view),
            }),
        });
    }
    match tried.last_mut().filter(|last| last.matched) {
        None => add_elsewhere(&mut tried, &mut elsewhere, u32::MAX, viewer),
        // All conditions hold, and the rule is not for tunnels.
        Some(last) if sought.rule().is_err() => {
            last.matched = false;
            last.mismatch = Some(Mismatch {
                wanted: "another method, as it does not name CONNECT".to_owned(),
                found: Some(sought.view.method.to_owned()),
            });
        }
        Some(_) => {}
    }
    tried
}

fn add_elsewhere(
    tried: &mut Vec<Tried>,
    elsewhere: &mut Peekable<Iter<'_, Elsewhere>>,
    before: u32,
    viewer: &Viewer,
) {
    while let Some(other) = elsewhere.next_if(|other| other.number < before) {
        tried.push(Tried {
            rule: RuleName {
                name: other.name.to_string(),
                written: written(other.origin.as_ref(), other.position, other.block),
            },
            matched: false,
            mismatch: Some(Mismatch {
                wanted: other.wants.to_string(),
                found: match &other.wants {
                    Wants::Gateways(_) => None,
                    Wants::Label(name, _) => viewer.labels.get(&**name).cloned(),
                    Wants::Namespace(_) => Some(viewer.namespace.clone()),
                },
            }),
        });
    }
}

/// A rule and where it is written.
pub(super) fn name(rule: &Rule) -> RuleName {
    let route = &rule.route;
    RuleName {
        name: route.name.to_string(),
        written: written(route.origin.as_ref(), route.position, rule.block),
    }
}

fn written(origin: Option<&Arc<Resource>>, http: u32, block: u32) -> Option<Written> {
    let origin = origin?;
    Some(Written {
        resource: origin.to_string(),
        source: format!("{}:{}", origin.source.file.display(), origin.source.line),
        http,
        block,
    })
}
