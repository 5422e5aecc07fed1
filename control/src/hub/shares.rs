//! How many streams one caller has, so that none takes the room of all others.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

/// Who has a stream: what he proved, empty if nothing, and his address.
type Caller = (String, Option<IpAddr>);

/// Streams by who has them.
#[derive(Debug)]
pub(crate) struct Shares {
    each_max: usize,
    /// Held only while a stream comes or goes.
    taken: Mutex<FxHashMap<Caller, usize>>,
}

/// One stream that is counted; no longer when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    of: Caller,
}

// === impl Shares ===

impl Shares {
    pub(super) fn new(each_max: usize) -> Arc<Self> {
        Arc::new(Self {
            each_max,
            taken: Mutex::default(),
        })
    }

    /// Counts one more; none if that is too many.
    pub(super) fn take(self: &Arc<Self>, identity: &str, address: Option<IpAddr>) -> Option<Share> {
        let of = (identity.to_owned(), address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&of).copied().unwrap_or_default();
        if count >= self.each_max {
            return None;
        }
        taken.insert(of.clone(), count + 1);
        drop(taken);
        let shares = Arc::clone(self);
        Some(Share { shares, of })
    }
}

// === impl Share ===

impl Drop for Share {
    fn drop(&mut self) {
        let taken = self.shares.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.of) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_takes_no_more_than_his_share() {
        let shares = Shares::new(2);
        let [here, there] = [1, 2].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        let first = shares.take("a", here).expect("room");
        let second = shares.take("a", here).expect("room");

        assert!(shares.take("a", here).is_none());
        let others = [("a", there), ("b", here), ("", here)];
        let others = others.map(|(identity, at)| shares.take(identity, at));
        assert!(others.iter().all(Option::is_some));
        drop(first);
        let again = shares.take("a", here).expect("given back");
        drop((second, again, others));
        assert!(shares.taken.lock().expect("nobody panicked").is_empty());
    }
}
