//! The examples that people start from.

use std::path::Path;

use tests::binary::run;

#[tokio::test]
async fn every_scenario_of_bookinfo_passes_the_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo/scenarios");
    let files = std::fs::read_dir(&folder).expect("the example has scenarios");
    let mut checked = 0;
    for file in files {
        let path = file.expect("a readable folder").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let output = run(&["check".as_ref(), path.as_os_str()]).await;

        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}: {told}", path.display());
        checked += 1;
    }
    assert!(checked >= 6, "{checked} scenarios");
}
