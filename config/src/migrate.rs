//! Retired forms to today's resources, as `meshproxy migrate` prints them.
//!
//! - `documents`: the input, in pieces that keep their comments.
//! - `rbac`: `RbacConfig`, `ServiceRole` and `ServiceRoleBinding` to `AuthorizationPolicy`.
//! - `destination`: `DestinationPolicy` to `DestinationRule`.
//! - `quota`: quotas of Mixer to `RateLimitPolicy`.
//! - `authentication`: `Policy` and `MeshPolicy` to `PeerAuthentication` and `RequestAuthentication`.
//! - `workloads`: which labels the workloads of a service have.
//! - `plan`: what comes out, in which order, and what is said about it.
//!
//! Whatever is not retired passes through to the letter. What has no exact successor becomes the next
//! stricter one or nothing, never something that lets more pass, and a note says so.

mod authentication;
mod destination;
mod documents;
mod plan;
mod quota;
mod rbac;
#[cfg(test)]
mod tests;
mod workloads;

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::problem::Problem;
use documents::{Document, Retired};
use plan::Plan;
pub use plan::{Migrated, Note};
use workloads::Workloads;

/// A file to migrate.
#[derive(Debug, Clone, Copy)]
pub struct Input<'i> {
    /// Its path, for problems and notes.
    pub path: &'i Path,
    /// What it holds.
    pub text: &'i str,
}

/// Migrates files together: what one says of a service counts for all.
///
/// # Errors
///
/// Every problem of documents that cannot be read.
pub fn migrate(inputs: &[Input<'_>], default_namespace: &str) -> Result<Migrated, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut documents = Vec::new();
    for input in inputs {
        match documents::read(*input, default_namespace) {
            Ok(read) => documents.extend(read),
            Err(found) => problems.extend(found),
        }
    }
    let workloads = Workloads::of(&documents);
    let mut plan = Plan::default();
    for convert in [
        rbac::convert,
        destination::convert,
        quota::convert,
        authentication::convert,
    ] {
        if let Err(found) = convert(&documents, &workloads, &mut plan) {
            problems.extend(found);
        }
    }
    for (at, document) in documents.iter().enumerate() {
        if let Some(Retired::Gone(reason)) = document.retired {
            plan.lose(at, reason);
        }
    }
    match problems.is_empty() {
        true => Ok(plan.into_migrated(&documents)),
        false => Err(problems),
    }
}

/// Reads the specs of all documents of one retired kind, with the places of the documents.
fn specs<T: DeserializeOwned + Default>(
    documents: &[Document],
    is_wanted: impl Fn(Retired) -> bool,
) -> Result<Vec<(usize, T)>, Vec<Problem>> {
    let mut specs = Vec::new();
    let mut problems = Vec::new();
    for (at, document) in documents.iter().enumerate() {
        if document.retired.is_some_and(&is_wanted) {
            match document.spec() {
                Ok(spec) => specs.push((at, spec)),
                Err(found) => problems.extend(found),
            }
        }
    }
    match problems.is_empty() {
        true => Ok(specs),
        false => Err(problems),
    }
}
