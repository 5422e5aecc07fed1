//! How many connections there may be, altogether and from one address.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

/// Places for connections.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    each_max: usize,
    /// Held only while a connection comes or goes.
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: FxHashMap<IpAddr, usize>,
}

/// A place that is taken; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    of: IpAddr,
}

// === impl Places ===

impl Places {
    pub(crate) fn new(max: usize, each_max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            each_max,
            taken: Mutex::default(),
        })
    }

    /// A place for a connection from an address, if there is one.
    pub(crate) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let of = from.to_canonical();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let each = taken.by.get(&of).copied().unwrap_or_default();
        if taken.all >= self.max || each >= self.each_max {
            return None;
        }
        taken.all += 1;
        taken.by.insert(of, each + 1);
        Some(Place {
            places: Arc::clone(self),
            of,
        })
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let taken = self.places.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(each) = taken.by.get_mut(&self.of) {
            *each = each.saturating_sub(1);
            if *each == 0 {
                taken.by.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_places_of_all() {
        let places = Places::new(3, 2);
        let (first, second) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));

        let held = [places.take(first), places.take(first)];

        assert!(held.iter().all(Option::is_some));
        assert!(places.take(first).is_none());
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, 0x0001]);
        assert!(places.take(mapped).is_none(), "the same in other clothes");
        let last = places.take(second).expect("there is one left");
        assert!(places.take(second).is_none(), "all are taken");
        drop(last);
        drop(held);
        assert!(places.take(first).is_some());
        assert!(places.taken.lock().expect("no panic").by.is_empty());
    }
}
