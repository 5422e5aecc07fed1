//! What a watch says, as events: few large ones instead of many small ones, in the same order.

use std::mem::take;

use config::wire::Name;
use kube::runtime::watcher;
use rustc_hash::FxHashSet;
use serde_json::Value;

use super::kind::{Form, Kind};
use super::read::{self, Read};
use crate::event::{Event, Object};
use crate::signer::secret;

/// What was read of a watch and not told yet.
#[derive(Debug)]
pub(super) struct Gather {
    kind: &'static Kind,
    /// The namespace of the control plane.
    own_namespace: String,
    /// The part of a list that is here. None of it is told before all of it is.
    listing: Vec<Object>,
    /// Whether a list has begun that is not complete.
    is_listing: bool,
    applied: Vec<Object>,
    deleted: Vec<Name>,
    ready: Vec<Event>,
    /// What was told of, if others tell of the same kind: then a list of ours is not one of the kind.
    told: Option<FxHashSet<Name>>,
}

/// What became of one step of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// A list begins.
    Began,
    /// A list begins although the one before was not complete.
    BeganAnew,
    /// A list is complete.
    Listed,
    /// An object.
    Object,
}

// === impl Gather ===

impl Gather {
    /// Of a watch that has all objects of its kind.
    pub(super) fn all(kind: &'static Kind, own_namespace: &str) -> Self {
        Self::new(kind, own_namespace, None)
    }

    /// Of a watch that has some of them.
    pub(super) fn part(kind: &'static Kind, own_namespace: &str) -> Self {
        Self::new(kind, own_namespace, Some(FxHashSet::default()))
    }

    fn new(kind: &'static Kind, own_namespace: &str, told: Option<FxHashSet<Name>>) -> Self {
        Self {
            told,
            kind,
            own_namespace: own_namespace.to_owned(),
            listing: Vec::new(),
            is_listing: false,
            applied: Vec::new(),
            deleted: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Takes one step of the watch.
    pub(super) fn take(&mut self, event: watcher::Event<Value>) -> Progress {
        match event {
            watcher::Event::Init => {
                self.listing.clear();
                let is_anew = std::mem::replace(&mut self.is_listing, true);
                return if is_anew {
                    Progress::BeganAnew
                } else {
                    Progress::Began
                };
            }
            watcher::Event::InitApply(value) => {
                if let Read::Object(object) = self.read(value) {
                    self.listing.push(object);
                }
            }
            watcher::Event::InitDone => {
                self.flush();
                self.is_listing = false;
                let objects = take(&mut self.listing);
                self.list(objects);
                return Progress::Listed;
            }
            watcher::Event::Apply(value) => match self.read(value) {
                Read::Object(object) => self.apply(object),
                // It may have been ours before it changed.
                Read::NotOurs(name) => self.delete(name),
            },
            watcher::Event::Delete(value) => {
                let name = read::name(self.kind, &value);
                self.delete(name);
            }
        }
        Progress::Object
    }

    /// There is nothing of the kind.
    pub(super) fn nothing(&mut self) {
        self.flush();
        self.listing.clear();
        self.is_listing = false;
        self.list(Vec::new());
    }

    /// What is to be told now, in order.
    pub(super) fn events(&mut self) -> Vec<Event> {
        self.flush();
        take(&mut self.ready)
    }

    fn read(&self, value: Value) -> Read {
        match self.kind.form {
            Form::Secret => {
                let name = read::name(self.kind, &value);
                if *name.namespace == *self.own_namespace && secret::is_authority(&name.name) {
                    // A Gateway that names it would be given the key of the mesh.
                    return Read::NotOurs(name);
                }
            }
            Form::Resource | Form::MeshConfig | Form::Pod | Form::Node => {}
        }
        read::object(self.kind, value)
    }

    fn list(&mut self, objects: Vec<Object>) {
        let Some(told) = &mut self.told else {
            self.ready.push(Event::Listed {
                kind: self.kind.name,
                objects,
            });
            return;
        };
        let listed = objects.iter().map(Object::name).collect();
        let before = std::mem::replace(told, listed);
        self.deleted.extend(before.difference(told).cloned());
        self.flush();
        self.applied = objects;
        self.flush();
    }

    fn apply(&mut self, object: Object) {
        if let Some(told) = &mut self.told {
            told.insert(object.name());
        }
        if !self.deleted.is_empty() {
            self.flush();
        }
        self.applied.push(object);
    }

    fn delete(&mut self, name: Name) {
        if let Some(told) = &mut self.told {
            told.remove(&name);
        }
        if !self.applied.is_empty() {
            self.flush();
        }
        self.deleted.push(name);
    }

    /// One of both is empty: whoever adds to one flushes the other first.
    fn flush(&mut self) {
        debug_assert!(self.applied.is_empty() || self.deleted.is_empty());
        if !self.applied.is_empty() {
            self.ready.push(Event::Applied(take(&mut self.applied)));
        }
        if !self.deleted.is_empty() {
            self.ready.push(Event::Deleted(take(&mut self.deleted)));
        }
    }
}

#[cfg(test)]
mod tests;
