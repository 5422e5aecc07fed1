//! `AdmissionReview` of `admission.k8s.io/v1`: the question, and its answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Most warnings of an answer, and most characters of one: API servers cut all to 4096 characters.
const WARNINGS_MAX: usize = 16;
const WARNING_CHARS_MAX: usize = 250;
/// Most characters of a refusal: it is shown in terminals, and kept in events.
const MESSAGE_CHARS_MAX: usize = 8_192;

/// The part of a question that is looked at.
#[derive(Debug)]
pub(super) struct Asked {
    /// What the answer must say again.
    pub(super) uid: String,
    pub(super) operation: Operation,
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Who wants it.
    pub(super) user: String,
    /// Null where there is none, as in deletions.
    pub(super) object: Value,
}

/// What is to be done with the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Update,
    /// Deletions, connections, and what there may be one day.
    Other,
}

/// What is said of an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It may be stored.
    Allowed { warnings: Vec<String> },
    /// It may be stored with these changes (RFC 6902).
    Changed { patch: Value },
    /// It may not.
    Refused {
        message: String,
        warnings: Vec<String>,
    },
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) uid: String,
    pub(super) verdict: Verdict,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: Kind,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    operation: String,
    #[serde(default)]
    user_info: User,
    #[serde(default)]
    object: Value,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    kind: String,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

// === impl Asked ===

impl Asked {
    /// Reads a question.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let review: Review = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if review.api_version != API_VERSION || review.kind != KIND {
            return Err("apiVersion or kind is another".to_owned());
        }
        let request = review.request.ok_or("it has no request")?;
        let name = match request.name.as_str() {
            "" => request.object["metadata"]["generateName"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            _ => request.name,
        };
        Ok(Self {
            uid: request.uid,
            operation: match request.operation.as_str() {
                "CREATE" => Operation::Create,
                "UPDATE" => Operation::Update,
                _ => Operation::Other,
            },
            group: request.kind.group,
            kind: request.kind.kind,
            namespace: request.namespace,
            name,
            user: request.user_info.username,
            object: request.object,
        })
    }
}

// === impl Verdict ===

impl Verdict {
    /// There is nothing to say.
    pub(super) const fn allowed() -> Self {
        Self::Allowed {
            warnings: Vec::new(),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// A "no" with its reason.
    pub(super) fn refusal(uid: String, message: String) -> Self {
        let warnings = Vec::new();
        Self {
            uid,
            verdict: Verdict::Refused { message, warnings },
        }
    }

    /// The answer as it is sent.
    pub(super) fn body(&self) -> String {
        let mut response = Map::new();
        response.insert("uid".to_owned(), json!(self.uid));
        let mut insert = |name: &str, value: Value| response.insert(name.to_owned(), value);
        let warnings = match &self.verdict {
            Verdict::Allowed { warnings } => {
                insert("allowed", json!(true));
                warnings.as_slice()
            }
            Verdict::Changed { patch } => {
                insert("allowed", json!(true));
                insert("patchType", json!("JSONPatch"));
                insert("patch", json!(STANDARD.encode(patch.to_string())));
                &[]
            }
            Verdict::Refused { message, warnings } => {
                insert("allowed", json!(false));
                let message = cut(message, MESSAGE_CHARS_MAX);
                let status = json!({"code": 422, "reason": "Invalid", "message": message});
                insert("status", status);
                warnings.as_slice()
            }
        };
        if !warnings.is_empty() {
            let warnings = warnings.iter().take(WARNINGS_MAX);
            let warnings = warnings.map(|warning| cut(warning, WARNING_CHARS_MAX));
            insert("warnings", warnings.collect());
        }
        json!({"apiVersion": API_VERSION, "kind": KIND, "response": response}).to_string()
    }
}

/// A text of at most that many characters.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
