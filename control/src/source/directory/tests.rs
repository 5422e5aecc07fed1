use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// A change must be told within a second; the rest is for a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

fn entry(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
         spec: {{hosts: [{host}], ports: [{{number: 80, name: http, protocol: HTTP}}], \
         resolution: DNS}}\n"
    )
}

fn policy(ports: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p}}\n\
         spec: {{action: DENY, rules: [{{to: [{{operation: {{ports: [{ports}]}}}}]}}]}}\n"
    )
}

/// A folder with these files, and a look at it.
struct Written {
    dir: TempDir,
    folder: Folder,
    start: Instant,
}

impl Written {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let written = Self {
            folder: Folder::new(dir.path().to_owned()),
            dir,
            start: Instant::now(),
        };
        files
            .iter()
            .for_each(|(name, text)| written.write(name, text));
        written
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("removed");
    }

    /// What is told of the files as they are, so many milliseconds after the beginning.
    fn look(&mut self, ms: u64) -> Option<Vec<String>> {
        let now = self.start + Duration::from_millis(ms);
        let trigger = match self.folder.settle.due() {
            Some(due) if due <= now => Trigger::Settled,
            Some(_) | None => Trigger::Files,
        };
        Some(names(&self.folder.look(trigger, now)?))
    }

    /// The host of an entry that is in force.
    fn host(&self, name: &str) -> Option<String> {
        let told = self.folder.told.as_ref()?;
        let resource = told.resources.iter().find(|it| it.meta.name == name)?;
        match &resource.spec {
            config::Spec::ServiceEntry(entry) => entry.hosts.first().cloned(),
            other => panic!("{other:?}"),
        }
    }
}

/// Names of objects, with `!` before those that are refused.
fn names(objects: &[Object]) -> Vec<String> {
    let name = |object: &Object| match object {
        Object::Refused(refused) => format!("!{}", refused.name),
        Object::Resource(_) | Object::Pod(_) | Object::Node(_) => object.name().to_string(),
    };
    objects.iter().map(name).collect()
}

#[test]
fn what_is_written_is_told_and_told_again_only_when_it_changed() {
    let mut written = Written::new(&[("a.yaml", &entry("a", "a.test"))]);

    assert_eq!(written.look(0), Some(vec!["ServiceEntry/default/a".into()]));
    assert_eq!(written.look(10), None);

    written.write("a.yaml", &entry("a", "other.test"));
    assert_eq!(written.look(20).map(|it| it.len()), Some(1));
    assert_eq!(written.host("a").as_deref(), Some("other.test"));
}

#[test]
fn an_unchanged_document_is_the_same_object() {
    let mut written = Written::new(&[("a.yaml", &entry("a", "a.test"))]);
    let first = written.folder.look(Trigger::Operator, written.start);
    written.write("b.yaml", &entry("b", "b.test"));

    let second = written.folder.look(Trigger::Files, written.start);

    let (first, second) = (first.expect("news"), second.expect("news"));
    let [Object::Resource(before), ..] = &first[..] else {
        panic!("{first:?}");
    };
    let [Object::Resource(after), ..] = &second[..] else {
        panic!("{second:?}");
    };
    assert!(Arc::ptr_eq(before, after));
}

#[test]
fn one_bad_document_is_refused_with_its_place_and_the_others_follow_their_files() {
    let mut written = Written::new(&[
        ("a.yaml", &entry("a", "a.test")),
        ("b.yaml", &entry("b", "b.test")),
    ]);
    written.look(0);

    written.write("a.yaml", &entry("a", "a.test").replace("DNS", "DSN"));
    written.write("b.yaml", &entry("b", "new.test"));
    let told = written.look(10);

    assert_eq!(
        told,
        Some(vec![
            "ServiceEntry/default/b".into(),
            "!ServiceEntry/default/a".into()
        ])
    );
    assert_eq!(written.host("b").as_deref(), Some("new.test"));
    assert_eq!(
        written.host("a").as_deref(),
        Some("a.test"),
        "its last good form"
    );
    let refused = &written.folder.told.as_ref().expect("told").refused;
    let place = format!("{}:4:", written.path("a.yaml").display());
    assert!(
        refused[0].reasons[0].starts_with(&place)
            && refused[0].reasons[0].contains(": spec.resolution: "),
        "{refused:?}"
    );
}

#[test]
fn a_file_that_cannot_be_parsed_takes_nothing_away() {
    let both = entry("a", "a.test") + "---\n" + &entry("b", "b.test");
    let mut written = Written::new(&[("both.yaml", &both)]);
    written.look(0);

    written.write("both.yaml", &both.replace("spec: {", "spec: {{"));
    assert_eq!(written.look(10), None);
    fs::write(written.path("both.yaml"), b"\xff\xfe\xff").expect("written");
    assert_eq!(written.look(5_000), None);

    written.write("both.yaml", &entry("b", "new.test"));
    assert_eq!(written.look(6_000), None, "a may come back");
    assert_eq!(
        written.look(8_000),
        Some(vec!["ServiceEntry/default/b".into()])
    );
}

