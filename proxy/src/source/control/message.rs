//! The messages of the incremental transport of xDS, as far as they are used.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::protobuf::{Fields, Malformed, Message, Value};

/// Most resources, and most removals, of one response.
const RESOURCES_MAX: usize = 200_000;
/// Code of a status that rejects: an argument is invalid.
const INVALID_ARGUMENT: u64 = 3;

/// Fields of `DeltaDiscoveryRequest`.
const NODE: u32 = 1;
const TYPE_URL: u32 = 2;
const SUBSCRIBE: u32 = 3;
const UNSUBSCRIBE: u32 = 4;
const INITIAL_VERSIONS: u32 = 5;
const RESPONSE_NONCE: u32 = 6;
const ERROR_DETAIL: u32 = 7;

/// Fields of `DeltaDiscoveryResponse`.
const SYSTEM_VERSION: u32 = 1;
const RESOURCES: u32 = 2;
const RESPONSE_TYPE_URL: u32 = 4;
const NONCE: u32 = 5;
const REMOVED: u32 = 6;

/// Fields of `Resource`, and of the `Any` in it.
const VERSION: u32 = 1;
const RESOURCE: u32 = 2;
const NAME: u32 = 3;
const ANY_VALUE: u32 = 2;

/// Fields of `Node`, of its locality, and of a status.
const NODE_ID: u32 = 1;
const NODE_CLUSTER: u32 = 2;
const NODE_METADATA: u32 = 3;
const NODE_LOCALITY: u32 = 4;
const USER_AGENT_NAME: u32 = 6;
const USER_AGENT_VERSION: u32 = 7;
const REGION: u32 = 1;
const ZONE: u32 = 2;
const SUB_ZONE: u32 = 3;
const CODE: u32 = 1;
const MESSAGE: u32 = 2;

/// Fields of `google.protobuf.Struct`, of its entries, and of their values.
const FIELDS: u32 = 1;
const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING_VALUE: u32 = 3;
const STRUCT_VALUE: u32 = 5;

/// Fields of `Document`, of `Answer` and of `Workload`.
const JSON: u32 = 1;
const FOUND: u32 = 1;
const LOCALITY: u32 = 1;

/// Who this proxy is, as it tells the control plane.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// `name.namespace`.
    pub(super) id: String,
    pub(super) cluster: String,
    /// What it says of itself by name.
    pub(super) metadata: Vec<(&'static str, String)>,
    pub(super) labels: BTreeMap<String, String>,
    /// Region, zone and part of the zone; empty if not known.
    pub(super) locality: [String; 3],
}

/// What a proxy sends.
#[derive(Debug, Default)]
pub(super) struct Request<'r> {
    /// With the first request of a stream.
    pub(super) node: Option<&'r Node>,
    pub(super) type_url: &'r str,
    pub(super) subscribe: Vec<String>,
    pub(super) unsubscribe: Vec<String>,
    /// Names and versions of what it has from before.
    pub(super) versions: Vec<(String, String)>,
    /// The response that it answers; empty if none.
    pub(super) nonce: &'r str,
    /// What is to be said of that response.
    pub(super) remark: Option<Remark>,
}

/// What is said of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark {
    /// Whether something in it could not be used.
    pub(super) rejects: bool,
    pub(super) message: String,
}

/// What a control plane sends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Response<'m> {
    /// Of the whole, with the last of what is told in several responses; empty with the others.
    pub(super) system_version: &'m str,
    pub(super) type_url: &'m str,
    pub(super) nonce: &'m str,
    pub(super) resources: Vec<Resource<'m>>,
    pub(super) removed: Vec<&'m str>,
}

/// One resource in a response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resource<'m> {
    pub(super) name: &'m str,
    pub(super) version: &'m str,
    /// The message within.
    pub(super) body: &'m [u8],
}

// === impl Request ===

