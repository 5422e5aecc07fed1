//! JSON schemas to what Kubernetes calls structural: every value has one type, and unions are only those
//! of numbers with texts.
//!
//! Nothing is said of null: an API server takes a field away that is null and need not be, which is what
//! null means where documents are read. Defaults are left out: whoever reads a resource must see what was
//! written.

use serde_json::{Map, Value, json};

/// Bounds of a number that `format` cannot say to an API server.
const UINT32_MAX: u64 = u32::MAX as u64;
/// Where the meanings of words are kept until the description of the field is known.
const VARIANTS: &str = "x-variants";

/// The structural form of a schema of an object.
pub(super) fn of(schema: &Value) -> Value {
    Value::Object(node(schema))
}

fn node(schema: &Value) -> Map<String, Value> {
    let Value::Object(written) = schema else {
        return anything();
    };
    let mut node = match (written.get("anyOf"), written.get("oneOf")) {
        (Some(Value::Array(branches)), _) => union(branches),
        (_, Some(Value::Array(branches))) => words(branches),
        _ => plain(written),
    };
    // What is said of a field counts for more than what is said of its type.
    if let Some(Value::String(text)) = written.get("description") {
        node.shift_insert(0, "description".to_owned(), json!(one_line(text)));
    }
    for (name, value) in written.iter().filter(|(name, _)| name.starts_with("x-")) {
        node.insert(name.clone(), value.clone());
    }
    node
}

/// One of several types: with null, or a number with a text.
fn union(branches: &[Value]) -> Map<String, Value> {
    let is = |branch: &Value, name: &str| branch.get("type") == Some(&json!(name));
    let typed: Vec<&Value> = branches.iter().filter(|it| !is(it, "null")).collect();
    match typed.as_slice() {
        [one] => node(one),
        [number, text] if is(number, "integer") && is(text, "string") => {
            from(json!({"x-kubernetes-int-or-string": true}))
        }
        // A fraction or a text has no type of its own; whether it is one is judged by the webhook.
        _ => anything(),
    }
}

/// Words, each with what it means.
fn words(branches: &[Value]) -> Map<String, Value> {
    let mut legal = Vec::new();
    let mut meanings = Vec::new();
    for branch in branches {
        if let Some(Value::Array(words)) = branch.get("enum") {
            legal.extend(words.iter().cloned());
        }
        let Some(word) = branch.get("const") else {
            continue;
        };
        legal.push(word.clone());
        if let (Some(word), Some(meaning)) = (word.as_str(), branch.get("description")) {
            let meaning = one_line(meaning.as_str().unwrap_or_default());
            meanings.push(format!("{word}: {meaning}"));
        }
    }
    from(json!({"type": "string", "enum": legal, VARIANTS: meanings.join(" ")}))
}

fn plain(written: &Map<String, Value>) -> Map<String, Value> {
    let kind = match written.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            kinds.find(|kind| *kind != "null").unwrap_or_default()
        }
        _ => "",
    };
    let mut node = match kind {
        "object" => object(written),
        "array" => {
            let items = written.get("items").map_or_else(anything, self::node);
            from(json!({"type": "array", "items": without_variants(items)}))
        }
        "integer" | "number" => number(kind, written),
        "" => anything(),
        _ => from(json!({"type": kind})),
    };
    for name in ["enum", "pattern", "minLength", "maxLength"] {
        if let Some(value) = written.get(name) {
            node.insert(name.to_owned(), value.clone());
        }
    }
    node
}

fn object(written: &Map<String, Value>) -> Map<String, Value> {
    let mut node = from(json!({"type": "object"}));
    if let Some(Value::Object(fields)) = written.get("properties") {
        let fields: Map<String, Value> = fields
            .iter()
            .map(|(name, schema)| (name.clone(), field(schema)))
            .collect();
        node.insert("properties".to_owned(), Value::Object(fields));
    } else if let Some(schema @ Value::Object(_)) = written.get("additionalProperties") {
        node.insert("additionalProperties".to_owned(), field(schema));
    }
    node
}

fn field(schema: &Value) -> Value {
    Value::Object(without_variants(node(schema)))
}

fn number(kind: &str, written: &Map<String, Value>) -> Map<String, Value> {
    let mut node = from(json!({"type": kind}));
    match written.get("format").and_then(Value::as_str) {
        Some(format @ ("int32" | "int64" | "double")) => {
            node.insert("format".to_owned(), json!(format));
        }
        Some("uint32") => {
            node.insert("minimum".to_owned(), json!(0));
            node.insert("maximum".to_owned(), json!(UINT32_MAX));
        }
        Some(_) | None => {}
    }
    node
}

fn anything() -> Map<String, Value> {
    from(json!({"x-kubernetes-preserve-unknown-fields": true}))
}

/// With the meanings of words at the end of the description.
fn without_variants(mut node: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::String(meanings)) = node.remove(VARIANTS) {
        let text = match node.get("description").and_then(Value::as_str) {
            Some(text) => format!("{text} {meanings}"),
            None => meanings,
        };
        node.shift_insert(0, "description".to_owned(), json!(text));
    }
    node
}

/// Lines of one paragraph as one.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

fn from(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