#[test]
fn nothing_goes_away_from_a_file_with_a_mistake() {
    let both = entry("a", "a.test") + "---\n" + &entry("b", "b.test");
    let mut written = Written::new(&[("both.yaml", &both)]);
    written.look(0);

    let broken = entry("c", "c.test").replace("spec", "spce");
    written.write("both.yaml", &(broken + "---\n" + &entry("b", "b.test")));

    assert_eq!(
        written.look(10),
        Some(vec![
            "ServiceEntry/default/b".into(),
            "ServiceEntry/default/a".into(),
            "!ServiceEntry/default/c".into()
        ])
    );
}

#[test]
fn a_file_that_vanishes_takes_its_resources_away_once_the_folder_rests() {
    let mut written = Written::new(&[
        ("a.yaml", &entry("a", "a.test")),
        ("b.yaml", &entry("b", "b.test")),
    ]);
    written.look(0);

    written.remove("a.yaml");
    assert_eq!(written.look(1_000), None);
    assert_eq!(written.look(2_900), None);
    assert_eq!(
        written.look(4_900),
        Some(vec!["ServiceEntry/default/b".into()])
    );

    written.remove("b.yaml");
    assert_eq!(written.look(9_000), None, "an empty folder is no mesh");
    assert_eq!(written.host("b").as_deref(), Some("b.test"));
}

#[test]
fn a_folder_that_is_gone_takes_nothing_away_however_long() {
    let outer = tempfile::tempdir().expect("a folder for the test");
    let (path, aside) = (outer.path().join("mesh"), outer.path().join("aside"));
    fs::create_dir(&path).expect("a folder for the test");
    fs::write(path.join("a.yaml"), entry("a", "a.test")).expect("written");
    let (mut folder, start) = (Folder::new(path.clone()), Instant::now());
    let mut look = |trigger, seconds| {
        let looked = folder.look(trigger, start + Duration::from_secs(seconds));
        let told = folder.told.as_ref().map(|it| it.resources.len());
        (looked.map(|it| it.len()), told)
    };
    assert_eq!(look(Trigger::Operator, 0), (Some(1), Some(1)));

    fs::rename(&path, &aside).expect("moved away");
    for seconds in [1, 10, 100] {
        assert_eq!(look(Trigger::Files, seconds), (None, Some(1)));
    }
    // Neither does a file in its place that says nothing.
    fs::write(&path, "").expect("written");
    assert_eq!(look(Trigger::Files, 200), (None, Some(1)));
    fs::remove_file(&path).expect("removed");

    fs::write(aside.join("b.yaml"), entry("b", "b.test")).expect("written");
    fs::rename(&aside, &path).expect("moved back");
    assert_eq!(look(Trigger::Files, 300), (Some(2), Some(2)));
}

#[test]
fn a_mounted_config_map_is_followed_when_its_links_turn() {
    let mut written = Written::new(&[]);
    let version = |name: &str, host: &str| {
        let folder = written.path(name);
        fs::create_dir(&folder).expect("a folder for the test");
        fs::write(folder.join("a.yaml"), entry("a", host)).expect("written");
    };
    version("..first", "first.test");
    version("..second", "second.test");
    symlink("..first", written.path("..data")).expect("linked");
    symlink("..data/a.yaml", written.path("a.yaml")).expect("linked");
    assert_eq!(written.look(0), Some(vec!["ServiceEntry/default/a".into()]));

    // As kubelet does it: the link is replaced by another, then what it led to goes.
    symlink("..second", written.path("..new")).expect("linked");
    fs::rename(written.path("..new"), written.path("..data")).expect("replaced");
    fs::remove_dir_all(written.path("..first")).expect("removed");

    assert_eq!(
        written.look(10),
        Some(vec!["ServiceEntry/default/a".into()])
    );
    assert_eq!(written.host("a").as_deref(), Some("second.test"));
    // Half of it: the file's link leads nowhere.
    fs::remove_file(written.path("..data")).expect("removed");
    assert_eq!(written.look(20), None);
    assert_eq!(written.look(100_000), None);
    assert_eq!(written.host("a").as_deref(), Some("second.test"));
}

