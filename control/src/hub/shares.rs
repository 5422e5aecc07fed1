//! How many streams one caller has, so that none takes the room of all others.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::identity::Counted;

/// Streams by who has them.
#[derive(Debug)]
pub(crate) struct Shares {
    each_max: usize,
    /// Held only while a stream comes or goes.
    taken: Mutex<FxHashMap<Counted, usize>>,
}

/// One stream that is counted; no longer when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    of: Counted,
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
    pub(super) fn take(self: &Arc<Self>, of: Counted) -> Option<Share> {
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
    use std::net::IpAddr;

    use super::*;

    fn at(identity: &str, last: u8) -> Counted {
        let address = IpAddr::from([10, 0, 0, last]);
        Counted::At(identity.into(), Some(address))
    }

    #[test]
    fn one_caller_takes_no_more_than_his_share() {
        let shares = Shares::new(2);
        let first = shares.take(at("a", 1)).expect("room");
        let second = shares.take(at("a", 1)).expect("room");

        assert!(shares.take(at("a", 1)).is_none());
        let pod = Counted::Pod("a".into(), "a-1".into());
        let others = [at("a", 2), at("b", 1), at("", 1), pod];
        let others = others.map(|it| shares.take(it));
        assert!(others.iter().all(Option::is_some));
        drop(first);
        let again = shares.take(at("a", 1)).expect("given back");
        drop((second, again, others));
        assert!(shares.taken.lock().expect("nobody panicked").is_empty());
    }
}
