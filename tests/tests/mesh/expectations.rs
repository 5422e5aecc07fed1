//! `meshproxy test`: tests of one's own configuration, as a pipeline of CI runs them.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use tests::binary::run;
use tests::yaml::{self, Service};

/// A folder with a configuration and a file of tests.
struct Suite(TempDir);

// === impl Suite ===

impl Suite {
    fn with(tests: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let addr = ([192, 0, 2, 1], 80).into();
        let rules = "  - match: [{uri: {prefix: /api}}]\n    \
                     route: [{destination: {host: shop.test, subset: v1}}]\n";
        let mesh = [
            Service::new("shop.test").version(addr, "v1").to_string(),
            yaml::subsets("shop.test", &["v1"]),
            yaml::routes("shop.test", rules).replace("gateways: [edge]", "gateways: [mesh]"),
        ];
        fs::create_dir(folder.path().join("mesh")).expect("a folder can be made");
        let file = folder.path().join("mesh/shop.yaml");
        fs::write(file, mesh.concat()).expect("a temporary file can be written");
        let tests = format!("config: [mesh]\ntests:\n{tests}");
        fs::write(folder.path().join("tests.yaml"), tests).expect("a file can be written");
        Self(folder)
    }

    /// The exit code of the tests and what was printed.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let file = self.0.path().join("tests.yaml");
        let file = file.to_str().expect("a path in ASCII");
        let output = run(&[&["test", file], arguments].concat()).await;
        let folder = format!("{}/", self.0.path().display());
        let stdout = String::from_utf8_lossy(&output.stdout).replace(&folder, "");
        (output.status.code(), stdout)
    }
}

const PASSES: &str = "
- name: the interface is served by v1
  request: {url: 'http://shop.test/api/items'}
  expect: {subset: v1}
";
const FAILS: &str = "
- name: everything is served
  request: {url: 'http://shop.test/'}
  expect: {subset: v1}
";

#[tokio::test]
async fn tests_that_pass_exit_with_0() {
    let (code, told) = Suite::with(PASSES).run(&[]).await;

    assert_eq!(told, "ok    the interface is served by v1\nok: 1 passed\n");
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_test_that_fails_says_how_and_exits_with_1() {
    let suite = Suite::with(&format!("{PASSES}{FAILS}"));

    let (code, told) = suite.run(&[]).await;

    assert_eq!(code, Some(1));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines,
        [
            "ok    the interface is served by v1",
            "FAIL  everything is served (tests.yaml:8)",
            "        subset: expected v1, got 404 route_not_found",
            "1 of 2 failed",
        ]
    );
    let (code, told) = suite.run(&["-o", "json"]).await;
    assert_eq!(code, Some(1));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["passed"], &told["failed"]), (&1.into(), &1.into()));
    assert_eq!(told["tests"][1]["differences"][0]["field"], "subset");
}

#[tokio::test]
async fn a_mistake_in_the_tests_is_told_with_its_place_and_exits_with_1() {
    let suite = Suite::with("- {name: a, request: {url: shop.test}, expect: {subsett: v1}}\n");

    let (code, told) = suite.run(&[]).await;

    assert_eq!(code, Some(1));
    let expected =
        "tests.yaml:3:49: tests[0].expect.subsett: unknown field `subsett`, did you mean `subset`?";
    assert_eq!(told.lines().next(), Some(expected));
}
