//! Which endpoint is checked when, and what is known of it meanwhile. No IO; time is an argument.

mod lanes;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use tokio::time::Instant;

use super::check::Check;
use super::keeper::CHECKS_MAX;
use super::verdict::Verdict;
use super::{Ailment, Checked};
use crate::tls::client::{Channel, TlsClient};
use crate::upstream::caller::ProxyProtocol;
use crate::upstream::destination::{Destinations, Live};
use crate::upstream::endpoint::{Endpoint, EndpointAddr};
use lanes::Lanes;

/// Checks of one destination under way at the same time. Where all of its endpoints hang, the other
/// half is left to those that do not.
const CHECKS_MAX_EACH: usize = CHECKS_MAX / 2;

/// When a target is to be checked; a number makes it unique.
type Due = (Instant, u64);

/// Where is asked, and what. The destinations that share it (a host and its subsets) share the
/// checks.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) addr: EndpointAddr,
    pub(super) check: Arc<Check>,
    /// As requests are sent.
    pub(super) channel: Channel,
    /// The same of what their connections begin with.
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

/// All endpoints that are checked.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    targets: FxHashMap<Arc<Target>, Tracked>,
    /// Targets by the time of their next check; without those whose check is under way, and those that
    /// wait in their lane.
    due: BTreeMap<Due, Arc<Target>>,
    lanes: Lanes,
    /// Makes keys of `due` unique.
    next_number: u64,
}

/// What is known of a target.
#[derive(Debug)]
struct Tracked {
    subjects: Vec<Subject>,
    verdict: Verdict,
    /// What its subjects were told; nothing before the first result.
    checked: Option<Checked>,
    /// Its key in `due` or in its lane, if it is in either.
    due: Option<Due>,
    /// When its last check began; none before the first.
    began: Option<Instant>,
}

/// An endpoint of a destination whose health depends on a target.
#[derive(Debug)]
struct Subject {
    endpoint: Arc<Endpoint>,
    live: Arc<Live>,
}

// === impl Schedule ===

impl Schedule {
    /// Checks the endpoints of `destinations` and no others. New targets are due at once; nothing
    /// changes for those that are known. An endpoint that is not checked any more is not out because
    /// of checks any more.
    pub(super) fn want(&mut self, destinations: &Destinations, now: Instant) {
        let before = self.targets.values_mut();
        let before: Vec<Subject> = before.flat_map(|it| it.subjects.drain(..)).collect();
        // Most destinations are never checked: nothing is to be done for their endpoints.
        let were_checked: FxHashSet<*const Live> =
            before.iter().map(|it| Arc::as_ptr(&it.live)).collect();
        for destination in destinations.iter() {
            let check = destination.policy.check.as_ref();
            if check.is_none() && !were_checked.contains(&Arc::as_ptr(&destination.live)) {
                continue;
            }
            for member in destination.members() {
                let subject = Subject {
                    endpoint: Arc::clone(&member.endpoint),
                    live: Arc::clone(&destination.live),
                };
                match check {
                    Some(check) => {
                        let proxy_protocol = destination.policy.proxy_protocol;
                        let target = Target {
                            addr: check.addr(&subject.endpoint.addr),
                            check: Arc::clone(check),
                            channel: member.channel.clone(),
                            proxy_protocol,
                        };
                        self.add(subject, target, now);
                    }
                    None => subject.forget(),
                }
            }
        }
        let due = &mut self.due;
        self.targets.retain(|_, tracked| {
            let stays = !tracked.subjects.is_empty();
            if let Some(key) = tracked.due.filter(|_| !stays) {
                due.remove(&key);
            }
            stays
        });
        // Who waits for one that is not wanted any more must not do so for ever.
        for (key, target) in self.lanes.release_all() {
            self.make_due(key, target);
        }
    }

    /// Puts one that waited in its lane back, if it is still wanted and for that time.
    fn make_due(&mut self, key: Due, target: Arc<Target>) -> bool {
        let tracked = self.targets.get(&target);
        let waits = tracked.is_some_and(|tracked| tracked.due == Some(key));
        if waits {
            self.due.insert(key, target);
        }
        waits
    }

    fn add(&mut self, subject: Subject, target: Target, now: Instant) {
        if let Some(tracked) = self.targets.get_mut(&target) {
            if let Some(checked) = &tracked.checked {
                subject.apply(checked);
            }
            tracked.subjects.push(subject);
            return;
        }
        // It may have been checked otherwise before.
        let checked = subject.endpoint.health.checked();
        let target = Arc::new(target);
        let key = self.number(now);
        self.due.insert(key, Arc::clone(&target));
        let tracked = Tracked {
            verdict: Verdict::after(checked.as_ref()),
            checked,
            subjects: vec![subject],
            due: Some(key),
            began: None,
        };
        self.targets.insert(target, tracked);
    }

