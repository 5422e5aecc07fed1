use super::*;

const SECRET: &str = r#"{"apiVersion": "v1", "kind": "Secret",
    "metadata": {"name": "front", "namespace": "b"}, "stringData": {"tls.key": "very secret"}}"#;

fn state() -> State {
    let mut state = State::default();
    let told = Told {
        name: "Secret/b/front",
        version: "7",
        document: SECRET,
    };
    let applied = state
        .store
        .apply(Share::Resources, std::iter::once(told), &[]);
    assert!(applied.expect("few").changed);
    let demand: Demand = "host:reviews".parse().expect("a demand");
    state.book.restore(demand, true, Instant::now());
    state.locality = Some("north/n1".into());
    state
}

#[test]
fn what_was_written_is_read_again_with_versions_and_demands() {
    let text = written(&state(), "a.b");

    let read = parse(&text, "a.b").expect("our own");

    assert_eq!(written(&read, "a.b"), text);
    assert_eq!(read.store.versions(Share::Resources)[0].1, "7");
    assert_eq!(read.book.count().found, 1);
    assert_eq!(read.locality.as_deref(), Some("north/n1"));
}

#[test]
fn what_is_torn_or_of_somebody_else_is_not_used() {
    let text = written(&state(), "a.b");

    for cut in (0..text.len()).step_by(7) {
        assert!(parse(&text[..cut], "a.b").is_err(), "{cut}");
    }
    assert!(parse(&text.replace("front", "fresh"), "a.b").is_err());
    assert!(matches!(parse(&text, "c.b"), Err(Unusable::Foreign(_))));
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    assert!(matches!(parse(&newer, "a.b"), Err(Unusable::Format(2))));
}

#[test]
fn another_program_gets_everything_told_again_and_what_is_gone() {
    let text = written(&state(), "a.b");
    let program = format!("\"program\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let other = text.replacen(&program, "\"program\":\"0.0.0\"", 1);

    let read = parse(&other, "a.b").expect("ours");

    assert_eq!(read.store.len(), 1);
    // By name, so that it is told, too, what is gone.
    let versions = read.store.versions(Share::Resources);
    assert_eq!(versions, [("Secret/b/front".to_owned(), String::new())]);
}

#[test]
fn only_the_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("below").join("resources.jsonl");

    replace(&path, "first").expect("written");
    replace(&path, "second").expect("replaced");

    assert_eq!(fs::read_to_string(&path).expect("a file"), "second");
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(start_paused = true)]
async fn what_changes_all_the_time_is_written_now_and_then_and_nothing_twice() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("resources.jsonl");
    let copied = Copied::of(&state());
    let first = write_changed(&path, &copied, "a.b", None).expect("written");
    fs::remove_file(&path).expect("a file");

    let again = write_changed(&path, &copied, "a.b", Some(&first)).expect("the same");
    assert_eq!(again, first);
    assert!(!path.exists(), "it was written before");

    let shared = Shared {
        state: Arc::new(std::sync::Mutex::new(state())),
        changed: tokio::sync::watch::Sender::new(()),
    };
    let keeping = tokio::spawn(Disk::new(path.clone(), "a.b").keep(shared.clone()));
    let mut writings = 0;
    let mut before = None;
    for second in 0..60 {
        let demand: Demand = format!("host:a{second}").parse().expect("a demand");
        shared.locked().book.restore(demand, true, Instant::now());
        shared.changed.send_replace(());
        sleep(Duration::from_secs(1)).await;
        let text = fs::read_to_string(&path).ok();
        writings += usize::from(text != before);
        before = text;
    }
    keeping.abort();
    assert!((1..=12).contains(&writings), "{writings}");
}
