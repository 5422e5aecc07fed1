//! What the JSON schemas that are derived from types do not say by themselves.

use schemars::Schema;
use serde_json::Value;

/// Gives a field a second spelling, as its `serde(alias)` does.
pub(crate) fn also_spelt(field: &'static str, other: &'static str) -> impl FnMut(&mut Schema) {
    move |schema| {
        let Some(Value::Object(properties)) = schema.get_mut("properties") else {
            return;
        };
        if let Some(property) = properties.get(field).cloned() {
            properties.insert(other.to_owned(), property);
        }
    }
}
