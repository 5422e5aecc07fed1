//! What a proxy says of the resources that it has.

use config::wire::{Name, Remark, Report};
use rustc_hash::FxHashMap;

use crate::proto::discovery::Status;

/// Most remarks that are remembered of one proxy.
const REMARKS_MAX: usize = 1_024;
/// Most bytes of one.
const REMARK_BYTES_MAX: usize = 1_024;

/// Remarks by resource.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    rejected: FxHashMap<String, String>,
    skipped: FxHashMap<String, String>,
}

// === impl Remarks ===

impl Remarks {
    /// Takes in what was said of a response that told of these resources; returns how many of them
    /// cannot be used. What was said of them before is out of date.
    pub(super) fn note(&mut self, told: &[Name], detail: Option<&Status>) -> usize {
        let told: Vec<String> = told.iter().map(Name::to_string).collect();
        for name in &told {
            self.rejected.remove(name);
            self.skipped.remove(name);
        }
        let Some(Status { code, message }) = detail else {
            return 0;
        };
        let report = serde_json::from_str::<Report>(message);
        let report = report.unwrap_or_else(|_| unstructured(*code, message, &told));
        let count = report.rejected.len().min(told.len().max(1));
        remember(&mut self.rejected, report.rejected);
        remember(&mut self.skipped, report.skipped);
        count
    }

    pub(super) fn report(&self) -> Report {
        let list = |remarks: &FxHashMap<String, String>| {
            let mut list: Vec<Remark> = remarks
                .iter()
                .map(|(name, message)| Remark {
                    name: name.clone(),
                    message: message.clone(),
                })
                .collect();
            list.sort_by(|a, b| a.name.cmp(&b.name));
            list
        };
        Report {
            rejected: list(&self.rejected),
            skipped: list(&self.skipped),
        }
    }
}

/// What a proxy means that does not say it in our words: without a reason nothing is wrong.
fn unstructured(code: i32, message: &str, told: &[String]) -> Report {
    let names = told.iter().filter(|_| code != 0);
    let rejected = names.map(|name| Remark {
        name: name.clone(),
        message: message.to_owned(),
    });
    Report {
        rejected: rejected.collect(),
        skipped: Vec::new(),
    }
}

fn remember(remarks: &mut FxHashMap<String, String>, new: Vec<Remark>) {
    for Remark { name, mut message } in new {
        if remarks.len() >= REMARKS_MAX {
            return;
        }
        if name.len() > super::NAME_BYTES_MAX {
            continue;
        }
        let end = (0..=REMARK_BYTES_MAX.min(message.len())).rev();
        let end = end.into_iter().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or_default());
        remarks.insert(name, message);
    }
}
