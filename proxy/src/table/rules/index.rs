//! Which rules can match a path at all, in their order.
//!
//! Exact paths are looked up; prefixes are kept sorted, each with a link to the longest other prefix
//! that it begins with, so that one binary search and a short walk up the links finds all prefixes of
//! a path; whatever cannot be indexed (patterns, case-insensitive and absent conditions) is always a
//! candidate. Where many rules share a path, they are told apart by the exact value of a header.

use rustc_hash::FxHashMap;

use http::header::HeaderName;

use crate::table::matcher::{Matcher, PathMatcher};
use crate::table::rules::{Lookup, Remembered, Rule};

/// Marks a prefix that begins with no other.
const NONE: u32 = u32::MAX;
/// Rules of one path from which telling them apart by a header pays.
const KEYED_RULES_MIN: usize = 4;

#[derive(Debug)]
pub(super) struct PathIndex {
    exact: FxHashMap<Box<[u8]>, Bucket>,
    /// Sorted by text.
    prefixes: Vec<Prefix>,
    /// Rules that any path may match.
    always: Bucket,
}

#[derive(Debug)]
struct Prefix {
    text: Box<[u8]>,
    rules: Bucket,
    /// Position of the longest other prefix that this one begins with.
    parent: u32,
}

/// The rules that share a condition on the path.
#[derive(Debug, Default)]
struct Bucket {
    /// Those without an exact condition on a header, ascending.
    plain: Vec<u32>,
    /// The others, by the header of their first such condition.
    keyed: Vec<Keyed>,
}

/// Rules that demand an exact value of one header.
#[derive(Debug)]
struct Keyed {
    name: HeaderName,
    slot: usize,
    /// Ascending for each value.
    by_value: FxHashMap<Box<[u8]>, Vec<u32>>,
}

/// Candidates of one path, ascending: a merge of ascending lists.
pub(super) struct Candidates<'i> {
    lists: Lists<'i>,
}

/// Most requests have candidates in a few lists; more go to the heap.
struct Lists<'i> {
    few: [&'i [u32]; FEW],
    count: usize,
    more: Vec<&'i [u32]>,
}

/// Lists that need no memory of their own.
const FEW: usize = 6;

// === impl PathIndex ===

impl PathIndex {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut exact: FxHashMap<Box<[u8]>, Vec<u32>> = FxHashMap::default();
        let mut by_prefix: FxHashMap<Box<[u8]>, Vec<u32>> = FxHashMap::default();
        let mut always = Vec::new();
        for (at, rule) in (0_u32..).zip(rules) {
            match &rule.path {
                PathMatcher::Exact(text) => exact.entry(text.clone()).or_default().push(at),
                PathMatcher::Prefix(text) => by_prefix.entry(text.clone()).or_default().push(at),
                PathMatcher::Any
                | PathMatcher::ExactNoCase(_)
                | PathMatcher::PrefixNoCase(_)
                | PathMatcher::Regex(_) => always.push(at),
                PathMatcher::Never => {}
            }
        }
        let mut prefixes: Vec<Prefix> = by_prefix
            .into_iter()
            .map(|(text, at)| Prefix {
                text,
                rules: Bucket::new(at, rules),
                parent: NONE,
            })
            .collect();
        prefixes.sort_by(|a, b| a.text.cmp(&b.text));
        link(&mut prefixes);
        let exact = exact
            .into_iter()
            .map(|(text, at)| (text, Bucket::new(at, rules)))
            .collect();
        Self {
            exact,
            prefixes,
            always: Bucket::new(always, rules),
        }
    }

    /// Positions of the rules that can match a request, ascending; one may come twice.
    pub(super) fn candidates<'i>(
        &'i self,
        path: &[u8],
        remembered: &mut Remembered<'_>,
    ) -> Candidates<'i> {
        let mut lists = Lists::default();
        self.always.add_to(&mut lists, remembered);
        if let Some(rules) = self.exact.get(path) {
            rules.add_to(&mut lists, remembered);
        }
        let mut at = self.longest_at_most(path);
        while let Some(prefix) = self.prefixes.get(at as usize) {
            if path.starts_with(&prefix.text) {
                prefix.rules.add_to(&mut lists, remembered);
            }
            at = prefix.parent;
        }
        Candidates { lists }
    }

    /// The last prefix that sorts at or before `path`: every prefix of `path` is that one or among
    /// its ancestors.
    fn longest_at_most(&self, path: &[u8]) -> u32 {
        let after = self
            .prefixes
            .partition_point(|prefix| &*prefix.text <= path);
        after.checked_sub(1).map_or(NONE, position)
    }
}

