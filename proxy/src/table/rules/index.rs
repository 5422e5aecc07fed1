//! Which rules can match a path at all, in their order.
//!
//! Exact paths are looked up; prefixes are kept sorted, each with a link to the longest other prefix
//! that it begins with, so that one binary search and a short walk up the links finds all prefixes of
//! a path; whatever cannot be indexed (patterns, case-insensitive and absent conditions) is always a
//! candidate.

use rustc_hash::FxHashMap;

use crate::table::matcher::PathMatcher;
use crate::table::rules::Rule;

/// Marks a prefix that begins with no other.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct PathIndex {
    exact: FxHashMap<Box<[u8]>, Vec<u32>>,
    /// Sorted by text.
    prefixes: Vec<Prefix>,
    /// Rules that any path may match.
    always: Vec<u32>,
}

#[derive(Debug)]
struct Prefix {
    text: Box<[u8]>,
    rules: Vec<u32>,
    /// Position of the longest other prefix that this one begins with.
    parent: u32,
}

/// Candidates of one path, ascending: a merge of ascending lists.
pub(super) struct Candidates<'i> {
    lists: Lists<'i>,
}

/// Most paths have candidates in one to three lists; more go to the heap.
enum Lists<'i> {
    Few([&'i [u32]; 4]),
    Many(Vec<&'i [u32]>),
}

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
            .map(|(text, rules)| Prefix { text, rules, parent: NONE })
            .collect();
        prefixes.sort_by(|a, b| a.text.cmp(&b.text));
        link(&mut prefixes);
        Self { exact, prefixes, always }
    }

    /// Positions of the rules that can match `path`, ascending.
    pub(super) fn candidates(&self, path: &[u8]) -> Candidates<'_> {
        let mut lists = Lists::Few([&self.always, &[], &[], &[]]);
        let mut count = 1;
        if let Some(rules) = self.exact.get(path) {
            lists.push(count, rules);
            count += 1;
        }
        let mut at = self.longest_at_most(path);
        while let Some(prefix) = self.prefixes.get(at as usize) {
            if path.starts_with(&prefix.text) {
                lists.push(count, &prefix.rules);
                count += 1;
            }
            at = prefix.parent;
        }
        Candidates { lists }
    }

    /// The last prefix that sorts at or before `path`: every prefix of `path` is that one or among
    /// its ancestors.
    fn longest_at_most(&self, path: &[u8]) -> u32 {
        let after = self.prefixes.partition_point(|prefix| &*prefix.text <= path);
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

// === impl Lists ===

impl<'i> Lists<'i> {
    fn push(&mut self, count: usize, list: &'i [u32]) {
        match self {
            Self::Few(few) if count < few.len() => few[count] = list,
            Self::Few(few) => {
                let mut many = few.to_vec();
                many.push(list);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.push(list),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [&'i [u32]] {
        match self {
            Self::Few(few) => few,
            Self::Many(many) => many,
        }
    }
}

// === impl Candidates ===

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let lists = self.lists.as_mut_slice();
        let least = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
        let (first, rest) = least.split_first()?;
        *least = rest;
        Some(*first as usize)
    }
}
