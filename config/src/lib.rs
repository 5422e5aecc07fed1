//! What users write: Istio's resources as typed structs, each with the place it was read from.
//!
//! - `resource`: the kinds, field by field.
//! - `annotation`: values of our own annotations on `DestinationRule`s.
//! - `claims`, `json`, `jwks`: what tokens (JWT) are addressed by, read by and checked with.
//! - `value`: checked values that fields are made of.
//! - `fault`: faults that annotations ask for.
//! - `ip_block`: networks, and addresses in them.
//! - `yaml`, `decode`, `load`: text and files to resources, with every problem at once.
//! - `validate`: what is wrong with one resource; `analyze`: what is wrong between resources.
//! - `mesh`: the set of resources and Istio's lookup rules.
//! - `spiffe`: identities of workloads.
//! - `migrate`: retired forms to today's resources.
//! - `documents`: documents of any kind as plain values.
//! - `schema`: what a derived JSON schema does not say by itself.
//! - `wire`: resources as control plane and proxies tell each other of them.
//! - `strict`: documents that are no resources, read by the same rules.
//!
//! Nothing here knows a runtime, a socket or a cluster: everything is a function of text.

pub mod analyze;
pub mod annotation;
pub mod claims;
mod decode;
pub mod documents;
mod effect;
pub mod fault;
pub mod ip_block;
pub mod json;
pub mod jwks;
pub mod load;
pub mod mesh;
pub mod migrate;
pub mod problem;
pub mod resource;
mod schema;
pub mod spiffe;
pub mod strict;
pub mod validate;
pub mod value;
pub mod wire;
mod yaml;

pub use load::{Loaded, Loader};
pub use problem::{Finding, Problem, Severity};
pub use resource::{Metadata, Resource, Source, Spec};
