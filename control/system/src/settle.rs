//! When a change is taken by which something would vanish.
//!
//! Who replaces a file in several steps, as by removing and writing it, or by writing it bit by bit,
//! has for a moment written that there is no policy. To take that at once would let in whoever the
//! policy refuses. So a loss counts only once the files have rested; everything else counts at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::{Resource, Spec};
use tokio::time::Instant;

/// How long files must rest before something vanishes by them.
pub const SETTLE_TIME: Duration = Duration::from_secs(2);
/// Longest time for which a loss is put off while the files go on changing.
pub const SETTLE_TIME_MAX: Duration = Duration::from_secs(10);
/// Names that are logged of what vanishes.
const TOLD_MAX: usize = 20;

/// Why files are loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// They changed.
    Files,
    /// What is about the identity alone changed.
    Identity,
    /// They have rested.
    Settled,
    /// Whoever runs the proxy says so, and knows that the files are complete.
    Operator,
}

/// What was loaded for the generation in use.
#[derive(Debug, Default)]
pub struct InUse {
    resources: Vec<Arc<Resource>>,
    /// Lengths of the files that say who may in.
    bytes: BTreeMap<Arc<Path>, usize>,
}

/// A loss that is put off.
#[derive(Debug, Default)]
pub struct Settle(Option<PutOff>);

#[derive(Debug)]
struct PutOff {
    lost: Vec<String>,
    since: Instant,
    changed: Instant,
}

// === impl InUse ===

impl InUse {
    /// These resources; `bytes` tells how long their files are.
    pub fn new(resources: &[Arc<Resource>], bytes: impl Fn(&Path) -> usize) -> Self {
        let files = resources.iter().filter(|it| says_who_may_in(it));
        let files = files.map(|it| Arc::clone(&it.source.file));
        Self {
            bytes: files.map(|it| (Arc::clone(&it), bytes(&it))).collect(),
            resources: resources.to_vec(),
        }
    }

    /// How long a file was that says who may in; 0 if it is none.
    pub fn bytes(&self, file: &Path) -> usize {
        self.bytes.get(file).copied().unwrap_or(0)
    }

    /// Whether these are the very same resources.
    pub fn is(&self, resources: &[Arc<Resource>]) -> bool {
        let mut pairs = self.resources.iter().zip(resources);
        self.resources.len() == resources.len() && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// What would be lost with `next`: resources that are not there any more, and those that say who
    /// may in and now say something else in a file that became shorter, as one half written is.
    pub fn lost(&self, next: &[Arc<Resource>], bytes: impl Fn(&Path) -> usize) -> Vec<String> {
        let same: HashSet<*const Resource> = next.iter().map(Arc::as_ptr).collect();
        let named: HashMap<_, _> = next.iter().map(|it| (name(it), it)).collect();
        let changed = self.resources.iter();
        let changed = changed.filter(|it| !same.contains(&Arc::as_ptr(it)));
        let is_shorter = |file: &Arc<Path>| {
            let before = self.bytes.get(file);
            before.is_some_and(|before| bytes(file) < *before)
        };
        let lost = changed.filter(|it| match named.get(&name(it)) {
            None => true,
            Some(now) => {
                let is_other = says_who_may_in(it) && now.spec != it.spec;
                is_other && is_shorter(&it.source.file)
            }
        });
        lost.map(ToString::to_string).collect()
    }
}

fn name(resource: &Resource) -> (&'static str, &str, &str) {
    let meta = &resource.meta;
    (resource.kind(), &meta.namespace, &meta.name)
}

/// Whether less of it may let more in.
fn says_who_may_in(resource: &Resource) -> bool {
    matches!(
        resource.spec,
        Spec::AuthorizationPolicy(_) | Spec::RequestAuthentication(_) | Spec::PeerAuthentication(_)
    )
}

// === impl Settle ===

impl Settle {
    /// Whether what was loaded is taken, by which `lost` vanishes; says so, or that it is put off.
    pub fn passes(&mut self, trigger: Trigger, lost: Vec<String>, now: Instant) -> bool {
        if lost.is_empty() {
            self.forget();
            return true;
        }
        let told = told(&lost);
        let is_new = self.0.is_none();
        let put_off = self.0.get_or_insert_with(|| PutOff {
            lost: lost.clone(),
            since: now,
            changed: now,
        });
        if trigger == Trigger::Files || put_off.lost != lost {
            put_off.changed = now;
            put_off.lost = lost;
        }
        if trigger == Trigger::Operator || put_off.due() <= now {
            self.forget();
            tracing::info!(
                resources = told,
                "no longer in the files, or cut short: taken"
            );
            return true;
        }
        if is_new {
            tracing::info!(
                resources = told,
                rest = ?SETTLE_TIME,
                "gone from the files, or cut short: taken once the files rest (SIGHUP: at once)"
            );
        }
        false
    }

