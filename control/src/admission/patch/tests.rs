use proptest::prelude::*;

use super::*;

/// Applies what `between` writes: operations on objects, and replacements anywhere.
fn apply(mut object: Value, patch: &Value) -> Value {
    for operation in patch.as_array().expect("a list") {
        let path = operation["path"].as_str().expect("a text");
        if path.is_empty() {
            object = operation["value"].clone();
            continue;
        }
        let (parent, step) = path.rsplit_once('/').expect("a path begins with a slash");
        let parent = object.pointer_mut(parent).expect("it is there");
        let name = step.replace("~1", "/").replace("~0", "~");
        match (operation["op"].as_str(), parent) {
            (Some("remove"), Value::Object(map)) => {
                map.shift_remove(&name).expect("it was there");
            }
            (Some("add"), Value::Object(map)) => {
                let old = map.insert(name, operation["value"].clone());
                assert_eq!(old, None);
            }
            (Some("replace"), Value::Object(map)) => {
                let old = map.insert(name, operation["value"].clone());
                assert!(old.is_some());
            }
            (Some("replace"), Value::Array(items)) => {
                let index: usize = name.parse().expect("a number");
                items[index] = operation["value"].clone();
            }
            (operation, parent) => panic!("{operation:?} at {parent}"),
        }
    }
    object
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop::sample::select(vec!["a", "b/c", "d~e", "~1", ""]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn a_patch_makes_the_one_of_the_other(before in values(), after in values()) {
        let patch = between(&before, &after);

        prop_assert_eq!(apply(before, &patch), after);
    }

    #[test]
    fn what_is_the_same_needs_no_patch(value in values()) {
        prop_assert_eq!(between(&value, &value), json!([]));
    }
}

#[test]
fn names_with_slashes_and_tildes_are_escaped() {
    let patch = between(&json!({}), &json!({"a/b~c": 1}));

    assert_eq!(patch[0]["path"], "/a~1b~0c");
}
