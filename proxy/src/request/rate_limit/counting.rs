//! Where a request is counted, and that what was taken is given back.

use std::sync::Arc;
use std::time::Duration;

use super::Refused;
use crate::rate_limit::buckets::{Bucket, Key, KeyTable};
use crate::rate_limit::gcra::Receipt;
use crate::rate_limit::message::{Descriptor, Unit};
use crate::request::Rejection;
use crate::table::rate_limit::facts::Facts;
use crate::table::rate_limit::{Limit, Override, Quota, RateLimits, Tally};

/// A limit that counts the request, and where.
pub(super) struct Counting<'l> {
    pub(super) limit: &'l Arc<Limit>,
    pub(super) quota: &'l Quota,
    pub(super) place: Place<'l>,
}

/// Where a request is counted.
#[derive(Clone, Copy)]
pub(super) enum Place<'l> {
    One(&'l Bucket),
    Key(&'l KeyTable, Key),
    /// By a service.
    Elsewhere,
}

/// What was taken. It is given back when this value is dropped, unless the request passes: something
/// else may refuse it, or its caller give up.
pub(super) struct Taken<'l> {
    pub(super) limits: &'l RateLimits,
    pub(super) receipts: Vec<(Place<'l>, Receipt)>,
}

// === impl Counting ===

impl<'l> Counting<'l> {
    pub(super) fn new(limit: &'l Arc<Limit>, facts: &Facts<'_>) -> Self {
        let quota = limit.quota_for(facts);
        let place = match &quota.tally {
            Tally::One(bucket) => Place::One(bucket),
            Tally::PerKey(table) => Place::Key(table, limit.key_of(facts, table)),
            Tally::Shared { .. } => Place::Elsewhere,
        };
        Self {
            limit,
            quota,
            place,
        }
    }

    /// Whether the request would pass now.
    pub(super) fn look(&self, now: u64) -> Result<(), Rejection> {
        let looked = match self.place {
            Place::One(bucket) => bucket.look(now),
            Place::Key(table, key) => table.look(key, now),
            Place::Elsewhere => return Ok(()),
        };
        looked.map_err(|wait| self.refused(wait))
    }

    pub(super) fn take(&self, now: u64) -> Result<Option<Receipt>, Rejection> {
        let taken = match self.place {
            Place::One(bucket) => bucket.take(now),
            Place::Key(table, key) => table.take(key, now),
            Place::Elsewhere => return Ok(None),
        };
        taken.map(Some).map_err(|wait| self.refused(wait))
    }

    fn refused(&self, wait: u64) -> Rejection {
        self.limit.counters.limited.inc();
        Rejection::RateLimited(Box::new(Refused {
            limit: Arc::clone(&self.limit.id),
            wait: Duration::from_nanos(wait),
            headers: Vec::new(),
        }))
    }

    /// What a service counts the request under: the limit, the values of its key, and those of an
    /// override that are not among them.
    pub(super) fn descriptor(&self, unit: Unit, facts: &Facts<'_>) -> Descriptor {
        let limit = self.limit;
        let mut entries = vec![("generic_key".to_owned(), limit.id.to_string())];
        for dimension in &limit.key {
            let value = dimension.value(facts);
            let value = String::from_utf8_lossy(&value).into_owned();
            entries.push((dimension.name.to_string(), value));
        }
        let over = limit.overrides.iter();
        let over = over.filter(|over| std::ptr::eq(&over.quota, self.quota));
        let conditions = over.flat_map(|over: &Override| &over.conditions);
        for (dimension, value) in conditions {
            if !entries.iter().any(|(name, _)| **name == *dimension.name) {
                entries.push((dimension.name.to_string(), value.to_string()));
            }
        }
        Descriptor {
            entries,
            requests: self.quota.requests,
            unit,
        }
    }
}

// === impl Taken ===

impl Taken<'_> {
    pub(super) fn keep(mut self) {
        self.receipts.clear();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.receipts.is_empty() {
            return;
        }
        let now = self.limits.now();
        for (place, receipt) in self.receipts.drain(..) {
            match place {
                Place::One(bucket) => bucket.give_back(receipt, now),
                Place::Key(table, key) => table.give_back(key, receipt, now),
                Place::Elsewhere => {}
            }
        }
    }
}
