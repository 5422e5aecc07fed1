//! One document to its resources, with every problem of it.
//!
//! Lines of problems are relative to the document, so that one that only moved within its file is
//! not parsed again.

use std::path::Path as FilePath;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::kind::{Class, Steering, classify};
use super::{mesh_config, metadata};
use crate::decode::path::{Path, Segment, segments_of, text_of};
use crate::decode::words::{describe, unknown_field};
use crate::decode::{Report, Unknown, decode};
use crate::effect;
use crate::problem::{Problem, Severity};
use crate::resource::mesh_config::Carrier;
use crate::resource::{Metadata, Resource, Source, Spec};
use crate::validate::validate;
use crate::yaml::{self, At, Places};

/// What every document of a networking kind may have.
const FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];

/// What a list of documents may have.
const LIST_FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "items"];

/// What one document holds.
#[derive(Debug)]
pub(super) struct Parsed {
    /// Its resources, in order; those with errors are left out.
    pub(super) items: Vec<Item>,
    /// Its problems in the order of their places, with lines that count from the document's first.
    pub(super) problems: Vec<Problem>,
}

/// One resource of a document.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) resource: Arc<Resource>,
    /// The steps to it: empty, or `items[3]` of a list.
    pub(super) prefix: Vec<Segment>,
    /// Lines between the document's first and the resource's first.
    pub(super) line_within: u32,
    /// Whether something is said about it, with its line.
    pub(super) has_problems: bool,
}

/// Whose document it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'o> {
    pub(super) file: &'o Arc<FilePath>,
    /// Line of the file in which the document begins, from 1.
    pub(super) line: u32,
    pub(super) default_namespace: &'o str,
}

/// Parses one document.
pub(super) fn parse(text: &str, origin: Origin<'_>) -> Parsed {
    let value = match yaml::parse(text) {
        Ok(value) => value,
        Err(error) => {
            return Parsed {
                items: Vec::new(),
                problems: vec![error.problem(origin.file, 1)],
            };
        }
    };
    let mut reader = Reader::new(origin, Unknown::Refuse);
    reader.document(&value, &Path::Root, None);
    reader.finish(text)
}

/// Reads one document that was received: what is not known in it is skipped and told. Places are those
/// of no text.
pub(super) fn read(value: &Value, origin: Origin<'_>) -> Parsed {
    let mut reader = Reader::new(origin, Unknown::Tell);
    reader.document(value, &Path::Root, None);
    reader.finish("")
}

/// Reads one document that is no text, as strictly as one of a file.
pub(super) fn judge(value: &Value, origin: Origin<'_>) -> Parsed {
    let mut reader = Reader::new(origin, Unknown::Refuse);
    reader.document(value, &Path::Root, None);
    reader.finish("")
}

/// `apiVersion` and `kind`, as a typed list lends them to items that have none.
#[derive(Debug, Clone, Copy)]
struct Type<'t> {
    api_version: &'t str,
    kind: &'t str,
}

struct Draft {
    meta: Metadata,
    spec: Spec,
    prefix: Vec<Segment>,
    has_problems: bool,
}

struct Reader<'o> {
    origin: Origin<'o>,
    /// What becomes of fields that are not known.
    unknown: Unknown,
    report: Report,
    drafts: Vec<Draft>,
    /// Up to which problem which resource is meant.
    labels: Vec<(usize, String)>,
}

// === impl Reader ===

