//! The resources that the control plane told, and the versions that it told them in. No IO.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::Resource;
use config::wire::{self, Name, Received, Remark, Report};

/// Most resources that are held.
const RESOURCES_MAX: usize = 400_000;
/// Most remarks in a report, and most characters of each: it is for people.
const REMARKS_MAX: usize = 64;
const REMARK_CHARS_MAX: usize = 1_024;

/// What is held of the mesh.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// In an order that does not depend on when they came, as what they mean must not.
    held: BTreeMap<Name, Held>,
    /// What cannot be used, and why.
    rejected: BTreeMap<Name, String>,
}

/// A resource as it is used.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) version: Box<str>,
    pub(super) resource: Arc<Resource>,
}

/// Which resources a stream of responses is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// All but slices of endpoints.
    Resources,
    /// Slices of endpoints.
    Endpoints,
}

/// A change of one resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'t> {
    pub(super) name: &'t str,
    pub(super) version: &'t str,
    pub(super) document: &'t str,
}

/// What a response changed.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Whether anything is another than before.
    pub(super) changed: bool,
    /// What is to be said of it.
    pub(super) report: Report,
}

/// More than is held.
#[derive(Debug, thiserror::Error)]
#[error("the control plane tells of more than {RESOURCES_MAX} resources")]
pub(super) struct TooMany;

// === impl Share ===

impl Share {
    /// The type of its responses.
    pub(super) fn type_url(self) -> &'static str {
        match self {
            Self::Resources => wire::RESOURCES,
            Self::Endpoints => wire::ENDPOINTS,
        }
    }

    fn has(self, name: &Name) -> bool {
        match self {
            Self::Resources => !name.is_endpoints(),
            Self::Endpoints => name.is_endpoints(),
        }
    }
}

// === impl Store ===

impl Store {
    /// Takes in what a response says. What cannot be used stays as it was last good.
    ///
    /// # Errors
    ///
    /// If it is more than may be held; what was taken in until then stays.
    pub(super) fn apply<'t>(
        &mut self,
        share: Share,
        told: impl Iterator<Item = Told<'t>>,
        removed: &[&str],
    ) -> Result<Applied, TooMany> {
        let mut applied = Applied::default();
        for name in removed {
            let Ok(name) = name.parse::<Name>() else {
                continue;
            };
            if share.has(&name) {
                self.rejected.remove(&name);
                applied.changed |= self.held.remove(&name).is_some();
            }
        }
        for one in told {
            let remark = self.take(share, one, &mut applied)?;
            if let Some(message) = remark {
                remark_on(&mut applied.report.rejected, one.name, &message);
            }
        }
        Ok(applied)
    }

    /// Takes in one resource; says why not if it cannot be used.
    fn take(
        &mut self,
        share: Share,
        told: Told<'_>,
        applied: &mut Applied,
    ) -> Result<Option<String>, TooMany> {
        let name: Name = match told.name.parse() {
            Ok(name) if share.has(&name) => name,
            Ok(_) => return Ok(Some("is of another type than the response".to_owned())),
            Err(error) => return Ok(Some(format!("the name {error}"))),
        };
        let Received {
            resource,
            refused,
            skipped,
        } = wire::receive(&name, told.document);
        if !skipped.is_empty() {
            remark_on(&mut applied.report.skipped, told.name, &skipped.join("; "));
        }
        if self.held.len() + self.rejected.len() >= RESOURCES_MAX {
            return Err(TooMany);
        }
        let Some(resource) = resource else {
            let why = shortened(&refused.join("; "));
            self.rejected.insert(name, why.clone());
            return Ok(Some(why));
        };
        self.rejected.remove(&name);
        let version = Box::from(told.version);
        match self.held.get_mut(&name) {
            // The same object, so that nothing is compiled again.
            Some(held) if is_same(&held.resource, &resource) => held.version = version,
            Some(_) | None => {
                self.held.insert(name, Held { version, resource });
                applied.changed = true;
            }
        }
        Ok(None)
    }

    /// Every resource in an order of its own.
    pub(super) fn resources(&self) -> Vec<Arc<Resource>> {
        let held = self.held.values();
        held.map(|held| Arc::clone(&held.resource)).collect()
    }

    /// Everything by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Held)> {
        self.held.iter()
    }

    /// Names and versions of what is held. What came from elsewhere and what never was good have an empty
    /// version, which is none that a control plane has: they are told anew, and that they are gone is
    /// told, too.
    pub(super) fn versions(&self, share: Share) -> Vec<(String, String)> {
        let held = self.held.iter().filter(|(name, _)| share.has(name));
        let held = held.map(|(name, held)| (name.to_string(), held.version.to_string()));
        let rejected = self.rejected.keys();
        let never = rejected.filter(|name| share.has(name) && !self.held.contains_key(*name));
        held.chain(never.map(|name| (name.to_string(), String::new())))
            .collect()
    }

    /// What cannot be used, and why.
    pub(super) fn rejected(&self) -> &BTreeMap<Name, String> {
        &self.rejected
    }

    /// How many resources there are.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

fn is_same(held: &Resource, told: &Resource) -> bool {
    held.meta == told.meta && held.spec == told.spec
}

fn remark_on(remarks: &mut Vec<Remark>, name: &str, message: &str) {
    if remarks.len() < REMARKS_MAX {
        remarks.push(Remark {
            name: shortened(name),
            message: shortened(message),
        });
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(REMARK_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
