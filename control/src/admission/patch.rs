//! What makes one object of another, as a JSON patch (RFC 6902).
//!
//! Lists are compared item by item as far as they are as long; one of another length is replaced as a
//! whole. That is longer than need be and simple to trust.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

/// The operations that make `after` of `before`.
pub(super) fn between(before: &Value, after: &Value) -> Value {
    let mut operations = Vec::new();
    compare(before, after, &mut String::new(), &mut operations);
    Value::Array(operations)
}

fn compare(before: &Value, after: &Value, path: &mut String, operations: &mut Vec<Value>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                at(path, name, |path| {
                    operations.push(json!({"op": "remove", "path": path}));
                });
            }
            for (name, value) in new {
                at(path, name, |path| match old.get(name) {
                    Some(old) => compare(old, value, path, operations),
                    None => operations.push(json!({"op": "add", "path": path, "value": value})),
                });
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                at(path, &index.to_string(), |path| {
                    compare(old, new, path, operations);
                });
            }
        }
        (before, after) if before == after => {}
        (_, after) => operations.push(json!({"op": "replace", "path": path, "value": after})),
    }
}

/// With a step (RFC 6901) at the end of the path.
fn at(path: &mut String, step: &str, then: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push('/');
    path.push_str(&step.replace('~', "~0").replace('/', "~1"));
    then(path);
    path.truncate(length);
}