impl<'o> Reader<'o> {
    fn new(origin: Origin<'o>, unknown: Unknown) -> Self {
        Self {
            origin,
            unknown,
            report: Report::default(),
            drafts: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Reads a document or an item of a list.
    fn document(&mut self, value: &Value, path: &Path<'_>, lent: Option<Type<'_>>) {
        let from = self.report.len();
        let Value::Object(map) = value else {
            let what = describe(value);
            let message =
                format!("must be a mapping with apiVersion, kind, metadata and spec, got {what}");
            return self.report.error(path, message);
        };
        let text = |name, lent| match map.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.as_str()),
            Some(Value::Null) | None if !str::is_empty(lent) => Some(lent),
            Some(Value::Null | Value::String(_)) | None => {
                self.report.error(&Path::Key(path, name), "is required");
                None
            }
            Some(other) => {
                let message = format!("must be a string, got {}", describe(other));
                self.report.error(&Path::Key(path, name), message);
                None
            }
        };
        let api_version = text("apiVersion", lent.map_or("", |lent| lent.api_version));
        let kind = text("kind", lent.map_or("", |lent| lent.kind));
        let (Some(api_version), Some(kind)) = (api_version, kind) else {
            return self.label(kind.unwrap_or_default(), map);
        };
        match classify(api_version, kind, map.contains_key("items")) {
            Class::Steering(steering) => return self.steering(steering, map, value, path, from),
            Class::List => return self.list(map, path, Type { api_version, kind }),
            Class::Idle(reason) => {
                self.report
                    .warning(&Path::Key(path, "kind"), format!("{kind} {reason}"));
            }
            Class::WrongVersion(message) => {
                self.report.error(&Path::Key(path, "apiVersion"), message);
            }
            Class::WrongKind(message) => self.report.error(&Path::Key(path, "kind"), message),
        }
        self.label(kind, map);
    }

    fn list(&mut self, map: &Map<String, Value>, path: &Path<'_>, own: Type<'_>) {
        self.refuse_unknown(map, path, LIST_FIELDS);
        let path = Path::Key(path, "items");
        let items = match map.get("items") {
            Some(Value::Array(items)) => items.as_slice(),
            Some(Value::Null) | None => &[],
            Some(other) => {
                let message = format!("must be a list, got {}", describe(other));
                return self.report.error(&path, message);
            }
        };
        let kind = own.kind.strip_suffix("List").unwrap_or_default();
        let lent = (!kind.is_empty()).then_some(Type { kind, ..own });
        for (index, item) in items.iter().enumerate() {
            self.document(item, &Path::Index(&path, index), lent);
        }
    }

    fn steering(
        &mut self,
        steering: Steering,
        map: &Map<String, Value>,
        value: &Value,
        path: &Path<'_>,
        from: usize,
    ) {
        let report = &self.report;
        let meta = metadata::read(
            map,
            path,
            self.origin.default_namespace,
            self.unknown,
            report,
        );
        let whole = SpecNode {
            value,
            path,
            unknown: Unknown::Ignore,
            report,
        };
        let spec_path = Path::Key(path, "spec");
        let absent = Value::Object(Map::new());
        let spec = map
            .get("spec")
            .filter(|spec| !spec.is_null())
            .unwrap_or(&absent);
        let part = SpecNode {
            value: spec,
            path: &spec_path,
            unknown: self.unknown,
            report,
        };
        let spec = match steering {
            Steering::VirtualService => part.decode(Spec::VirtualService),
            Steering::DestinationRule => part.decode(Spec::DestinationRule),
            Steering::Gateway => part.decode(Spec::Gateway),
            Steering::ServiceEntry => part.decode(Spec::ServiceEntry),
            Steering::WorkloadEntry => part.decode(Spec::WorkloadEntry),
            Steering::Sidecar => part.decode(Spec::Sidecar),
            Steering::PeerAuthentication => part.decode(Spec::PeerAuthentication),
            Steering::RequestAuthentication => part.decode(Spec::RequestAuthentication),
            Steering::AuthorizationPolicy => part.decode(Spec::AuthorizationPolicy),
            Steering::RateLimitPolicy => part.decode(Spec::RateLimitPolicy),
            Steering::ConfigMap => mesh_config::read(Carrier::ConfigMap, map, path, report),
            Steering::IstioOperator => mesh_config::read(Carrier::Operator, map, path, report),
            Steering::Service => whole.decode(Spec::Service),
            Steering::EndpointSlice => whole.decode(Spec::EndpointSlice),
            Steering::Secret => whole.decode(Spec::Secret),
        };
        if steering.is_strict() {
            self.refuse_unknown(map, path, FIELDS);
        }
        let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default();
        if let Some(spec) = spec {
            let source = Source {
                file: Arc::clone(self.origin.file),
                line: self.origin.line,
            };
            let resource = Resource { meta, source, spec };
            self.check(&resource, path);
            effect::warn(resource.kind(), part.value, &spec_path, &self.report);
            if !self.report.has_errors_since(from) && !self.report.is_full() {
                self.drafts.push(Draft {
                    meta: resource.meta,
                    spec: resource.spec,
                    prefix: path.segments(),
                    has_problems: self.report.len() > from,
                });
            }
        }
        self.label(kind, map);
    }

