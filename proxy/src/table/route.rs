//! What happens to a request whose rule was found.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::Resource;
use http::StatusCode;

use crate::table::cors::Cors;
use crate::table::edit::HeaderEdit;
use crate::table::fault::Fault;
use crate::table::mirror::Mirror;
use crate::table::redirect::Redirect;
use crate::table::retry::RetryPolicy;
use crate::table::rewrite::PathRewrite;
use crate::table::split::Split;

/// The compiled form of one HTTP rule, shared by its match blocks.
#[derive(Debug)]
pub struct Route {
    /// Name for logs: the rule's, or `default`.
    pub name: Arc<str>,
    /// The resource that holds the rule; none for the default route of a service.
    pub origin: Option<Arc<Resource>>,
    /// Position of the rule in `http[]` of its `VirtualService` as it applies.
    pub position: u32,
    /// Forward, redirect or answer.
    pub action: Action,
    /// Changes of the request's headers, before those of the target.
    pub request_headers: HeaderEdit,
    /// Changes of the response's headers, before those of the target.
    pub response_headers: HeaderEdit,
    /// Faults that are injected.
    pub fault: Option<Box<Fault>>,
    /// Where copies of requests go.
    pub mirrors: Box<[Mirror]>,
    /// Cross-origin policy.
    pub cors: Option<Box<Cors>>,
    /// Change of the path.
    pub rewrite: Option<PathRewrite>,
    /// Limit of the whole request, all attempts included.
    pub timeout: Option<Duration>,
    /// What is tried again.
    pub retries: RetryPolicy,
}

/// What a rule does.
#[derive(Debug)]
pub enum Action {
    /// Send it to one of the targets.
    Forward(Split),
    /// Answer with another location.
    Redirect(Redirect),
    /// Answer with a fixed response.
    Direct(DirectResponse),
}

/// A fixed response.
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// Status.
    pub status: StatusCode,
    /// Body; may be empty.
    pub body: Bytes,
}

// === impl Route ===

impl Route {
    /// A route that only acts.
    pub fn new(name: &str, action: Action) -> Self {
        Self {
            name: name.into(),
            origin: None,
            position: 0,
            action,
            request_headers: HeaderEdit::default(),
            response_headers: HeaderEdit::default(),
            fault: None,
            mirrors: Box::default(),
            cors: None,
            rewrite: None,
            timeout: None,
            retries: RetryPolicy::standard(),
        }
    }
}
