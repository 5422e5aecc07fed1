use super::*;

const RULE: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME}
spec:
  hosts: [a]
  http: [{route: [{destination: {host: b}}]}]
";

fn rules(names: &[&str]) -> String {
    let rules: Vec<String> = names
        .iter()
        .map(|name| RULE.replace("NAME", name))
        .collect();
    rules.join("---\n")
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn lines(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_reload_keeps_the_resources_of_unchanged_documents() {
    let folder = tempfile::tempdir().unwrap();
    let path = [write(folder.path(), "a.yaml", &rules(&["a", "b", "c"]))];
    let mut loader = Loader::new("default");
    let before = loader.load(&path);

    let changed = rules(&["a", "b", "c"]).replacen("host: b", "host: other", 1);
    write(folder.path(), "a.yaml", &changed);
    let after = loader.load(&path);

    assert!(!Arc::ptr_eq(&before.resources[0], &after.resources[0]));
    assert!(Arc::ptr_eq(&before.resources[1], &after.resources[1]));
    assert!(Arc::ptr_eq(&before.resources[2], &after.resources[2]));
}

#[test]
fn a_document_that_only_moved_keeps_its_resource() {
    let folder = tempfile::tempdir().unwrap();
    let path = [write(folder.path(), "a.yaml", &rules(&["a", "b"]))];
    let mut loader = Loader::new("default");
    let before = loader.load(&path);

    write(
        folder.path(),
        "a.yaml",
        &format!("# comment\n{}", rules(&["b", "a"])),
    );
    let after = loader.load(&path);

    assert!(Arc::ptr_eq(&before.resources[0], &after.resources[1]));
    assert!(Arc::ptr_eq(&before.resources[1], &after.resources[0]));
}

#[test]
fn problems_and_the_resources_that_have_them_move_with_their_document() {
    let folder = tempfile::tempdir().unwrap();
    let warned = RULE.replace("http: [{", "http: [{match: [{statPrefix: x}], ");
    let path = [write(folder.path(), "a.yaml", &warned)];
    let mut loader = Loader::new("default");
    let before = loader.load(&path);

    write(folder.path(), "a.yaml", &format!("\n\n{warned}"));
    let after = loader.load(&path);

    assert_eq!(before.problems[0].line + 2, after.problems[0].line);
    assert_eq!(after.resources[0].source.line, 3);
}

#[test]
fn a_name_may_be_used_once_and_the_problem_names_the_first_place() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", &rules(&["x", "same"]));
    let second = write(folder.path(), "b.yaml", &rules(&["same"]));

    let loaded = Loader::new("default").load(&[folder.path().to_owned()]);

    let (first, second) = (folder.path().join("a.yaml"), second.display());
    assert_eq!(
        lines(&loaded),
        [format!(
            "{second}:3:18: metadata.name: VirtualService default/same is already defined at {}:8",
            first.display()
        )]
    );
    assert_eq!(loaded.resources.len(), 2);
}

#[test]
fn folders_are_read_by_name_and_through_the_links_of_a_config_map() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("..2024");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    write(&data, "m.yaml", &rules(&["m"]));
    std::os::unix::fs::symlink("..2024", folder.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/m.yaml", folder.path().join("m.yaml")).unwrap();
    std::os::unix::fs::symlink("..", folder.path().join("sub/loop")).unwrap();
    write(&folder.path().join("sub"), "z.yml", &rules(&["z"]));
    write(folder.path(), "a.json", &rules(&["a"]));
    write(folder.path(), "notes.txt", "not: read");
    write(folder.path(), ".hidden.yaml", "not: read");

    let loaded = Loader::new("default").load(&[folder.path().to_owned()]);

    let names: Vec<&str> = loaded
        .resources
        .iter()
        .map(|r| r.meta.name.as_str())
        .collect();
    assert_eq!(lines(&loaded), [""; 0]);
    assert_eq!(names, ["a", "m", "z"]);
}

#[test]
fn paths_without_documents_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let empty = write(folder.path(), "empty.yaml", "# nothing\n---\n");
    let bare = folder.path().join("bare");
    std::fs::create_dir(&bare).unwrap();
    let missing = folder.path().join("missing");
    let binary = folder.path().join("binary.yaml");
    std::fs::write(&binary, b"a: \xff").unwrap();

    let loaded = Loader::new("default").load(&[empty, bare, missing, binary]);

    let messages: Vec<&str> = loaded.problems.iter().map(|p| p.message.as_str()).collect();
    assert!(loaded.has_errors());
    for wanted in [
        "has no documents",
        "has no *.yaml, *.yml or *.json file",
        "does not exist",
        "is not UTF-8 text: byte 4",
    ] {
        assert!(messages.contains(&wanted), "{wanted} in {messages:?}");
    }
}

#[test]
fn items_of_a_list_have_lines_of_their_own() {
    let item =
        |name| format!("- {{metadata: {{name: {name}}}, spec: {{egress: [{{hosts: ['*/*']}}]}}}}");
    let list = "apiVersion: networking.istio.io/v1\nkind: SidecarList\nitems:";
    let list = format!("{list}\n{}\n{}\n", item("a"), item("b"));

    let loaded = parse("x.yaml", &format!("---\n{list}"), "default");

    let lines: Vec<u32> = loaded
        .resources
        .iter()
        .map(|resource| resource.source.line)
        .collect();
    assert_eq!(lines, [5, 6]);
}

#[test]
fn byte_order_marks_and_windows_lines_do_not_shift_places() {
    let text = RULE.replace("hosts: [a]", "hosts: 5").replace('\n', "\r\n");
    for marks in ["\u{feff}", "\u{feff}\u{feff}"] {
        let loaded = parse("x.yaml", &format!("{marks}{text}"), "default");

        assert_eq!(
            lines(&loaded),
            ["x.yaml:5:10: spec.hosts: must be a list, got the number 5"]
        );
    }
    let nothing = parse("x.yaml", "", "default");
    let marks = parse("x.yaml", "\u{feff}\u{feff}\u{feff}", "default");
    assert_eq!(lines(&marks), lines(&nothing));
}