    /// What validation finds, without what it only finds because a field with a mistake was left out.
    fn check(&self, resource: &Resource, path: &Path<'_>) {
        for finding in validate(resource) {
            let mut segments = path.segments();
            segments.extend(segments_of(&finding.path));
            if !self.report.overshadows(&segments) {
                self.report
                    .add(finding.severity, segments, At::Value, finding.message);
            }
        }
    }

    fn refuse_unknown(
        &self,
        map: &Map<String, Value>,
        path: &Path<'_>,
        legal: &'static [&'static str],
    ) {
        for (name, value) in map
            .iter()
            .filter(|(name, _)| !legal.contains(&name.as_str()))
        {
            if self.unknown == Unknown::Tell {
                self.report.skipped_field(&Path::Key(path, name), value);
                continue;
            }
            let segments = Path::Key(path, name).segments();
            self.report.add(
                Severity::Error,
                segments,
                At::Key,
                unknown_field(name, legal),
            );
        }
    }

    /// Names the resource that the problems since the last label are about.
    fn label(&mut self, kind: &str, map: &Map<String, Value>) {
        if self.labels.last().map_or(0, |(upto, _)| *upto) == self.report.len() {
            return;
        }
        let text = |name| map.get("metadata")?.get(name)?.as_str();
        let namespace = text("namespace").unwrap_or(self.origin.default_namespace);
        let label = match text("name") {
            Some(name) => format!("{kind} {namespace}/{name}"),
            None => kind.to_owned(),
        };
        self.labels.push((self.report.len(), label));
    }

    fn finish(self, text: &str) -> Parsed {
        let Self {
            origin,
            unknown: _,
            report,
            drafts,
            labels,
        } = self;
        let found = report.into_found();
        let is_list = drafts.iter().any(|draft| !draft.prefix.is_empty());
        let places = (!text.is_empty() && (is_list || !found.is_empty())).then(|| Places::of(text));
        let place = |path: &[Segment], at| {
            places
                .as_ref()
                .map_or(yaml::Place::START, |places| places.find(path, at))
        };
        let items = drafts.into_iter().map(|draft| {
            let line_within = match draft.prefix.is_empty() {
                true => 0,
                false => place(&draft.prefix, At::Value).line - 1,
            };
            let source = Source {
                file: Arc::clone(origin.file),
                line: origin.line + line_within,
            };
            let resource = Resource {
                meta: draft.meta,
                source,
                spec: draft.spec,
            };
            Item {
                resource: Arc::new(resource),
                prefix: draft.prefix,
                line_within,
                has_problems: draft.has_problems,
            }
        });
        let items = items.collect();
        let problems = found.into_iter().enumerate().map(|(number, found)| {
            let yaml::Place { line, column } = place(&found.path, found.at);
            let label = labels.iter().find(|(upto, _)| number < *upto);
            Problem {
                severity: found.severity,
                file: Arc::clone(origin.file),
                line,
                column,
                resource: label.map_or_else(String::new, |(_, label)| label.clone()),
                path: text_of(&found.path),
                message: found.message,
            }
        });
        let mut problems: Vec<Problem> = problems.collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Parsed { items, problems }
    }
}

/// The part of a document that becomes the typed spec.
struct SpecNode<'n> {
    value: &'n Value,
    path: &'n Path<'n>,
    unknown: Unknown,
    report: &'n Report,
}

// === impl SpecNode ===

impl SpecNode<'_> {
    fn decode<T: DeserializeOwned>(&self, into: impl FnOnce(T) -> Spec) -> Option<Spec> {
        decode(self.value, self.path, self.unknown, self.report).map(into)
    }
}