#[test]
fn a_file_that_is_too_large_is_told_and_what_it_had_stays() {
    let mut written = Written::new(&[
        ("a.yaml", &entry("a", "a.test")),
        ("b.yaml", &entry("b", "b.test")),
    ]);
    written.look(0);

    // It has no blocks: only its length is large.
    let file = File::create(written.path("a.yaml")).expect("made");
    file.set_len(64 * 1024 * 1024 + 1).expect("longer");
    written.write("b.yaml", &entry("b", "new.test"));
    let told = written.look(10);

    assert_eq!(told.map(|it| it.len()), Some(2));
    assert_eq!(written.host("a").as_deref(), Some("a.test"));
    assert_eq!(written.host("b").as_deref(), Some("new.test"));
    let problems: Vec<String> = written
        .folder
        .problems
        .iter()
        .map(Problem::to_string)
        .collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].ends_with("is larger than 64 MiB"),
        "{problems:?}"
    );
}

#[test]
fn a_policy_in_a_file_half_written_stays_until_the_file_rests() {
    let mut written = Written::new(&[("p.yaml", &policy("'1', '2'"))]);
    written.look(0);

    written.write("p.yaml", &policy("'1'").replace("ports", "prots"));
    assert_eq!(
        written.look(10),
        Some(vec!["!AuthorizationPolicy/default/p".into()])
    );
    written.write("p.yaml", &policy("'1'"));
    assert_eq!(
        written.look(20),
        None,
        "it is shorter than the last good one"
    );
    assert_eq!(
        written.look(2_020),
        Some(vec!["AuthorizationPolicy/default/p".into()])
    );
}

#[test]
fn what_is_written_twice_is_in_force_as_it_is_written_first() {
    let mut written = Written::new(&[("a.yaml", &entry("a", "first.test"))]);
    assert_eq!(written.look(0), Some(vec!["ServiceEntry/default/a".into()]));

    written.write("b.yaml", &entry("a", "second.test"));
    assert_eq!(written.look(10), None);
    assert_eq!(written.host("a").as_deref(), Some("first.test"));
}

#[test]
fn an_empty_folder_is_told_once_as_an_empty_mesh() {
    let mut written = Written::new(&[]);

    assert_eq!(written.look(0), Some(Vec::new()));
    assert_eq!(written.look(10), None);
}

#[test]
fn nothing_is_told_at_the_start_before_all_of_it_can_be_used() {
    let wrong = entry("a", "a.test").replace("DNS", "DSN");
    let mut written = Written::new(&[("a.yaml", &wrong), ("b.yaml", &entry("b", "b.test"))]);
    assert_eq!(written.look(0), None, "proxies may have a good form of a");

    written.write("a.yaml", "spec: {{");
    assert_eq!(written.look(10), None);

    written.write("a.yaml", &entry("a", "a.test"));
    assert_eq!(written.look(20).map(|it| it.len()), Some(2));
}

/// The next event, and the names of what it tells.
async fn next(events: &mut mpsc::Receiver<Event>) -> Vec<String> {
    let event = timeout(DEADLINE, events.recv()).await;
    match event.expect("an event in time").expect("the source runs") {
        Event::Everything(objects) => names(&objects),
        Event::Synced => vec!["synced".into()],
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn changes_of_the_folder_are_events() {
    let written = Written::new(&[("a.yaml", &entry("a", "a.test"))]);
    let (sender, mut events) = mpsc::channel(4);
    let source = tokio::spawn(run(written.dir.path().to_owned(), sender));
    assert_eq!(next(&mut events).await, ["ServiceEntry/default/a"]);
    assert_eq!(next(&mut events).await, ["synced"]);

    written.write("b.yaml", &entry("b", "b.test"));
    let both = ["ServiceEntry/default/a", "ServiceEntry/default/b"];
    assert_eq!(next(&mut events).await, both);

    written.remove("a.yaml");
    assert_eq!(next(&mut events).await, ["ServiceEntry/default/b"]);

    drop(events);
    let ended = timeout(DEADLINE, source).await;
    ended
        .expect("it ends when nobody listens")
        .expect("no panic");
}

#[tokio::test]
async fn a_folder_that_is_missing_at_the_start_is_no_empty_mesh() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("mesh");
    let (sender, mut events) = mpsc::channel(4);
    let source = tokio::spawn(run(path.clone(), sender));

    let early = timeout(Duration::from_millis(300), events.recv()).await;
    assert!(early.is_err(), "{early:?}");

    // It comes at once with what is in it.
    let beside = folder.path().join("beside");
    fs::create_dir(&beside).expect("a folder for the test");
    fs::write(beside.join("a.yaml"), entry("a", "a.test")).expect("written");
    fs::rename(&beside, &path).expect("renamed");
    assert_eq!(next(&mut events).await, ["ServiceEntry/default/a"]);
    assert_eq!(next(&mut events).await, ["synced"]);
    source.abort();
}
