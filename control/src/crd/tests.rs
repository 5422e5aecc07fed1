use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/meshproxy/crds")
}

fn definition(kind: &str) -> Value {
    let mut all = definitions().into_iter().map(|it| it.object);
    all.find(|object| object["spec"]["names"]["kind"] == kind)
        .expect("the kind is defined")
}

fn spec(kind: &str) -> Value {
    let object = definition(kind);
    object["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

fn each_schema(schema: &Value, judge: &mut impl FnMut(&Value)) {
    judge(schema);
    for (name, value) in schema.as_object().into_iter().flatten() {
        match name.as_str() {
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                fields.for_each(|(_, field)| each_schema(field, judge));
            }
            "items" | "additionalProperties" => each_schema(value, judge),
            _ => {}
        }
    }
}

#[test]
fn the_definitions_of_the_chart_are_those_of_today() {
    let mut files: Vec<String> = fs::read_dir(folder())
        .expect("the chart has a folder of definitions")
        .map(|entry| entry.expect("it can be listed").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut expected = Vec::new();
    for definition in definitions() {
        let name = format!("{}.yaml", definition.name);
        let file = fs::read_to_string(folder().join(&name)).unwrap_or_default();

        assert!(
            file == definition.print(),
            "{name} is stale: run `meshcontrol crds --dir charts/meshproxy/crds`"
        );
        expected.push(name);
    }
    expected.sort();
    assert_eq!(files, expected);
}

#[test]
fn every_value_has_one_type_or_says_that_it_is_open() {
    for object in definitions().into_iter().map(|it| it.object) {
        for version in object["spec"]["versions"].as_array().expect("a list") {
            each_schema(&version["schema"]["openAPIV3Schema"], &mut |schema| {
                let is_typed = schema["type"].is_string();
                let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true
                    || schema["x-kubernetes-int-or-string"] == true;
                assert!(is_typed || is_open, "{schema}");
                for name in ["$ref", "anyOf", "oneOf", "default", "title", "x-variants"] {
                    assert!(schema.get(name).is_none(), "{name} in {schema}");
                }
            });
        }
    }
}

#[test]
fn fields_are_described_by_the_comments_of_their_types() {
    let route = &spec("VirtualService")["properties"]["http"]["items"]["properties"];

    let text = route["timeout"]["description"].as_str().expect("a text");
    assert!(text.starts_with("Limit of the whole request"), "{text}");
    let cors = &route["corsPolicy"]["properties"]["unmatchedPreflights"];
    let text = cors["description"].as_str().expect("a text");
    assert!(text.contains("IGNORE: Answer them here"), "{text}");
}

#[test]
fn old_spellings_are_fields_too() {
    let route = &spec("VirtualService")["properties"]["http"]["items"]["properties"];
    let rule = &spec("RequestAuthentication")["properties"]["jwtRules"]["items"]["properties"];

    assert_eq!(route["mirror_percent"], route["mirrorPercent"]);
    assert_eq!(rule["jwks_uri"], rule["jwksUri"]);
}

#[test]
fn wide_numbers_may_be_texts() {
    let policy = &spec("DestinationRule")["properties"]["trafficPolicy"]["properties"];

    let hash = &policy["loadBalancer"]["properties"]["consistentHash"]["properties"];
    let size = &hash["minimumRingSize"];
    assert_eq!(size["x-kubernetes-int-or-string"], true);
}

#[test]
fn each_definition_can_be_applied_by_clients_that_keep_what_they_applied() {
    // `kubectl apply` writes the whole object into an annotation, and objects have at most 256 KiB of
    // them.
    for definition in definitions() {
        let bytes = definition.object.to_string().len();
        assert!(bytes < 250_000, "{}: {bytes}", definition.name);
    }
}

#[test]
fn exactly_the_newest_version_is_stored() {
    for object in definitions().into_iter().map(|it| it.object) {
        let versions = object["spec"]["versions"].as_array().expect("a list");
        let stored: Vec<bool> = versions.iter().map(|it| it["storage"] == true).collect();

        assert!(stored[0] && stored[1..].iter().all(|it| !it), "{object}");
    }
}
