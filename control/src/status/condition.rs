//! `status.conditions` of a resource: what Kubernetes keeps of what became of it.
//!
//! Pure: what is wanted is made of a [`ResourceStatus`], and the list to write of what is wanted, what is
//! there, and the time.

use serde_json::{Map, Value, json};

use super::ResourceStatus;

/// Most characters of a message; the API server takes 32 768.
const MESSAGE_CHARS_MAX: usize = 4_096;
/// What is said of a resource that no proxy needs as far as is known.
const NOT_NEEDED: &str = "no proxy of this replica needs it";
/// Most conditions of others that are looked at and kept.
const CONDITIONS_MAX: usize = 32;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub kind: Kind,
    /// Whether it holds.
    pub holds: bool,
    /// Why, for programs.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whether it is in use as it is written.
    Accepted,
    /// Whether something in it has no effect because another resource goes first.
    Conflicted,
    /// Whether all proxies of the replica that writes use it as it is, if they need it.
    Programmed,
}

// === impl Kind ===

impl Kind {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Conflicted => "Conflicted",
            Self::Programmed => "Programmed",
        }
    }
}

/// The conditions of a resource.
pub fn wanted(status: &ResourceStatus) -> [Condition; 3] {
    [accepted(status), conflicted(status), programmed(status)]
}

fn accepted(status: &ResourceStatus) -> Condition {
    let (reason, message) = match (status.accepted, status.version.is_some()) {
        (true, _) => ("Valid", String::new()),
        (false, true) => (
            "Invalid",
            format!(
                "its last valid form stays in use\n{}",
                status.reasons.join("\n")
            ),
        ),
        (false, false) => ("Invalid", status.reasons.join("\n")),
    };
    Condition {
        kind: Kind::Accepted,
        holds: status.accepted,
        reason,
        message: bounded(message),
    }
}

fn conflicted(status: &ResourceStatus) -> Condition {
    let holds = !status.conflicts.is_empty();
    Condition {
        kind: Kind::Conflicted,
        holds,
        reason: if holds { "OtherGoesFirst" } else { "None" },
        message: bounded(status.conflicts.join("\n")),
    }
}

fn programmed(status: &ResourceStatus) -> Condition {
    // Whoever writes knows its own proxies only.
    let (acknowledged, proxies) = (status.acknowledged, status.proxies);
    let told = format!("{acknowledged} of {proxies} proxies of this replica");
    let rejected = status.rejected.iter();
    let rejected = rejected.map(|it| format!("{}: {}", it.name, it.message));
    let rejected: Vec<String> = rejected.collect();
    let (holds, reason, message) = match () {
        () if !status.accepted => (false, "Invalid", told),
        () if !rejected.is_empty() => {
            let message = format!("{told}; cannot be used by\n{}", rejected.join("\n"));
            (false, "Rejected", message)
        }
        () if status.proxies == 0 => (true, "NotNeededHere", NOT_NEEDED.to_owned()),
        () if status.acknowledged < status.proxies => (false, "Pending", told),
        () => (true, "InUse", told),
    };
    Condition {
        kind: Kind::Programmed,
        holds,
        reason,
        message: bounded(message),
    }
}

fn bounded(message: String) -> String {
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// The whole list to be written in the place of `present`: ours as they are wanted, those of others as
/// they are. `None` if all is there already.
///
/// A condition keeps the time of its last transition unless it turns.
pub fn merged(
    present: &[Value],
    wanted: &[Condition],
    observed_generation: i64,
    now: &str,
) -> Option<Vec<Value>> {
    let mut list: Vec<Value> = present.iter().take(CONDITIONS_MAX).cloned().collect();
    let mut changed = false;
    for condition in wanted {
        let kind = condition.kind.text();
        let place = list.iter().position(|it| it["type"] == kind);
        let before = place.map(|place| &list[place]);
        if before.is_some_and(|it| says(it, condition, observed_generation)) {
            continue;
        }
        changed = true;
        let same = before.filter(|it| it["status"] == status(condition));
        let since = same.and_then(|it| it["lastTransitionTime"].as_str());
        let written = written(condition, observed_generation, since.unwrap_or(now));
        match place {
            Some(place) => list[place] = written,
            None => list.push(written),
        }
    }
    changed.then_some(list)
}

/// Whether a written condition says this already.
fn says(written: &Value, condition: &Condition, observed_generation: i64) -> bool {
    written["status"] == status(condition)
        && written["reason"] == condition.reason
        && written["message"].as_str().unwrap_or_default() == condition.message
        && written["observedGeneration"] == observed_generation
}

fn status(condition: &Condition) -> &'static str {
    match condition.holds {
        true => "True",
        false => "False",
    }
}

fn written(condition: &Condition, observed_generation: i64, since: &str) -> Value {
    let fields = [
        ("type", json!(condition.kind.text())),
        ("status", json!(status(condition))),
        ("reason", json!(condition.reason)),
        ("message", json!(condition.message)),
        ("observedGeneration", json!(observed_generation)),
        ("lastTransitionTime", json!(since)),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Value::Object(Map::from_iter(fields))
}

#[cfg(test)]
mod tests;