    /// When to look again; never if nothing is put off.
    pub fn due(&self) -> Option<Instant> {
        self.0.as_ref().map(PutOff::due)
    }

    /// Puts nothing off any more.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

// === impl PutOff ===

impl PutOff {
    fn due(&self) -> Instant {
        (self.changed + SETTLE_TIME).min(self.since + SETTLE_TIME_MAX)
    }
}

/// Kinds and names, not more of them than a person would read.
fn told(lost: &[String]) -> String {
    let told = lost.iter().take(TOLD_MAX).map(String::as_str);
    let told = told.collect::<Vec<_>>().join(", ");
    match lost.len().saturating_sub(TOLD_MAX) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use config::load::parse;

    use super::*;

    fn policy(name: &str, rules: &str) -> String {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{name: {name}}}\nspec: {{action: DENY, rules: [{rules}]}}\n---\n"
        )
    }

    fn loaded(text: &str) -> Vec<Arc<Resource>> {
        let loaded = parse("a.yaml", text, "default");
        assert!(!loaded.has_errors(), "{:?}", loaded.problems);
        loaded.resources
    }

    /// What is lost from one text to the next.
    fn lost(before: &str, next: &str) -> Vec<String> {
        let in_use = InUse::new(&loaded(before), |_| before.len());
        in_use.lost(&loaded(next), |_| next.len())
    }

    #[test]
    fn what_is_not_there_any_more_is_lost_and_so_is_what_a_policy_says_no_longer() {
        let (one, two) = (
            "{to: [{operation: {ports: ['1']}}]}",
            "{to: [{operation: {ports: ['2']}}]}",
        );
        let both = policy("a", &format!("{one}, {two}"));
        let first = policy("a", one);

        assert_eq!(
            lost(&(first.clone() + &policy("b", one)), &first),
            ["AuthorizationPolicy default/b"]
        );
        assert_eq!(lost(&both, &first), ["AuthorizationPolicy default/a"]);
        assert!(lost(&first, &both).is_empty(), "it says more");
        assert!(
            lost(&first, &policy("a", two)).is_empty(),
            "as long as before"
        );
    }

    fn waits(settle: &mut Settle, trigger: Trigger, ms: u64, start: Instant) -> bool {
        let lost = vec!["AuthorizationPolicy default/a".to_owned()];
        !settle.passes(trigger, lost, start + Duration::from_millis(ms))
    }

    #[test]
    fn a_loss_is_taken_once_the_files_rest() {
        let start = Instant::now();
        let mut settle = Settle::default();

        assert!(waits(&mut settle, Trigger::Files, 0, start));
        assert!(waits(&mut settle, Trigger::Files, 1_000, start));
        assert!(waits(&mut settle, Trigger::Identity, 2_500, start));
        assert_eq!(settle.due(), Some(start + Duration::from_millis(3_000)));
        assert!(!waits(&mut settle, Trigger::Settled, 3_000, start));
        assert_eq!(settle.due(), None);
    }

    #[test]
    fn files_that_never_rest_are_taken_all_the_same_and_a_signal_waits_for_nothing() {
        let start = Instant::now();
        let mut settle = Settle::default();

        for ms in (0..10_000).step_by(100) {
            assert!(waits(&mut settle, Trigger::Files, ms, start), "{ms}");
        }
        assert!(!waits(&mut settle, Trigger::Files, 10_000, start));

        assert!(waits(&mut settle, Trigger::Files, 11_000, start));
        assert!(!waits(&mut settle, Trigger::Operator, 11_001, start));
    }

    #[test]
    fn what_comes_back_in_time_was_never_gone() {
        let now = Instant::now();
        let mut settle = Settle::default();
        assert!(waits(&mut settle, Trigger::Files, 0, now));

        assert!(settle.passes(Trigger::Files, Vec::new(), now));

        assert_eq!(settle.due(), None);
    }
}
