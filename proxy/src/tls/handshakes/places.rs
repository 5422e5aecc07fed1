//! Who has one of a bounded number of places, and who gives it up when there are no more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use rustc_hash::FxHashMap;

/// Whom places are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    V4(Ipv4Addr),
    /// The network, which one host may have all of.
    V6([u8; 8]),
    /// Whoever has no address.
    Local,
}

/// Places, each with something of its holder. Who came first gives way first; numbers stand for the
/// time.
#[derive(Debug)]
pub(super) struct Places<T> {
    max: usize,
    /// How many a source may have whatever the others want.
    share: usize,
    next: u64,
    held: BTreeMap<u64, (Source, T)>,
    by_source: FxHashMap<Source, BTreeSet<u64>>,
    /// Sources that have more than their share: at most `max / share`.
    crowds: Vec<Source>,
}

/// A place that was taken.
#[derive(Debug)]
pub(super) struct Taken<T> {
    /// Its number.
    pub(super) turn: u64,
    /// Whose place it was.
    pub(super) instead_of: Option<T>,
}

// === impl Source ===

impl Source {
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        match address.map(|it| it.to_canonical()) {
            Some(IpAddr::V4(address)) => Self::V4(address),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
            None => Self::Local,
        }
    }
}

// === impl Places ===

impl<T> Places<T> {
    pub(super) fn new(max: usize, share: usize) -> Self {
        Self {
            max,
            share,
            next: 0,
            held: BTreeMap::new(),
            by_source: FxHashMap::default(),
            crowds: Vec::new(),
        }
    }

    /// Takes a place, another's if all are taken.
    pub(super) fn take(&mut self, source: Source, holder: T) -> Taken<T> {
        let full = self.held.len() >= self.max;
        let victim = full.then(|| self.victim(source)).flatten();
        let instead_of = victim.and_then(|turn| self.leave(turn));
        Taken {
            turn: self.add(source, holder),
            instead_of: instead_of.map(|(_, holder)| holder),
        }
    }

    /// Whose place a newcomer from `source` gets: one of its own if it has its share, else of those
    /// that have more than theirs, else of all.
    fn victim(&self, source: Source) -> Option<u64> {
        let first = |source: &Source| self.by_source.get(source)?.first().copied();
        if self.count(source) >= self.share {
            return first(&source);
        }
        let crowded = self.crowds.iter().filter_map(first).min();
        crowded.or_else(|| self.held.first_key_value().map(|(turn, _)| *turn))
    }

    /// Makes a holder the last one to give way, and says its new number. Who has lost its place has
    /// none after, either.
    pub(super) fn renew(&mut self, turn: u64) -> u64 {
        match self.leave(turn) {
            Some((source, holder)) => self.add(source, holder),
            None => turn,
        }
    }

    /// Gives a place back, if it is still held.
    pub(super) fn leave(&mut self, turn: u64) -> Option<(Source, T)> {
        let left = self.held.remove(&turn)?;
        let source = left.0;
        if let Some(turns) = self.by_source.get_mut(&source) {
            turns.remove(&turn);
            if turns.is_empty() {
                self.by_source.remove(&source);
            }
        }
        if self.count(source) == self.share {
            self.crowds.retain(|it| *it != source);
        }
        Some(left)
    }

    fn add(&mut self, source: Source, holder: T) -> u64 {
        let turn = self.next;
        self.next += 1;
        self.held.insert(turn, (source, holder));
        self.by_source.entry(source).or_default().insert(turn);
        if self.count(source) == self.share + 1 {
            self.crowds.push(source);
        }
        turn
    }

    fn count(&self, source: Source) -> usize {
        self.by_source.get(&source).map_or(0, BTreeSet::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 12;
    const SHARE: usize = 3;

    #[derive(Debug, Clone)]
    enum Step {
        Take(u8),
        Renew(usize),
        Leave(usize),
    }

    fn source(number: u8) -> Source {
        Source::of(Some(IpAddr::from([10, 0, 0, number])))
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..6_u8).prop_map(Step::Take),
            1 => (0..MAX).prop_map(Step::Renew),
            1 => (0..MAX).prop_map(Step::Leave),
        ];
        proptest::collection::vec(step, 0..200)
    }

    /// Whom a list of all holders, the first one first, would have give way to `source`.
    fn naive(held: &[(u64, u8)], source: u8) -> Option<u64> {
        let count = |source: u8| held.iter().filter(|it| it.1 == source).count();
        if held.len() < MAX {
            return None;
        }
        let own = |it: &&(u64, u8)| it.1 == source;
        let crowded = |it: &&(u64, u8)| count(it.1) > SHARE;
        let found = match count(source) >= SHARE {
            true => held.iter().find(own),
            false => held.iter().find(crowded).or(held.first()),
        };
        found.map(|it| it.0)
    }

    proptest! {
        #[test]
        fn whoever_gives_way_is_whom_a_list_would_name(steps in steps()) {
            let mut places = Places::new(MAX, SHARE);
            let mut held: Vec<(u64, u8)> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(number) => {
                        let expected = naive(&held, number);
                        let turn = places.next;
                        let taken = places.take(source(number), turn);
                        held.retain(|it| Some(it.0) != expected);
                        held.push((turn, number));
                        prop_assert_eq!(taken.turn, turn);
                        // A holder is named by the number that it had first.
                        let given_up = taken.instead_of.is_some();
                        prop_assert_eq!(given_up, expected.is_some());
                    }
                    Step::Renew(at) if at < held.len() => {
                        let (turn, number) = held.remove(at);
                        held.push((places.renew(turn), number));
                    }
                    Step::Leave(at) if at < held.len() => {
                        let (turn, _) = held.remove(at);
                        prop_assert!(places.leave(turn).is_some());
                        prop_assert!(places.leave(turn).is_none());
                    }
                    Step::Renew(_) | Step::Leave(_) => {}
                }
                let turns: Vec<u64> = places.held.keys().copied().collect();
                let expected: Vec<u64> = held.iter().map(|it| it.0).collect();
                prop_assert_eq!(turns, expected);
                prop_assert!(places.held.len() <= MAX && places.crowds.len() <= MAX / SHARE);
                let counted: usize = places.by_source.values().map(BTreeSet::len).sum();
                prop_assert_eq!(counted, held.len());
            }
        }
    }

    #[test]
    fn addresses_of_one_host_are_one_source() {
        let of = |text: &str| Source::of(Some(text.parse().expect("an address")));

        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
        assert_ne!(Source::of(None), of("10.0.0.1"));
    }
}