impl Request<'_> {
    /// In its frame.
    pub(super) fn framed(&self) -> Bytes {
        let mut message = Message::default();
        if let Some(node) = self.node {
            message.message(NODE, &node.message());
        }
        message.text(TYPE_URL, self.type_url);
        for name in &self.subscribe {
            message.text(SUBSCRIBE, name);
        }
        for name in &self.unsubscribe {
            message.text(UNSUBSCRIBE, name);
        }
        for (name, version) in &self.versions {
            message.entry(INITIAL_VERSIONS, name, version);
        }
        message.text(RESPONSE_NONCE, self.nonce);
        if let Some(remark) = &self.remark {
            let mut status = Message::default();
            if remark.rejects {
                status.number(CODE, INVALID_ARGUMENT);
            }
            status.text(MESSAGE, &remark.message);
            message.message(ERROR_DETAIL, &status);
        }
        message.framed()
    }
}

// === impl Node ===

impl Node {
    fn message(&self) -> Message {
        let mut message = Message::default();
        message.text(NODE_ID, &self.id);
        message.text(NODE_CLUSTER, &self.cluster);
        let mut metadata = Message::default();
        for (name, value) in &self.metadata {
            metadata.message(FIELDS, &field(name, &text_value(value)));
        }
        let mut labels = Message::default();
        for (name, value) in &self.labels {
            labels.message(FIELDS, &field(name, &text_value(value)));
        }
        let mut value = Message::default();
        value.message(STRUCT_VALUE, &labels);
        metadata.message(FIELDS, &field("LABELS", &value));
        message.message(NODE_METADATA, &metadata);
        let mut locality = Message::default();
        for (number, part) in [REGION, ZONE, SUB_ZONE].into_iter().zip(&self.locality) {
            locality.text(number, part);
        }
        message.message(NODE_LOCALITY, &locality);
        message.text(USER_AGENT_NAME, "meshproxy");
        message.text(USER_AGENT_VERSION, env!("CARGO_PKG_VERSION"));
        message
    }
}

fn text_value(text: &str) -> Message {
    let mut value = Message::default();
    value.bytes(STRING_VALUE, text);
    value
}

fn field(name: &str, value: &Message) -> Message {
    let mut field = Message::default();
    field.text(KEY, name);
    field.message(VALUE, value);
    field
}

// === impl Response ===

impl<'m> Response<'m> {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// If it is none, or has more in it than a response may have.
    pub(crate) fn read(message: &'m [u8]) -> Result<Self, Malformed> {
        let mut response = Self::default();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                RESOURCES => response.resources.push(Resource::read(value)?),
                SYSTEM_VERSION => response.system_version = value.text()?,
                RESPONSE_TYPE_URL => response.type_url = value.text()?,
                NONCE => response.nonce = value.text()?,
                REMOVED => response.removed.push(value.text()?),
                _ => {}
            }
            if response.resources.len().max(response.removed.len()) > RESOURCES_MAX {
                return Err(Malformed);
            }
        }
        Ok(response)
    }
}

// === impl Resource ===

impl<'m> Resource<'m> {
    fn read(value: Value<'m>) -> Result<Self, Malformed> {
        let mut resource = Self::default();
        let mut fields = value.fields()?;
        while let Some((field, value)) = fields.next()? {
            match field {
                VERSION => resource.version = value.text()?,
                NAME => resource.name = value.text()?,
                RESOURCE => {
                    let mut any = value.fields()?;
                    while let Some((field, value)) = any.next()? {
                        if let (ANY_VALUE, Value::Bytes(body)) = (field, value) {
                            resource.body = body;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(resource)
    }

    /// The text of a `Document`.
    pub(super) fn document(&self) -> Result<&'m str, Malformed> {
        self.text(JSON)
    }

    /// Where a `Workload` is; empty if it does not say.
    pub(super) fn locality(&self) -> Result<&'m str, Malformed> {
        self.text(LOCALITY)
    }

    fn text(&self, wanted: u32) -> Result<&'m str, Malformed> {
        let mut text = "";
        let mut fields = Fields::of(self.body);
        while let Some((field, value)) = fields.next()? {
            if field == wanted {
                text = value.text()?;
            }
        }
        Ok(text)
    }

    /// Whether an `Answer` says that there is such a thing.
    pub(super) fn is_found(&self) -> Result<bool, Malformed> {
        let mut found = false;
        let mut fields = Fields::of(self.body);
        while let Some((field, value)) = fields.next()? {
            if let (FOUND, Value::Number(number)) = (field, value) {
                found = number != 0;
            }
        }
        Ok(found)
    }
}