/// Sets the parents; in sorted order the ancestors of an entry form a stack.
fn link(prefixes: &mut [Prefix]) {
    let mut open: Vec<usize> = Vec::new();
    for at in 0..prefixes.len() {
        while let Some(&top) = open.last()
            && !prefixes[at].text.starts_with(&prefixes[top].text)
        {
            open.pop();
        }
        prefixes[at].parent = open.last().map_or(NONE, |&top| position(top));
        open.push(at);
    }
}

fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}

// === impl Bucket ===

impl Bucket {
    fn new(positions: Vec<u32>, rules: &[Rule]) -> Self {
        if positions.len() < KEYED_RULES_MIN {
            return Self {
                plain: positions,
                keyed: Vec::new(),
            };
        }
        let mut bucket = Self::default();
        for at in positions {
            match exact_header(&rules[at as usize]) {
                None => bucket.plain.push(at),
                Some((name, slot, value)) => {
                    let known = bucket.keyed.iter().position(|keyed| keyed.slot == slot);
                    let known = known.unwrap_or_else(|| {
                        let by_value = FxHashMap::default();
                        bucket.keyed.push(Keyed {
                            name: name.clone(),
                            slot,
                            by_value,
                        });
                        bucket.keyed.len() - 1
                    });
                    bucket.keyed[known]
                        .by_value
                        .entry(value.into())
                        .or_default()
                        .push(at);
                }
            }
        }
        bucket
    }

    fn add_to<'i>(&'i self, lists: &mut Lists<'i>, remembered: &mut Remembered<'_>) {
        lists.push(&self.plain);
        for Keyed {
            name,
            slot,
            by_value,
        } in &self.keyed
        {
            match remembered.look_up(*slot, name) {
                Lookup::Absent | Lookup::Unknown => {}
                Lookup::One(value) => lists.extend(by_value.get(value.as_bytes())),
                Lookup::Several => {
                    let lines = remembered.lines(name);
                    lists.extend(lines.filter_map(|value| by_value.get(value.as_bytes())));
                }
            }
        }
    }
}

/// The first condition of a rule that one header has one value.
fn exact_header(rule: &Rule) -> Option<(&HeaderName, usize, &[u8])> {
    let headers = rule.others.as_ref()?.headers.iter();
    headers
        .filter(|header| !header.inverted)
        .find_map(|header| match &header.matcher {
            Matcher::Exact(value) => Some((&header.name, header.slot, &**value)),
            Matcher::Presence | Matcher::Prefix(_) | Matcher::Regex(_) | Matcher::Never => None,
        })
}

// === impl Lists ===

impl Default for Lists<'_> {
    fn default() -> Self {
        Self {
            few: [&[]; FEW],
            count: 0,
            more: Vec::new(),
        }
    }
}

impl<'i> Lists<'i> {
    fn push(&mut self, list: &'i [u32]) {
        if list.is_empty() {
            return;
        }
        match self.few.get_mut(self.count) {
            Some(place) => {
                *place = list;
                self.count += 1;
            }
            None => self.more.push(list),
        }
    }

    fn extend(&mut self, lists: impl IntoIterator<Item = &'i Vec<u32>>) {
        lists.into_iter().for_each(|list| self.push(list));
    }
}

// === impl Candidates ===

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let Lists { few, count, more } = &mut self.lists;
        let lists = few[..*count].iter_mut().chain(more);
        let least = lists
            .filter(|list| !list.is_empty())
            .min_by_key(|list| list[0])?;
        let (first, rest) = least.split_first()?;
        *least = rest;
        Some(*first as usize)
    }
}