    /// When the next check is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes a target whose check is due; it is not due again before [`Self::finish`], which has to
    /// follow. Those whose destination has as many under way as it may are passed over.
    pub(super) fn start(&mut self, now: Instant) -> Option<Arc<Target>> {
        loop {
            let next = self.due.first_entry().filter(|next| next.key().0 <= now)?;
            let (key, target) = next.remove_entry();
            let Some(target) = self.lanes.enter(key, target) else {
                continue;
            };
            if let Some(tracked) = self.targets.get_mut(&target) {
                tracked.due = None;
                let first = tracked.began.replace(now).is_none();
                if first {
                    // As if it had begun earlier: see `phase`.
                    tracked.began = now.checked_sub(phase(&target)).or(Some(now));
                }
            }
            return Some(target);
        }
    }

    /// Notes the result of a check (none if it says nothing) and when to check again. Returns whether
    /// the endpoint passes from now on, if that is news. The result of a target that is not wanted any
    /// more is dropped.
    pub(super) fn finish(
        &mut self,
        target: &Arc<Target>,
        result: Option<Result<(), String>>,
        now: Instant,
    ) -> Option<bool> {
        self.lanes.leave(&target.check);
        while let Some((key, next)) = self.lanes.release(&target.check) {
            if self.make_due(key, next) {
                break;
            }
        }
        let interval = target.check.written.interval.get();
        let next = |began: Option<Instant>| began.map_or(now, |began| (began + interval).max(now));
        let at = next(self.targets.get(target)?.began);
        let key = self.number(at);
        let tracked = self.targets.get_mut(target)?;
        // Forgotten and wanted again meanwhile, it may be due already.
        if let Some(before) = tracked.due.replace(key) {
            self.due.remove(&before);
        }
        self.due.insert(key, Arc::clone(target));
        tracked.take(result?, &target.check, now)
    }

    fn number(&mut self, at: Instant) -> Due {
        self.next_number += 1;
        (at, self.next_number)
    }
}

/// By how much the second check of a target comes earlier than an interval after the first, at most
/// half of one. The first checks of all targets of a generation begin together; by the hash of their
/// addresses the later ones are spread, and at each proxy alike.
fn phase(target: &Target) -> Duration {
    let mut hasher = FxHasher::default();
    target.addr.hash(&mut hasher);
    let share = (hasher.finish() >> 32) as f64 / f64::from(u32::MAX);
    target.check.written.interval.get().mul_f64(share / 2.0)
}

// === impl Target ===

impl Target {
    /// A certificate that was renewed makes another target, lest checks go on with the old one; what
    /// is known of the endpoint stays.
    fn key(
        &self,
    ) -> (
        &EndpointAddr,
        &Check,
        *const TlsClient,
        Option<ProxyProtocol>,
    ) {
        let tls = match &self.channel {
            Channel::Tls(tls) => Arc::as_ptr(tls),
            Channel::Plain | Channel::Shut(_) => std::ptr::null(),
        };
        (&self.addr, &self.check, tls, self.proxy_protocol)
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

// === impl Tracked ===

impl Tracked {
    fn take(&mut self, result: Result<(), String>, check: &Check, now: Instant) -> Option<bool> {
        let news = self.verdict.note(result.is_ok(), &check.written);
        let (passing, since) = match (news, &self.checked) {
            (None, Some(before)) => (before.passing, before.since),
            (news, _) => (news.unwrap_or(result.is_ok()), now),
        };
        let checked = Checked {
            passing,
            since,
            last_error: result.err(),
        };
        for subject in &self.subjects {
            subject.apply(&checked);
        }
        self.checked = Some(checked);
        news
    }
}

// === impl Subject ===

impl Subject {
    /// Makes what checks say the endpoint's health.
    fn apply(&self, checked: &Checked) {
        let health = &self.endpoint.health;
        health.note(Some(checked.clone()));
        let changed = match checked.passing {
            true => health.clear(Ailment::FailsChecks),
            false => health.set(Ailment::FailsChecks),
        };
        if changed {
            self.live.changed();
        }
    }

    /// Forgets what checks said.
    fn forget(&self) {
        let health = &self.endpoint.health;
        health.note(None);
        if health.clear(Ailment::FailsChecks) {
            self.live.changed();
        }
    }
}

#[cfg(test)]
mod tests;
