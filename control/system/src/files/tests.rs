//! The watch on a real file system; every wait is for the signal, with a deadline.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::SystemTime;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// Edits must be live within a second; the rest is for a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

struct Running {
    reload: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn new(watch: FileWatch) -> Self {
        let (sender, reload) = mpsc::channel(1);
        Self {
            reload,
            task: tokio::spawn(watch.run(sender)),
        }
    }

    fn start(path: &Path) -> Self {
        let watch = FileWatch::start(vec![path.to_owned()]);
        assert!(
            matches!(locked(&watch.0).events, Events::Told { .. }),
            "the system lets us watch"
        );
        Self::new(watch)
    }

    async fn signal(&mut self) {
        let signal = timeout(DEADLINE, self.reload.recv()).await;
        assert_eq!(signal.expect("a signal in time"), Some(()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

/// Writes a file that is old enough for its times to be relied on.
fn settled(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .expect("made older");
}

#[tokio::test]
async fn a_write_in_place_is_seen() {
    let folder = folder();
    let file = folder.path().join("a.yaml");
    settled(&file, "a: 1");
    let mut watched = Running::start(&file);

    fs::write(&file, "a: 2").expect("written");

    watched.signal().await;
}

#[tokio::test]
async fn a_rename_over_the_file_is_seen_each_time() {
    let folder = folder();
    let file = folder.path().join("a.yaml");
    settled(&file, "a: 1");
    let mut watched = Running::start(&file);

    for text in ["a: 2", "a: 3"] {
        let new = folder.path().join(".a.yaml.swp");
        settled(&new, text);
        fs::rename(&new, &file).expect("renamed");

        watched.signal().await;
    }
}

#[tokio::test]
async fn a_config_map_swap_is_seen_each_time() {
    let folder = folder();
    let data = |version: &str, text: &str| {
        let name = format!("..2024_{version}");
        fs::create_dir(folder.path().join(&name)).expect("made");
        settled(&folder.path().join(&name).join("a.yaml"), text);
        symlink(&name, folder.path().join("..data_tmp")).expect("linked");
        fs::rename(
            folder.path().join("..data_tmp"),
            folder.path().join("..data"),
        )
        .expect("swapped");
    };
    data("1", "a: 1");
    symlink("..data/a.yaml", folder.path().join("a.yaml")).expect("linked");

    for path in [folder.path().to_owned(), folder.path().join("a.yaml")] {
        let mut watched = Running::start(&path);
        for version in ["2", "3"] {
            let version = format!("{version}{}", path.extension().is_some());

            data(&version, "a: 2");

            watched.signal().await;
        }
    }
}

#[tokio::test]
async fn a_folder_behind_a_link_is_followed_to_where_the_link_leads_now() {
    let folder = folder();
    let [one, two, link] = ["one", "two", "link"].map(|name| folder.path().join(name));
    for target in [&one, &two] {
        fs::create_dir(target).expect("made");
        settled(&target.join("a.yaml"), "a: 1");
    }
    symlink(&one, &link).expect("linked");
    let mut watched = Running::start(&link);

    fs::remove_file(&link).expect("removed");
    symlink(&two, &link).expect("linked");
    watched.signal().await;

    settled(&two.join("b.yaml"), "b: 1");
    watched.signal().await;
}

#[tokio::test]
async fn a_new_file_and_a_new_subfolder_are_seen() {
    let folder = folder();
    let mut watched = Running::start(folder.path());

    settled(&folder.path().join("a.yaml"), "a: 1");
    watched.signal().await;

    let deep = folder.path().join("sub/deeper");
    fs::create_dir_all(&deep).expect("made");
    watched.signal().await;

    settled(&deep.join("b.yaml"), "b: 1");
    watched.signal().await;
}

#[tokio::test]
async fn a_file_that_goes_and_comes_again_is_seen() {
    let folder = folder();
    let file = folder.path().join("sub/a.yaml");
    fs::create_dir(folder.path().join("sub")).expect("made");
    settled(&file, "a: 1");
    let mut watched = Running::start(&file);

    fs::remove_file(&file).expect("removed");
    watched.signal().await;

    settled(&file, "a: 1");
    watched.signal().await;

    fs::remove_dir_all(folder.path().join("sub")).expect("removed");
    watched.signal().await;

    fs::create_dir(folder.path().join("sub")).expect("made");
    settled(&file, "a: 2");
    watched.signal().await;
}

#[tokio::test]
async fn what_does_not_concern_the_files_makes_no_signal() {
    let folder = folder();
    let file = folder.path().join("a.yaml");
    // Just written, so that its times prove nothing.
    fs::write(&file, "a: 1").expect("written");
    let mut watched = Running::start(&file);

    fs::write(folder.path().join("b.yaml"), "b: 1").expect("written");
    fs::read(&file).expect("read");
    // Longer than a burst can last, so that a wrong signal would be here.
    let wrong = timeout(debounce::LONGEST * 2, watched.reload.recv()).await;

    assert!(wrong.is_err(), "no signal");
}

#[tokio::test]
async fn without_notifications_changes_are_found_by_looking() {
    let folder = folder();
    let file = folder.path().join("a.yaml");
    settled(&file, "a: 1");
    let mut watched = Running::new(FileWatch::polling(vec![file.clone()]));

    settled(&file, "a: 22");

    watched.signal().await;
}

#[tokio::test]
async fn the_watch_ends_when_nobody_listens() {
    let folder = folder();
    let (sender, reload) = mpsc::channel(1);
    let task = tokio::spawn(FileWatch::start(vec![folder.path().to_owned()]).run(sender));

    drop(reload);

    timeout(DEADLINE, task)
        .await
        .expect("ended in time")
        .expect("no panic");
}

#[tokio::test]
async fn a_log_beside_the_files_does_not_repeat_the_signal() {
    let folder = folder();
    let file = folder.path().join("a.yaml");
    settled(&file, "a: 1");
    let mut watched = Running::start(folder.path());
    fs::write(&file, "a: 2").expect("written");
    watched.signal().await;

    fs::write(folder.path().join("proxy.log"), "reloaded").expect("written");
    let wrong = timeout(debounce::LONGEST * 2, watched.reload.recv()).await;

    assert!(wrong.is_err(), "one signal only");
}

#[tokio::test]
async fn files_that_are_named_later_are_watched_from_then_on_and_others_no_longer() {
    let (folder, elsewhere) = (folder(), folder());
    let file = folder.path().join("a.yaml");
    let [one, two] = ["one.pem", "two.pem"].map(|name| elsewhere.path().join(name));
    settled(&file, "a: 1");
    settled(&one, "1");
    let watch = FileWatch::start(vec![file.clone()]);
    let named = watch.named_files();
    let mut watched = Running::new(watch);

    named.watch([one.clone(), two.clone()].into());
    fs::write(&one, "2").expect("written");
    watched.signal().await;
    fs::write(&two, "made after it was named").expect("written");
    watched.signal().await;

    named.watch([two].into());
    fs::write(&one, "3").expect("written");
    settled(&file, "a: 2");
    watched.signal().await;
    assert!(watched.reload.try_recv().is_err());
}

#[tokio::test]
async fn a_change_before_more_files_are_named_is_not_lost() {
    let folder = folder();
    let (file, more) = (folder.path().join("a.yaml"), folder.path().join("b.pem"));
    settled(&file, "a: 1");
    let watch = FileWatch::start(vec![file.clone()]);

    fs::write(&file, "a: 2").expect("written");
    watch.named_files().watch([more].into());

    Running::new(watch).signal().await;
}
